"""Rows of a store's file → lines for ClickHouse's tables: strings in their places, hashes as text, words cut."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Optional

from cbsigned.clickhouse.server import escaped, quoted_list
from cbsigned.query.tokens import (
    cmdline_words,
    domain_labels,
    extensions,
    folded_path,
    folded_registry_path,
    legacy_cmdline_words,
    text_words,
)  # fmt: skip

__all__ = ["PARTS", "Part", "shard_key"]

Line = Callable[[Sequence[Any]], str]
_NONE = "\\N"


@dataclass(frozen=True)
class Part:
    """What fills one table.

    Attributes:
        source: The store's table that is gone through, and its column whose ranges are read.
        sql: Rows of a range `? <` column `<= ?`, in order; the first value is that column.
        line: A row without its first value → a line; for processes see `process_line`.
    """

    source: str
    column: str
    sql: str
    line: Line


def shard_key(guid: bytes, host: Optional[str]) -> int:
    """Return what decides on a process's shard: its sensor, or the host where another product named it."""
    if len(guid) == 16:
        return int.from_bytes(guid[:4], "big")
    return zlib.crc32(host.encode("utf-8", "replace")) if host else int.from_bytes(guid[-16:-12], "big")


def plain(values: Sequence[Any]) -> str:
    """Return values as they are; bytes as hexadecimal text."""
    return "\t".join([_field(value) for value in values]) + "\n"


def numbers(values: Sequence[Any]) -> str:
    """Return values of which only the last may be a text: an event's members without a column."""
    return "\t".join(map(str, values[:-1])) + f"\t{escaped(values[-1] or '')}\n"


def _field(value: Any) -> str:
    if type(value) is int:
        return str(value)
    if value is None:
        return _NONE
    return escaped(value) if isinstance(value, str) else str(value.hex())


def _array(words: Sequence[str]) -> str:
    return quoted_list(words)


@lru_cache(maxsize=200_000)
def _cmdline(line: Optional[str]) -> str:
    if line is None:
        return f"{_NONE}\t[]\t0\t[]"
    words = cmdline_words(line)
    tokens = _array([*words, *extensions(words)])
    return f"{escaped(line)}\t{tokens}\t{len(words)}\t{_array(legacy_cmdline_words(line))}"


@lru_cache(maxsize=200_000)
def _path(path: Optional[str]) -> str:
    return f"{_NONE}\t" if path is None else f"{escaped(path)}\t{escaped(_folded(path))}"


def _folded(path: str) -> str:
    return f"\\{folded_path(path)}"


def _text(value: str) -> str:
    return f"{escaped(value)}\t{escaped(value.lower())}\t{_array(text_words(value))}"


def process_line(row: Sequence[Any]) -> str:
    """Return the line of a process."""
    head, parent, (name, path), (binary, md5, sha256), (cmdline, user, host, short, *rest) = (
        row[:8], row[8:13], row[13:15], row[15:18], row[18:],
    )  # fmt: skip
    os_type, extra, described, flags = rest
    parent_id, parent_guid, parent_name, parent_pid, parent_binary = parent
    return "\t".join([
        *map(_field, head), str(parent_id or 0), parent_guid.hex() if parent_guid else "", _field(parent_name),
        _field(parent_pid), str(parent_binary or 0), _field(name), _path(path), str(binary or 0), _field(md5),
        _field(sha256), _cmdline(cmdline), _field(user), escaped((user or "").lower()), _field(host),
        escaped((host or "").lower()), escaped(short or ""), _field(os_type), escaped(extra or ""), str(described),
        str(flags),
    ]) + "\n"  # fmt: skip


def _record_line(row: Sequence[Any]) -> str:
    binary, kind, word, *rest = row
    code_text, code, publisher, issuer, subject, program, signed, recorded, hosts, paths, md5, sha256 = rest
    signers = (publisher, issuer, subject, program)
    return "\t".join([
        str(binary), escaped(kind), escaped(word), escaped(word.lower()), escaped(code_text), _field(code),
        *map(_field, signers), _field(signed), str(recorded), _field(hosts), escaped(paths),
        *(_array(text_words(text or "")) for text in signers), md5.hex() if md5 else "",
        sha256.hex() if sha256 else "",
    ]) + "\n"  # fmt: skip


def _fact_line(row: Sequence[Any]) -> str:
    owner, field, value = row
    return f"{owner}\t{escaped(field)}\t{_text(value)}\n"


@lru_cache(maxsize=200_000)
def _host(host: str, short: str) -> str:
    return f"{escaped(host)}\t{escaped(host.lower())}\t{escaped(short)}"


def _host_line(row: Sequence[Any]) -> str:
    binary, host_id, host, short, sensor, first, last = row
    return f"{binary}\t{host_id}\t{_host(host, short)}\t{_field(sensor)}\t{first}\t{last}\n"


def _file_line(row: Sequence[Any]) -> str:
    number, binary, path, name = row
    return f"{number}\t{binary}\t{_path(path)}\t{escaped(name)}\n"


def _path_line(row: Sequence[Any]) -> str:
    number, path, name = row
    return f"{number}\t{_path(path)}\t{escaped(name)}\n"


def _regpath_line(row: Sequence[Any]) -> str:
    number, path = row
    return f"{number}\t{escaped(path)}\t{escaped(chr(92) + folded_registry_path(path))}\n"


def _domain_line(row: Sequence[Any]) -> str:
    number, domain = row
    return f"{number}\t{escaped(domain)}\t{_array(domain_labels(domain))}\n"


_PROCESS = """
SELECT p.id, p.id, p.guid, p.sensor_id, p.pid, p.started, p.reported, p.ended, p.updated, p.parent_id, pp.guid,
       pn.value, pp.pid, pp.binary_id, n.value, pa.value, p.binary_id, b.md5, b.sha256, c.value, a.value, h.value,
       h.short, o.value, x.value, p.described, p.flags
FROM process p LEFT JOIN process pp ON pp.id = p.parent_id LEFT JOIN name pn ON pn.id = pp.name_id
LEFT JOIN name n ON n.id = p.name_id LEFT JOIN path pa ON pa.id = p.path_id LEFT JOIN binary b ON b.id = p.binary_id
LEFT JOIN cmdline c ON c.id = p.cmdline_id LEFT JOIN account a ON a.id = p.account_id
LEFT JOIN host h ON h.id = p.host_id LEFT JOIN word o ON o.id = p.os_id LEFT JOIN extra x ON x.id = p.extra_id
WHERE p.id > ? AND p.id <= ? ORDER BY p.id
"""
_EXTRA = "(SELECT value FROM extra WHERE id = e.extra_id)"
_CROSSED = (
    "e.target_id, e.at, (SELECT value FROM word WHERE id = e.word_id), e.access, e.is_target, e.file_id,"  # noqa: S608
    f" coalesce({_EXTRA}, ''),"
    " (SELECT n.value FROM process c JOIN name n ON n.id = c.name_id WHERE c.id = e.target_id),"
    " coalesce((SELECT c.binary_id FROM process c WHERE c.id = e.target_id), 0)"
)
_RECORD = (
    "e.kind, e.word, e.code_text, e.code, e.publisher, e.issuer, e.subject, e.program_name, e.signed, e.recorded,"
    " e.host_count, e.paths, b.md5, b.sha256"
)
_SEEN = (
    "e.host_id, h.value, h.short, (SELECT min(s.sensor_id) FROM sensor s WHERE s.host_id = e.host_id), e.first, e.last"
)


def _of(owner: str, table: str, columns: str, joins: str = "") -> str:
    return (
        f"SELECT e.{owner}, e.{owner}, {columns} FROM {table} e {joins} "  # noqa: S608 (our own names)
        f"WHERE e.{owner} > ? AND e.{owner} <= ? ORDER BY e.{owner}"
    )


def _facts(owner: str, kind: str) -> Part:
    table, column = f"{owner}_{kind}", f"{owner}_id"
    word = "(SELECT value FROM word WHERE id = e.word_id)"
    if kind == "number":
        return Part(table, column, f"{_of(column, table, f'{word}, e.value')}, e.word_id, e.value", plain)
    text = _of(column, table, f"{word}, t.value", "JOIN text t ON t.id = e.text_id")
    return Part(table, column, f"{text}, e.word_id, e.text_id", _fact_line)


def _events(table: str, columns: str, line: Line = numbers) -> Part:
    return Part(table, "process_id", _of("process_id", table, columns), line)


PARTS: dict[str, Part] = {
    "process": Part("process", "id", _PROCESS, process_line),
    "modload": _events("modload", f"e.file_id, e.at, {_EXTRA}"),
    "filemod": _events("filemod", f"e.path_id, e.at, e.action, e.binary_id, e.filetype, {_EXTRA}"),
    "regmod": _events("regmod", f"e.regpath_id, e.at, e.action, {_EXTRA}"),
    "netconn": _events(
        "netconn",
        "e.at, e.outbound, e.protocol, e.remote_ip, e.remote_port, e.local_ip, e.local_port, e.domain_id,"
        f" coalesce({_EXTRA}, '')", plain,
    ),
    "childproc": _events("childproc", f"e.child_id, e.at, e.created, e.file_id, {_EXTRA}"),
    "crossproc": _events("crossproc", _CROSSED, plain),
    "process_text": _facts("process", "text"),
    "process_number": _facts("process", "number"),
    "message": Part(
        "message", "id",
        "SELECT e.id, coalesce(e.process_id, 0), e.id, (SELECT name FROM kind WHERE id = e.kind_id), e.at,"
        " coalesce(e.binary_id, 0), e.body FROM message e WHERE e.id > ? AND e.id <= ? ORDER BY e.id", plain,
    ),
    "binary": Part(
        "binary", "id",
        "SELECT e.id, e.id, e.md5, e.sha256 FROM binary e WHERE e.id > ? AND e.id <= ? ORDER BY e.id", plain,
    ),
    "binary_record": Part(
        "binary_record", "binary_id",
        _of("binary_id", "binary_record", _RECORD, "JOIN binary b ON b.id = e.binary_id")
        + ", e.kind, e.word, e.code_text",
        _record_line,
    ),
    "binary_text": _facts("binary", "text"),
    "binary_number": _facts("binary", "number"),
    "bin_host": Part(
        "bin_host", "binary_id",
        _of("binary_id", "bin_host", _SEEN, "JOIN host h ON h.id = e.host_id") + ", e.host_id", _host_line,
    ),
    "binary_message": Part(
        "message", "id",
        "SELECT e.id, e.binary_id, e.id, (SELECT name FROM kind WHERE id = e.kind_id), e.at, e.body FROM message e"
        " WHERE e.id > ? AND e.id <= ? AND e.binary_id IS NOT NULL ORDER BY e.id", plain,
    ),
    "file": Part(
        "file", "id",
        "SELECT e.id, e.id, e.binary_id, p.value, n.value FROM file e JOIN path p ON p.id = e.path_id"
        " JOIN name n ON n.id = p.name_id WHERE e.id > ? AND e.id <= ? ORDER BY e.id", _file_line,
    ),
    "path": Part(
        "path", "id",
        "SELECT e.id, e.id, e.value, n.value FROM path e JOIN name n ON n.id = e.name_id"
        " WHERE e.id > ? AND e.id <= ? ORDER BY e.id", _path_line,
    ),
    "regpath": Part(
        "regpath", "id", "SELECT e.id, e.id, e.value FROM regpath e WHERE e.id > ? AND e.id <= ? ORDER BY e.id",
        _regpath_line,
    ),
    "domain": Part(
        "domain", "id", "SELECT e.id, e.id, e.value FROM domain e WHERE e.id > ? AND e.id <= ? ORDER BY e.id",
        _domain_line,
    ),
    "kind": Part("kind", "id", "SELECT id, name, events FROM kind WHERE id > ? AND id <= ? ORDER BY id", plain),
}  # fmt: skip
"""By ClickHouse's table."""


def span(part: Part) -> tuple[str, str]:
    """Return queries for the last number of a part's column, and for how many rows it has."""
    where = " WHERE binary_id IS NOT NULL" if "binary_id IS NOT NULL" in part.sql else ""
    return (
        f"SELECT coalesce(max({part.column}), 0) FROM {part.source}",  # noqa: S608 (our own names)
        f"SELECT count(*) FROM {part.source}{where}",  # noqa: S608
    )


def lines_of(part: Part, rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    """Yield the lines of rows."""
    return (part.line(row[1:]) for row in rows)
