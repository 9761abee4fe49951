"""Writes batches: strings become numbers, rows go to their tables, and what was really new is counted."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Optional

from cbsigned.store.created import join_created
from cbsigned.store.database import transaction
from cbsigned.store.events import milliseconds
from cbsigned.store.index import catch_up, index_messages, touch, touch_new
from cbsigned.store.processes import Processes
from cbsigned.store.rows import Batch, BinaryFact, CrossRow, FileRow, LoadRow, MessageRow, NetRow, ProcessFact, RegRow
from cbsigned.store.strings import Binaries, Files, Strings

__all__ = ["Writer"]

_BINARY_RECORD = """
INSERT INTO binary_record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (binary_id, kind, word, code_text) DO UPDATE SET
    code = excluded.code, publisher = excluded.publisher, issuer = excluded.issuer, subject = excluded.subject,
    program_name = excluded.program_name, signed = excluded.signed, recorded = excluded.recorded,
    host_count = excluded.host_count, paths = excluded.paths, digest = excluded.digest
WHERE (excluded.recorded, excluded.digest) > (binary_record.recorded, binary_record.digest)
"""
_BIN_HOST = """
INSERT INTO bin_host VALUES (?, ?, ?, ?)
ON CONFLICT (binary_id, host_id) DO UPDATE SET
    first = min(first, excluded.first), last = max(last, excluded.last)
WHERE excluded.first < first OR excluded.last > last
"""
_MESSAGE = "INSERT OR IGNORE INTO message (digest, kind_id, at, process_id, binary_id, body) VALUES (?,?,?,?,?,?)"
_RELATIVE = " (derived)"
_INDEX_AT = 50_000
"""Texts that may wait for the index of words while batches are written."""


class Writer:
    """The one that writes; it may write many batches, each in a transaction of its own.

    Args:
        db: As `open_writer` gives it.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self._version = self._data_version()  # before anything is read: what another process writes meanwhile shows
        self._names = Strings(db, "name")
        self._binaries = Binaries(db)
        self._processes = Processes(db, self._binaries, self._names)
        self._files = Files(db, self._processes.paths, self._binaries)
        self._regpaths, self._domains, self._texts = (Strings(db, name) for name in ("regpath", "domain", "text"))
        self._words, self._extras = self._processes.words, self._processes.extras
        self._kinds: dict[str, int] = {}
        self._hosts_seen: dict[tuple[int, int], list[int]] = {}
        self._file_hosts: dict[tuple[int, Optional[str]], list[int]] = {}
        self._latest: dict[int, int] = {}

    def write(self, batch: Batch, beside: Callable[[Counter[str]], None] = lambda _new: None) -> Counter[str]:
        """Write a batch, all of it or nothing, and return how many rows of each kind were new.

        Args:
            batch: Rows; derived ones are written alike and counted under a name of their own.
            beside: Called inside the transaction with the counts, for what must be committed with the batch.

        Raises:
            sqlite3.Error: Nothing of the batch was written; the same batch may be tried again.
        """
        try:
            with transaction(self.db):
                if self._version != self._data_version():  # another process has written since
                    self._forget()
                before = self._last_process()
                new = self._rows(batch, "")
                for kind, part in batch.named.items():
                    new[kind] += sum(self._rows(part, "").values())
                if batch.derived is not None:
                    new.update(self._rows(batch.derived, _RELATIVE))
                self._flush_names()
                touch_new(self.db, before)
                self._index()
                self._tally(new)
                beside(new)
        except BaseException:
            self._forget()
            raise
        catch_up(self.db, least=_INDEX_AT)
        self._version = self._data_version()
        return Counter({kind: count for kind, count in new.items() if not kind.endswith(_RELATIVE)})

    def finish(self, progress: Optional[Callable[[int, int], None]] = None) -> None:
        """Join starts without an id to the same ones that have one, and index what is not indexed yet.

        Searches scan texts that are not indexed; an older store's messages are found only after this.

        Args:
            progress: Called with texts done and texts in all.
        """
        with transaction(self.db):
            if join_created(self.db):
                self._forget()
            self._index()
        catch_up(self.db, progress=progress)

    def _index(self) -> None:
        """Write what searches need of this batch beside its rows."""
        touch(self.db, [(at, process) for process, at in self._latest.items()])
        self._latest.clear()
        index_messages(self.db, self._texts.id, self._words.id)
        self._texts.flush()
        self._words.flush()

    def _rows(self, batch: Batch, mark: str) -> Counter[str]:
        new: Counter[str] = Counter()
        for md5, sha256 in batch.hashes:
            self._binaries.id(md5, sha256)
        self._processes_of(batch, new, mark)
        loads = "INSERT OR IGNORE INTO modload VALUES (?,?,?,?)"
        new["ingress.event.moduleload" + mark] += self._insert(loads, self._loads(batch.loads))
        filemods = "INSERT OR IGNORE INTO filemod VALUES (?,?,?,?,?,?,?)"
        new["ingress.event.filemod" + mark] += self._insert(filemods, self._filemods(batch.filemods))
        regmods = "INSERT OR IGNORE INTO regmod VALUES (?,?,?,?,?)"
        new["ingress.event.regmod" + mark] += self._insert(regmods, self._regmods(batch.regmods))
        netconns = "INSERT OR IGNORE INTO netconn VALUES (?,?,?,?,?,?,?,?,?,?)"
        new["ingress.event.netconn" + mark] += self._insert(netconns, self._netconns(batch.netconns), at=1)
        children = "INSERT OR IGNORE INTO childproc VALUES (?,?,?,?,?,?)"
        new["ingress.event.childproc" + mark] += self._insert(children, self._children(batch))
        crossings = "INSERT OR IGNORE INTO crossproc VALUES (?,?,?,?,?,?,?,?)"
        new["ingress.event.crossprocopen" + mark] += self._insert(crossings, self._crossings(batch.opens))
        new["ingress.event.remotethread" + mark] += self._insert(crossings, self._crossings(batch.threads))
        self._messages(batch.messages, new, mark)
        self._binary_records((*batch.binaries, *batch.signatures.values()))
        self._sightings(batch)
        return new

    def _processes_of(self, batch: Batch, new: Counter[str], mark: str) -> None:
        for fact in batch.facts:
            self._processes.take(fact)
        for fact in (*batch.facts, *batch.starts, *batch.ends):
            number, heard = self._processes.id(fact.guid), max(fact.ended or 0, fact.reported or 0)
            if heard > self._latest.get(number, 0):
                self._latest[number] = heard
        for kind, facts in (("procstart", batch.starts), ("procend", batch.ends)):
            new[f"ingress.event.{kind}{mark}"] += sum([self._processes.take(fact) for fact in facts])

    def _insert(self, sql: str, rows: list[tuple[Any, ...]], at: int = 2) -> int:
        if not rows:
            return 0
        rows.sort()  # neighbours in the tree are written together
        self._note_latest(rows, at)
        return self.db.executemany(sql, rows).rowcount

    def _note_latest(self, rows: list[tuple[Any, ...]], at: int) -> None:
        """Note when processes were last heard of; their rows stand together."""
        latest, process, last = self._latest, 0, 0
        for row in rows:
            if row[0] != process:
                if last > latest.get(process, 0):
                    latest[process] = last
                process, last = row[0], row[at]
            elif row[at] > last:
                last = row[at]
        if last > latest.get(process, 0):
            latest[process] = last

    def _loads(self, rows: Iterable[LoadRow]) -> list[tuple[Any, ...]]:
        mentioned, mention = self._processes.mentioned, self._processes.mention
        files, file_of, hosts = self._files.ids, self._files.id, self._file_hosts
        made: list[tuple[Any, ...]] = []
        for guid, origin, at, md5, path, extra in rows:
            process = mentioned.get((guid, None, origin)) or mention(guid, None, origin)
            file = files.get((md5, path)) or file_of(md5, path)
            made.append((process, file, at, 0 if extra is None else self._extras.id(extra)))
            span = hosts.get((file, origin.host))
            if span is None:
                hosts[(file, origin.host)] = [at, at]
            elif at > span[1]:
                span[1] = at
            elif at < span[0]:
                span[0] = at
        return made

    def _filemods(self, rows: Iterable[FileRow]) -> list[tuple[Any, ...]]:
        mentioned, mention = self._processes.mentioned, self._processes.mention
        paths = self._processes.paths
        return [
            (
                mentioned.get((guid, md5, origin)) or mention(guid, md5, origin),
                paths.ids.get(path) or paths.id(path), at, action, self._binaries.id(written), filetype,
                0 if extra is None else self._extras.id(extra),
            )
            for guid, md5, origin, at, path, action, written, filetype, extra in rows
        ]  # fmt: skip

    def _regmods(self, rows: Iterable[RegRow]) -> list[tuple[Any, ...]]:
        mentioned, mention, paths = self._processes.mentioned, self._processes.mention, self._regpaths
        return [
            (
                mentioned.get((guid, md5, origin)) or mention(guid, md5, origin),
                paths.ids.get(path) or paths.id(path), at, action, 0 if extra is None else self._extras.id(extra),
            )
            for guid, md5, origin, at, path, action, extra in rows
        ]  # fmt: skip

    def _netconns(self, rows: Iterable[NetRow]) -> list[tuple[Any, ...]]:
        return [
            (
                self._processes.mention(guid, md5, origin), at, outbound, protocol, remote_ip, remote_port, local_ip,
                local_port, 0 if domain is None else self._domains.id(domain),
                0 if extra is None else self._extras.id(extra),
            )
            for guid, md5, origin, at, outbound, protocol, remote_ip, remote_port, local_ip, local_port, domain, extra
            in rows
        ]  # fmt: skip

    def _children(self, batch: Batch) -> list[tuple[Any, ...]]:
        return [
            (
                self._processes.mention(guid, None, origin), self._processes.id(child), at, created,
                0 if path is None and md5 is None else self._files.id(md5, path or ""),
                0 if extra is None else self._extras.id(extra),
            )
            for guid, origin, at, child, created, md5, path, extra in batch.children
        ]  # fmt: skip

    def _crossings(self, rows: Iterable[CrossRow]) -> list[tuple[Any, ...]]:
        return [
            (
                self._processes.mention(guid, own, origin), 0 if other is None else self._processes.id(other), at,
                self._words.id(word), access, is_target,
                0 if path is None and md5 is None else self._files.id(md5, path or ""),
                0 if extra is None else self._extras.id(extra),
            )
            for guid, own, origin, at, word, other, access, is_target, md5, path, extra in rows
        ]  # fmt: skip

    def _messages(self, rows: Iterable[MessageRow], new: Counter[str], mark: str) -> None:
        for row in rows:
            process = None if row.guid is None else self._processes.id(row.guid)
            binary = None if row.md5 is None else self._binaries.id(row.md5)
            values = (row.digest, self._kind(row.kind), row.at, process, binary, row.body)
            sql = (
                "INSERT OR IGNORE INTO message (digest, kind_id, at, process_id, binary_id, body) VALUES (?,?,?,?,?,?)"
            )
            new[row.kind + mark] += self.db.execute(sql, values).rowcount

    def _binary_records(self, facts: Iterable[BinaryFact]) -> None:
        self.db.executemany(_BINARY_RECORD, [
            (
                self._binaries.id(r.md5, r.sha256), r.kind.value, _clean(r.word) or "",
                "" if r.code is None and r.code_text is None else _clean(r.code_text) or str(r.code), r.code,
                _clean(r.publisher), _clean(r.issuer), _clean(r.subject), _clean(r.program_name),
                milliseconds(r.signed_at), milliseconds(r.recorded_at) or 0,
                r.host_count if r.host_count is None or r.host_count < 2**63 else None, json.dumps(r.paths), digest,
            )
            for r, digest in facts
        ])  # fmt: skip

    def _sightings(self, batch: Batch) -> None:
        """Add to the hosts of each binary: loads, starts, and what messages say."""
        binary_of, seen, host_id = self._files.binary_of, self._hosts_seen, self._processes.hosts.id
        for (file, host), span in self._file_hosts.items():
            binary = binary_of[file]
            if binary and host is not None:
                known = seen.setdefault((binary, host_id(host)), span)
                if known is not span:
                    known[:] = min(known[0], span[0]), max(known[1], span[1])
        self._file_hosts.clear()
        for fact in batch.starts:
            self._see_start(fact)
        for md5, host, at in batch.seen:
            self._see(self._binaries.id(md5), self._processes.hosts.id(host), at, at)
        for md5, path in batch.observed:
            self._files.id(md5, path.lower())

    def _see_start(self, fact: ProcessFact) -> None:
        if fact.md5 is not None and fact.origin is not None and fact.origin.host is not None:
            at = fact.reported or 0
            self._see(self._binaries.id(fact.md5), self._processes.hosts.id(fact.origin.host), at, at)

    def _see(self, binary: int, host: int, first: int, last: int) -> None:
        span = self._hosts_seen.get((binary, host))
        if span is None:
            self._hosts_seen[(binary, host)] = [first, last]
        else:
            span[0], span[1] = min(span[0], first), max(span[1], last)

    def _flush_names(self) -> None:
        self._processes.flush()
        self._files.flush()
        self._binaries.flush()
        self._regpaths.flush()
        self._domains.flush()
        self.db.executemany(_BIN_HOST, [(b, h, first, last) for (b, h), (first, last) in self._hosts_seen.items()])
        self._hosts_seen.clear()

    def _tally(self, new: Counter[str]) -> None:
        self.db.executemany(
            "UPDATE kind SET events = events + ? WHERE id = ?",
            [(count, self._kind(kind)) for kind, count in new.items() if count],
        )

    def _kind(self, name: str) -> int:
        known = self._kinds.get(name)
        if known is None:
            self.db.execute("INSERT OR IGNORE INTO kind (name, events) VALUES (?, 0)", (name,))
            known = int(self.db.execute("SELECT id FROM kind WHERE name = ?", (name,)).fetchone()[0])
            self._kinds[name] = known
        return known

    def _forget(self) -> None:
        self._version = self._data_version()
        self._binaries.forget()
        self._processes.forget()
        self._files.forget()
        for strings in (self._regpaths, self._domains, self._texts):
            strings.forget()
        self._latest.clear()
        self._kinds.clear()
        self._hosts_seen.clear()
        self._file_hosts.clear()

    def _last_process(self) -> int:
        return int(self.db.execute("SELECT coalesce(max(id), 0) FROM process").fetchone()[0])

    def _data_version(self) -> int:
        """A number that changes when another connection has committed."""
        return int(self.db.execute("PRAGMA data_version").fetchone()[0])


def _clean(text: Optional[str]) -> Optional[str]:
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")
