"""`cbsigned related HASH`: where a file came from, and which processes wrote, ran, loaded and deleted it."""

from __future__ import annotations

import argparse
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

from cbsigned.binary import Signature
from cbsigned.cli import Context, ExitCode
from cbsigned.errors import SourceError, SourceTimeout
from cbsigned.observables import split_path
from cbsigned.process import Process
from cbsigned.render.document import Document
from cbsigned.store.origin import Origin, origin_of
from cbsigned.store.questions import (
    SHARE,
    Subparsers,
    count,
    deadline_option,
    fitted,
    hashes_option,
    image_status,
    question,
    say_failures,
    settings_of,
    status_of,
    statuses,
    time_text,
)
from cbsigned.store.reading import bounded, in_parts, processes_of, reading
from cbsigned.store.relations import (
    Contact,
    Newest,
    Relation,
    binaries_of,
    contacts_of_binaries,
    history_contacts,
    paths_by_number,
)
from cbsigned.store.source import StoreSource
from cbsigned.timing import Deadline

__all__ = ["related", "related_answer"]

_HELP = """
examples:
  cbsigned related 21bdf404d829667477160f3942f7159a
  cbsigned related --rows 500 --output csv 0f343b0931126a20f133d67c2b018a3b
  cbsigned related 21bdf404d829667477160f3942f7159a --output json | jq '.relations.loaded.rows[].host'

Files are told by hash. First writes and deletions name none: they count where path and host are the file's own, and
HOW is then "path". Where it came from is followed back: who wrote the file, who wrote that program, and so on."""

_RELATIONS = (Relation.WROTE, Relation.RAN, Relation.DELETED, Relation.LOADED)
_COLUMNS = ("relation", "at", "process", "pid", "status", "host", "path", "how", "guid")
_CSV = (
    "asked", "relation", "at", "first", "events", "how", "process", "pid", "status", "publisher", "reason", "md5",
    "host", "user", "path", "cmdline", "guid", "parent_name", "parent_guid",
)  # fmt: skip
_ORIGIN = ("file", "status", "written_at", "by", "host", "how", "md5")
_WRITER = ("guid", "process", "pid", "user", "cmdline", "md5", "sha256", "status", "reason", "publisher")
_NAMES = "SELECT b.id, b.md5, b.sha256 FROM binary b WHERE b.id IN ({})"
_PATH_OF = (
    "SELECT coalesce((SELECT path_id FROM file WHERE binary_id = ?1 LIMIT 1),"
    " (SELECT path_id FROM process WHERE binary_id = ?1 AND path_id > 0 LIMIT 1), 0)"
)


def related(subparsers: Subparsers) -> None:
    """Add `cbsigned related`."""
    parser = question(subparsers, "related", "where a file came from; who wrote, ran, loaded and deleted it", _HELP)
    parser.add_argument("hashes", nargs="+", metavar="HASH", help="MD5 or SHA-256 of a file")
    parser.add_argument(
        "--rows", type=count(0, 100_000), default=20, metavar="N", help="most of each relation (default: 20)"
    )
    deadline_option(parser, " to one hash")
    parser.set_defaults(run=_run)


def related_answer(path: Path, file_hash: str, deadline_s: float, rows: int = 20) -> Document:
    """Return where a file came from, and the newest processes of each relation to it, with how many there are.

    Args:
        path: The store.
        file_hash: Lower-case MD5 or SHA-256.
        deadline_s: For everything, seconds; a relation that is not answered by then has a `gap`.
        rows: Most of each relation.

    Raises:
        ConfigError: There is no such store.
        SourceError: It cannot be read.
    """
    deadline = Deadline(deadline_s)
    with StoreSource(path) as source, reading(path) as db:
        asked = _Asked(db, binaries_of(db, [file_hash]).get(file_hash, []), Deadline(deadline_s * SHARE), rows)
        signatures = statuses(source, [file_hash, *asked.hashes()], deadline)
    return asked.document(file_hash, signatures)


class _Asked:
    """What the store has on one file, as numbers, then as a document."""

    def __init__(self, db: sqlite3.Connection, binaries: Sequence[int], deadline: Deadline, rows: int) -> None:
        self._newest = {relation: Newest(rows) for relation in _RELATIONS}
        self._gaps: dict[Relation, SourceError] = {}
        self._origin = Origin((), None, "No event and no record that was ingested names the file.")
        writes: list[Contact] = []
        for relation in _RELATIONS:
            try:
                with bounded(db, deadline):
                    self._ask(db, relation, binaries, writes)
            except SourceTimeout as exc:
                self._gaps[relation] = exc
        try:
            with bounded(db, deadline):
                origins = [origin_of(db, number, writes if len(binaries) == 1 else ()) for number in binaries]
                self._origin = max(origins, key=lambda one: len(one.steps), default=self._origin)
        except SourceTimeout as exc:
            self._origin = Origin((), None, str(exc))
        self._describe(db, binaries)

    def _ask(self, db: sqlite3.Connection, relation: Relation, binaries: Sequence[int], writes: list[Contact]) -> None:
        if relation is Relation.DELETED:
            return  # told with the writes, from the same events
        for _number, contact in contacts_of_binaries(db, relation, binaries):
            self._newest[relation].add(None, contact)
            if relation is Relation.WROTE:
                writes.append(contact)
        if relation is Relation.WROTE:
            for contact in (contact for number in binaries for contact in history_contacts(db, number)):
                self._newest[contact.relation].add(None, contact)
                writes += [contact] if contact.relation is Relation.WROTE else []

    def _describe(self, db: sqlite3.Connection, binaries: Sequence[int]) -> None:
        steps = self._origin.steps
        contacts = [one for newest in self._newest.values() for one in newest.of(None)]
        contacts += [step.write for step in steps]
        self._processes = processes_of(db, [one.process for one in contacts])
        files = [*binaries, *(step.binary for step in steps), *([self._origin.last] if self._origin.last else [])]
        self._files = {number: (md5, sha256) for number, md5, sha256 in in_parts(db, _NAMES, files)}
        self._places = {step.binary: step.write.path for step in steps}
        for number in files:
            self._places.setdefault(number, db.execute(_PATH_OF, (number,)).fetchone()[0])
        self._first = binaries[0] if binaries else None
        self._paths = paths_by_number(db, [*(one.path for one in contacts), *self._places.values()])

    def hashes(self) -> list[Optional[str]]:
        """Return every hash whose status is shown."""
        files = [self._hashes(number) for number in self._files]
        return [*(p.file_hash for p in self._processes.values()), *(md5 or sha256 for md5, sha256 in files)]

    def document(self, file_hash: str, found: Mapping[str, Signature]) -> Document:
        """Return all of it as JSON types."""
        return {
            "asked": file_hash,
            "md5": file_hash if len(file_hash) == 32 else self._hashes(self._first)[0],
            "sha256": file_hash if len(file_hash) == 64 else self._hashes(self._first)[1],
            "name": self._name(self._first),
            **status_of(found, file_hash),
            "origin": [self._step(at, found) for at in range(len(self._origin.steps))],
            "origin_ended": self._ended(found),
            "relations": {relation.value: self._relation(relation, found) for relation in _RELATIONS},
        }

    def _step(self, at: int, found: Mapping[str, Signature]) -> Document:
        step = self._origin.steps[at]
        md5, sha256 = self._hashes(step.binary)
        row = _row(step.write, self._processes[step.write.process], self._paths, found)
        return {
            "file": self._name(step.binary), "path": row["path"], "md5": md5, "sha256": sha256,
            **status_of(found, md5, sha256), "written_at": row["first"], "host": row["host"], "how": row["how"],
            "by": {name: row[name] for name in _WRITER},
        }  # fmt: skip

    def _ended(self, found: Mapping[str, Signature]) -> Document:
        md5, sha256 = self._hashes(self._origin.last)
        name = self._name(self._origin.last)
        return {
            "file": name,
            "md5": md5,
            "sha256": sha256,
            **status_of(found, md5, sha256),
            "reason_ended": self._origin.reason,
        }

    def _relation(self, relation: Relation, found: Mapping[str, Signature]) -> Document:
        newest = self._newest[relation]
        gap = self._gaps.get(Relation.WROTE if relation is Relation.DELETED else relation)
        return {
            "total": newest.totals.get(None, 0),
            "rows": [_row(one, self._processes[one.process], self._paths, found) for one in newest.of(None)],
            "gap": str(gap) if gap else None,
        }

    def _hashes(self, number: Optional[int]) -> tuple[Optional[str], Optional[str]]:
        md5, sha256 = self._files.get(number or 0, (None, None))
        return md5.hex() if md5 else None, sha256.hex() if sha256 else None

    def _name(self, number: Optional[int]) -> Optional[str]:
        path = self._paths.get(self._places.get(number or 0, 0))
        return split_path(path) if path else None


def _row(one: Contact, process: Process, paths: Mapping[int, str], found: Mapping[str, Signature]) -> Document:
    return {
        "relation": one.relation.value, "first": time_text(one.first), "last": time_text(one.last),
        "events": one.events, "how": one.how, "path": paths.get(one.path) or None, "process": process.name,
        "pid": process.pid, "host": process.host, "user": process.user, "cmdline": process.cmdline,
        "guid": process.guid, "md5": process.md5, "sha256": process.sha256,
        **image_status(found, process.md5, process.sha256),
        "parent_name": process.parent_name, "parent_guid": process.parent_guid,
    }  # fmt: skip


def _run(args: argparse.Namespace, context: Context) -> int:
    settings, path = settings_of(args, context), context.store_path()
    gaps: list[str] = []
    documents = []
    for file_hash in hashes_option(args.hashes):
        documents.append(related_answer(path, file_hash, settings.deadline_s, args.rows))
        gaps += [part["gap"] for part in documents[-1]["relations"].values() if part["gap"]]
    if context.output == "json":
        context.emit(documents, [])
    elif context.output == "csv":
        context.emit([{"asked": d["asked"], **row} for d in documents for row in _rows(d)], _CSV)
    else:
        for document in documents:
            _show(document, context)
    say_failures(context, gaps)
    return ExitCode.INCOMPLETE if gaps else ExitCode.OK


def _rows(document: Document) -> list[Document]:
    """Return the rows of all relations, newest first."""
    rows = [{**row, "at": row["last"]} for part in document["relations"].values() for row in part["rows"]]
    return sorted(rows, key=lambda row: (row["last"] or "", _LATER.index(row["relation"])), reverse=True)


_LATER = ("wrote", "ran", "loaded", "deleted")


def _show(document: Document, context: Context) -> None:
    """Print one file's answer: where it came from, then who had to do with it."""
    context.emit(fitted(context, _origin_rows(document), _ORIGIN, "by"), _ORIGIN)
    context.stdout.write("\n")
    rows = _rows(document)
    if rows:
        context.emit(fitted(context, rows, _COLUMNS, "path"), _COLUMNS)
        context.stdout.write("\n")
    for name, part in document["relations"].items():
        if part["total"] > len(part["rows"]):
            context.say(f"{name}: the newest {len(part['rows']):,} of {part['total']:,}; --rows N shows more.")


def _origin_rows(document: Document) -> list[Document]:
    end = document["origin_ended"]
    rows = [
        {**step, "by": f"{step['by']['process'] or 'a process'} (pid {step['by']['pid']})"}
        for step in document["origin"]
    ]  # fmt: skip
    return [*rows, {**end, "file": end["file"] or end["md5"] or document["asked"], "by": end["reason_ended"]}]
