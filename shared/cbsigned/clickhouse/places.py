"""Where on ClickHouse each field of the query language is: a clause → a condition on a process `p` or a binary `b`.

What hangs on a process is found as a set of its numbers on the shard itself, which has all of it; so the subqueries
name each node's own tables. The outer query alone spans the shards.

References:
    - cb-edr-api §4.4 (fields), §4.7 (joins); `cbsigned.store.places` says the same of the embedded store
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cbsigned.clickhouse.conditions import Values, address, bounds, equals, labels, number, path, words
from cbsigned.query.errors import QueryError
from cbsigned.query.fields import FieldRef, Join, Search, Type
from cbsigned.query.tree import Between, Clause, Equals, Exists, Is, Labels, Matcher, SubPath, Words
from cbsigned.store.ids import FOREIGN_MARK, MADE_MARK
from cbsigned.store.places import UNSUPPORTED

__all__ = ["condition"]

_FILES = "SELECT id FROM file_local"
_CROSS_TYPE = (
    "concat(if(positionCaseInsensitive(word, 'remote') > 0, 'remotethread', 'processopen'),"
    " if(is_target = 1, 'target', ''))"
)
_OS_TYPE = "lower(coalesce(p.os, if(match(ifNull(p.path, ''), '^([A-Za-z]:)?\\\\\\\\'), 'windows', NULL)))"
_WORD = "if(r.word_folded IN ('', 'unknown'), '(unknown)', r.word_folded)"
_SIGNATURE_TEXTS = {
    "digsig_publisher": "publisher", "digsig_issuer": "issuer", "digsig_subject": "subject",
    "digsig_prog_name": "program_name",
}  # fmt: skip
_ANY_IMAGE = ("process", "parent", "childproc", "modload", "filewrite")
_JOINS = {
    Join.IMAGE: "process", Join.PARENT: "parent", Join.CHILD: "childproc", Join.MODLOAD: "modload",
    Join.FILEWRITE: "filewrite",
}  # fmt: skip


def condition(values: Values, search: Search, clause: Clause, texts: Sequence[str] = ()) -> str:
    """Return a clause as a condition.

    Args:
        values: Takes the clause's values.
        search: What is searched.
        clause: One of the tree's.
        texts: Hashes or process ids any of which is meant, instead of the clause's own.

    Raises:
        QueryError: There is nothing for this field.
    """
    if clause.field.field.name in UNSUPPORTED:
        raise QueryError(
            f"{clause.field.name} is not supported by the embedded store: no telemetry it takes has it.", "", 0
        )
    if clause.field.join is not Join.NONE:
        return _image(_JOINS[clause.field.join], _ids(_binary(values, clause, texts)))
    return _binary(values, clause, texts) if search is Search.BINARY else _process(values, clause, texts)


def _process(values: Values, clause: Clause, texts: Sequence[str]) -> str:
    name, type_, matcher = clause.field.field.name, clause.field.field.type, clause.matcher
    if name in _OWN:
        return _OWN[name](values, matcher)
    if type_ is Type.GUID:
        return _guid(values, clause, texts)
    if type_ in (Type.MD5, Type.SHA256):
        return _hash(values, clause, texts)
    if name.endswith("_count"):
        return _count(values, name, matcher)
    if name.startswith(("watchlist_", "alliance_score_")):
        return _fact_number(values, "process", name, matcher)
    if name in ("group", "host_type"):
        return _fact_text(values, "process", clause.field, matcher)
    told = _of_events("message", f"kind = {values.mark('ingress.event.' + _KINDS[name])}")
    return f"(NOT {told})" if isinstance(matcher, Is) and not matcher.value else told


_KINDS = {"tampered": "tamper", "has_emet_event": "emetmitigation"}


def _of_events(table: str, where: str) -> str:
    return f"(p.id IN (SELECT process_id FROM {table}_local WHERE {where}))"  # noqa: S608 (our own names)


def _of_children(where: str) -> str:
    return f"(p.id IN (SELECT parent_id FROM process_local WHERE {where}))"  # noqa: S608


def _path_ids(values: Values, matcher: Matcher, table: str) -> str:
    found = "1" if isinstance(matcher, Exists) else path(values, "folded", _sub_path(matcher))
    return f"SELECT id FROM {table}_local WHERE {found}"  # noqa: S608


def _sub_path(matcher: Matcher) -> SubPath:
    assert isinstance(matcher, SubPath)  # noqa: S101 (by the field's type)
    return matcher


def _own_path(values: Values, matcher: Matcher) -> str:
    return (
        "(p.path IS NOT NULL)" if isinstance(matcher, Exists) else f"({path(values, 'p.folded', _sub_path(matcher))})"
    )


def _cmdline(values: Values, matcher: Matcher) -> str:
    if isinstance(matcher, Exists):
        return "(p.cmdline IS NOT NULL)"
    assert isinstance(matcher, Words)  # noqa: S101 (by the field's type)
    if matcher.legacy:
        return words(values, "p.legacy", "length(p.legacy)", matcher)
    return words(values, "p.tokens", "p.words", matcher, indexed=True)


def _domain(values: Values, matcher: Matcher) -> str:
    if isinstance(matcher, Exists):
        return _of_events("netconn", "domain_id > 0")
    found = (
        labels(values, "labels", matcher) if isinstance(matcher, Labels) else equals(values, "lower(value)", matcher)
    )
    return _of_events("netconn", f"domain_id IN (SELECT id FROM domain_local WHERE {found})")  # noqa: S608


def _crossed_name(values: Values, matcher: Matcher) -> str:
    files = f"{_FILES} WHERE {equals(values, 'name', matcher)}"
    return _of_events("crossproc", f"file_id IN ({files}) OR {equals(values, 'target_name', matcher)}")


def _folded(column: str, raw: str) -> Callable[[Values, Matcher], str]:
    def made(values: Values, matcher: Matcher) -> str:
        return f"({raw} IS NOT NULL)" if isinstance(matcher, Exists) else _known(values, column, raw, matcher)

    return made


def _known(values: Values, column: str, raw: str, matcher: Matcher) -> str:
    return f"({raw} IS NOT NULL AND {equals(values, column, matcher)})"


def _ja3(name: str) -> Callable[[Values, Matcher], str]:
    value = f"if(JSONType(extra, '{name}') = 'String', lowerUTF8(JSONExtractString(extra, '{name}')), NULL)"
    return lambda values, matcher: _of_events("netconn", equals(values, value, matcher))


_OWN: dict[str, Callable[[Values, Matcher], str]] = {
    "process_name": lambda v, m: equals(v, "p.name", m),
    "parent_name": lambda v, m: equals(v, "p.parent_name", m),
    "childproc_name": lambda v, m: _of_children(equals(v, "name", m)),
    "crossproc_name": _crossed_name,
    "path": _own_path,
    "cmdline": _cmdline,
    "username": _folded("p.user_folded", "p.user"),
    "hostname": _folded("p.host_folded", "p.host"),
    "filemod": lambda v, m: _of_events("filemod", f"path_id IN ({_path_ids(v, m, 'path')})"),
    "modload": lambda v, m: _of_events("modload", f"file_id IN ({_path_ids(v, m, 'file')})"),
    "regmod": lambda v, m: _of_events("regmod", f"regpath_id IN ({_path_ids(v, m, 'regpath')})"),
    "domain": _domain,
    "start": lambda v, m: number(v, "p.started", m),
    "last_update": lambda v, m: number(v, "p.updated", m),
    "last_server_update": lambda v, m: number(v, "p.updated", m),
    "sensor_id": lambda v, m: number(v, "p.sensor_id", m),
    "os_type": lambda v, m: equals(v, _OS_TYPE, m),
    "ipaddr": lambda v, m: _of_events("netconn", address(v, "remote_ip", m, 4)),
    "ipv6addr": lambda v, m: _of_events("netconn", address(v, "remote_ip", m, 16)),
    "ipport": lambda v, m: _of_events(
        "netconn", "remote_port > 0" if isinstance(m, Exists) else number(v, "remote_port", m)
    ),
    "ja3": _ja3("ja3"),
    "ja3s": _ja3("ja3s"),
    "crossproc_type": lambda v, m: _of_events("crossproc", equals(v, _CROSS_TYPE, m)),
}


def _guid(values: Values, clause: Clause, texts: Sequence[str]) -> str:
    own = clause.field.field.name == "process_id"
    if isinstance(clause.matcher, Exists):
        return "(p.id > 0)" if own else "(p.parent_id > 0)"
    hexes = [text.replace("-", "") for text in texts or [_literal(clause.matcher)]]
    guids = [mark.hex() + one for one in hexes for mark in (b"", FOREIGN_MARK, MADE_MARK)]
    return f"(p.{'guid' if own else 'parent_guid'} IN {values.mark(guids)})"


def _hash(values: Values, clause: Clause, texts: Sequence[str]) -> str:
    name, matcher = clause.field.field.name, clause.matcher
    if name == "blocked_md5":
        value = "if(JSONType(body, 'blocked_md5') = 'String', lower(JSONExtractString(body, 'blocked_md5')), NULL)"
        kind = values.mark("ingress.event.processblock")
        own = Equals(matcher.value) if isinstance(matcher, Equals) else matcher
        blocked = [f"{value} IN {values.mark(list(texts))}"] if texts else [equals(values, value, own)]
        return _of_events("message", f"kind = {kind} AND ifNull({blocked[0]}, 0)")
    images = _ANY_IMAGE if name in ("md5", "sha256") else (name.rpartition("_")[0],)
    ids = _ids(_hash_of(values, clause, texts))
    return f"({' OR '.join(_image(image, ids) for image in images)})"


def _ids(where: str) -> str:
    return f"SELECT b.id FROM binary_local b WHERE {where}"  # noqa: S608 (our own names)


def _hash_of(values: Values, clause: Clause, texts: Sequence[str]) -> str:
    column = "b.md5" if clause.field.field.type is Type.MD5 else "b.sha256"
    if isinstance(clause.matcher, Exists):
        return f"({column} IS NOT NULL)"
    return f"ifNull({column} IN {values.mark(list(texts) or [_literal(clause.matcher)])}, 0)"


def _image(image: str, ids: str) -> str:
    """Return whether one of a process's images of that kind is among these binaries."""
    files = f"{_FILES} WHERE binary_id IN ({ids})"
    return {
        "process": f"(p.binary_id IN ({ids}))",
        "parent": f"(p.parent_binary_id IN ({ids}))",
        "childproc": _of_children(f"binary_id IN ({ids})"),
        "modload": _of_events("modload", f"file_id IN ({files})"),
        "filewrite": _of_events("filemod", f"binary_id IN ({ids})"),
        "crossproc": _of_events("crossproc", f"file_id IN ({files}) OR target_binary_id IN ({ids})"),
    }[image]


def _count(values: Values, name: str, matcher: Matcher) -> str:
    """Return a condition on how many events of a kind there are, or a document tells, whichever is more."""
    low, high = bounds(matcher)
    if low is None and high is None:
        return "1"
    fits = number(values, "most", matcher)
    without = (low is None or low <= 0) and (high is None or high >= 0)
    counted = (
        f"SELECT process_id, max(n) AS most FROM (SELECT process_id, toInt64(count()) AS n FROM {name[:-6]}_local"  # noqa: S608
        f" GROUP BY process_id UNION ALL SELECT process_id, max(value) AS n FROM process_number_local"
        f" WHERE field = {values.mark(name)} GROUP BY process_id) GROUP BY process_id"
    )
    chosen = f"SELECT process_id FROM ({counted}) WHERE {'NOT ' if without else ''}{fits}"  # noqa: S608
    return f"(p.id {'NOT IN' if without else 'IN'} ({chosen}))"


def _fact_number(values: Values, owner: str, name: str, matcher: Matcher) -> str:
    found = f"field = {values.mark(name)} AND {number(values, 'value', matcher)}"
    return f"({owner[0]}.id IN (SELECT {owner}_id FROM {owner}_number_local WHERE {found}))"  # noqa: S608


def _fact_text(values: Values, owner: str, ref: FieldRef, matcher: Matcher) -> str:
    if isinstance(matcher, Words):
        found = words(values, "words", "length(words)", matcher)
    else:
        found = "1" if isinstance(matcher, Exists) else equals(values, "folded", matcher)
    where = f"field = {values.mark(ref.field.name)} AND {found}"
    return f"({owner[0]}.id IN (SELECT {owner}_id FROM {owner}_text_local WHERE {where}))"  # noqa: S608


def _binary(values: Values, clause: Clause, texts: Sequence[str]) -> str:
    name, type_, matcher = clause.field.field.name, clause.field.field.type, clause.matcher
    if type_ in (Type.MD5, Type.SHA256):
        return _hash_of(values, clause, texts)
    if name == "digsig_result":
        return _record("1" if isinstance(matcher, Exists) else equals(values, _WORD, matcher))
    if name in _SIGNATURE_TEXTS:
        column = _SIGNATURE_TEXTS[name]
        if not isinstance(matcher, Words):
            return _record(equals(values, f"r.{column}", matcher))
        return _record(words(values, f"r.{column}_words", f"length(r.{column}_words)", matcher))
    if name == "digsig_sign_time":
        return _record(number(values, "r.signed", matcher))
    if name == "observed_filename":
        found = "1" if isinstance(matcher, Exists) else path(values, "folded", _sub_path(matcher))
        return f"(b.id IN (SELECT binary_id FROM file_local WHERE {found}))"  # noqa: S608
    if name == "hostname":
        on = "1" if isinstance(matcher, Exists) else equals(values, "host_folded", matcher)
        return f"(b.id IN (SELECT binary_id FROM bin_host_local WHERE {on}))"  # noqa: S608
    if name in _VALUES:
        value = f"SELECT id FROM ({_VALUES[name]}) WHERE "  # noqa: S608
        fits = equals(values, "value", matcher) if name == "os_type" else number(values, "value", matcher)
        return f"(b.id IN ({value}{fits}))"
    if type_ in (Type.TEXT, Type.KEYWORD):
        return _fact_text(values, "binary", clause.field, matcher)
    if isinstance(matcher, Is):
        matcher = Between(int(matcher.value), int(matcher.value))
    return _fact_number(values, "binary", name, matcher)


def _record(where: str) -> str:
    return f"(b.id IN (SELECT r.binary_id FROM binary_record_local r WHERE {where}))"  # noqa: S608


_VALUES = {
    "host_count": (
        "SELECT id, max(n) AS value FROM (SELECT id, toInt64(0) AS n FROM binary_local UNION ALL"
        " SELECT binary_id AS id, max(ifNull(host_count, 0)) AS n FROM binary_record_local GROUP BY binary_id UNION ALL"
        " SELECT binary_id AS id, toInt64(count()) AS n FROM bin_host_local GROUP BY binary_id) GROUP BY id"
    ),
    "server_added_timestamp": (
        "SELECT id, argMin(n, rank) AS value FROM ("
        "SELECT binary_id AS id, max(value) AS n, 1 AS rank FROM binary_number_local"
        " WHERE field = 'server_added_timestamp' GROUP BY binary_id UNION ALL"
        " SELECT binary_id AS id, max(recorded) AS n, 2 AS rank FROM binary_record_local WHERE recorded > 0"
        " GROUP BY binary_id) GROUP BY id"
    ),
    "os_type": (
        "SELECT id, argMin(n, rank) AS value FROM ("
        "SELECT binary_id AS id, min(folded) AS n, 1 AS rank FROM binary_text_local WHERE field = 'os_type'"
        " GROUP BY binary_id UNION ALL SELECT DISTINCT binary_id AS id, 'windows' AS n, 2 AS rank FROM file_local"
        " WHERE position(path, '\\\\') > 0) GROUP BY id"
    ),
}
"""Values of binaries that several tables tell: what each is."""


def _literal(matcher: Matcher) -> str:
    return matcher.value.text if isinstance(matcher, Equals) else ""
