"""Answers the core's questions from ClickHouse: binaries, processes, and the joint query of 2017, in batches."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Callable, Optional, TypeVar, Union

from cbsigned.binary import BinaryRecord
from cbsigned.clickhouse.address import Address
from cbsigned.clickhouse.copying import check_schema
from cbsigned.clickhouse.reading import PROCESS_COLUMNS, RECORD_COLUMNS, binary_record, process
from cbsigned.clickhouse.server import Row, Server, Value, in_parts
from cbsigned.errors import ConfigError, ProcessNotFound, SourceError, SourceResponseError
from cbsigned.gaps import Cause, Gap
from cbsigned.lineage import ProcessAnswers, Relatives
from cbsigned.observables import is_foreign, short_host
from cbsigned.process import Process
from cbsigned.sighting import Sighting
from cbsigned.signing import BinaryAnswers
from cbsigned.store.events import milliseconds
from cbsigned.store.ids import pack
from cbsigned.store.source import MAX_CANDIDATES, MAX_PATHS, phrase, window
from cbsigned.timing import Deadline

__all__ = ["ClickHouseSource"]

_PART = 2_000
"""Hashes or ids in one question: the server bounds one bound value to 128 KiB."""
_FEW = 200

_K = TypeVar("_K")
_T = TypeVar("_T")


class ClickHouseSource:
    """One store on ClickHouse, read by any thread; satisfies `BinarySource`, `ProcessSource` and `JointSource`.

    Args:
        address: Where it is.

    Attributes:
        server: What is asked.

    Raises:
        ConfigError: There is no such store.
        SourceError: It cannot be asked.
    """

    def __init__(self, address: Address) -> None:
        self.server = Server(address)
        self._lock = threading.Lock()
        try:
            check_schema(self.server)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """`store:` and the database."""
        return f"store:{self.server.address.database}"

    def close(self) -> None:
        """Close the connections; the next question opens new ones."""
        self.server.close()

    def __enter__(self) -> ClickHouseSource:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def binaries(self, hashes: Sequence[str], deadline: Deadline) -> BinaryAnswers:
        """Return for every hash its records, `()` where there are none; as `StoreSource.binaries`."""
        return self._in_parts(hashes, deadline, self._binaries, _PART)

    def processes(self, guids: Sequence[str], deadline: Deadline) -> ProcessAnswers:
        """Return for every guid its process, or `ProcessNotFound`; as `StoreSource.processes`."""
        return self._in_parts(guids, deadline, self._processes, _PART)

    def known(self, guids: Sequence[str], deadline: Deadline) -> frozenset[str]:
        """Return which of these ids the store has a process for; none where it fails."""
        answers = self.processes(guids, deadline)
        return frozenset(guid for guid, answer in answers.items() if isinstance(answer, Process))

    def candidates(
        self, sightings: Sequence[Sighting], deadline: Deadline
    ) -> Mapping[Sighting, Union[tuple[Process, ...], SourceError]]:
        """Return for every sighting the processes on its host that started in its window, at most 1,000."""
        return self._in_parts(sightings, deadline, self._candidates, _FEW)

    def children(
        self, guids: Sequence[str], limit: int, deadline: Deadline
    ) -> Mapping[str, Union[Relatives, SourceError]]:
        """Return for every guid its children, oldest first, at most `limit` of each, with the total."""
        return self._in_parts(guids, deadline, lambda part, left: self._children(part, limit, left), _FEW)

    def joint_hits(
        self, pairs: Sequence[tuple[str, str]], deadline: Deadline
    ) -> Mapping[tuple[str, str], Union[bool, SourceError]]:
        """Return for every (md5, name) whether a process has that image, and its program name has those words."""
        return self._in_parts(pairs, deadline, self._joint_hits, _PART)

    def _in_parts(
        self, keys: Sequence[_K], deadline: Deadline, ask: Callable[[list[_K], Deadline], Mapping[_K, _T]], size: int
    ) -> dict[_K, Union[_T, SourceError]]:
        """Ask in parts; what fails, or is not asked before the deadline, maps to the error."""
        found: dict[_K, Union[_T, SourceError]] = {}
        for part in in_parts(keys, size):
            try:
                found.update(ask(part, deadline))
            except SourceError as exc:
                found.update(dict.fromkeys(part, exc))
            except ConfigError as exc:  # the database was dropped meanwhile
                found.update(dict.fromkeys(part, SourceResponseError(str(exc))))
        return found

    def _rows(self, sql: str, values: Mapping[str, Value], deadline: Deadline) -> list[Row]:
        return self.server.rows(sql, values, deadline)

    def _binaries(self, hashes: list[str], deadline: Deadline) -> dict[str, tuple[BinaryRecord, ...]]:
        found: dict[str, list[BinaryRecord]] = {file_hash: [] for file_hash in hashes}
        for column, length in (("md5", 32), ("sha256", 64)):
            for wanted in in_parts((h for h in hashes if len(h) == length), _PART * 32 // length):
                sql = (
                    f"SELECT {RECORD_COLUMNS} FROM binary_record_local r WHERE r.{column} IN {{hashes}} "  # noqa: S608
                    "ORDER BY r.binary_id, r.kind, r.word, r.code_text"
                )
                rows = self._rows(sql, {"hashes": wanted}, deadline)
                hosts = self._host_counts([row[14] for row in rows if row[12] is None], deadline)
                paths = self._paths([row[14] for row in rows if row[13] == "[]"], deadline)
                for row in rows:
                    record = binary_record(row, hosts.get(row[14], 0), paths.get(row[14], ()))
                    found[row[0 if length == 32 else 1]].append(record)
        return {file_hash: tuple(records) for file_hash, records in found.items()}

    def _host_counts(self, binaries: list[int], deadline: Deadline) -> dict[int, int]:
        if not binaries:
            return {}
        sql = "SELECT binary_id, count() FROM bin_host_local WHERE binary_id IN {ids} GROUP BY binary_id"
        return {int(row[0]): int(row[1]) for row in self._rows(sql, {"ids": binaries}, deadline)}

    def _paths(self, binaries: list[int], deadline: Deadline) -> dict[int, tuple[str, ...]]:
        if not binaries:
            return {}
        sql = "SELECT binary_id, path FROM file_local WHERE binary_id IN {ids} ORDER BY id "
        sql += f"LIMIT {MAX_PATHS} BY binary_id"
        found: dict[int, set[str]] = defaultdict(set)
        for number, path in self._rows(sql, {"ids": binaries}, deadline):
            if path:
                found[number].add(path.lower())
        return {number: tuple(sorted(paths)) for number, paths in found.items()}

    def _processes(self, guids: list[str], deadline: Deadline) -> dict[str, Union[Process, SourceError]]:
        found = self._by_guid(guids, deadline)
        others = [f"{{{guid}}}" for guid in guids if guid not in found and not is_foreign(guid)]
        if others:  # GUIDs of another product that were named without their braces
            found.update(self._by_guid(others, deadline))
        return {guid: found.get(guid) or found.get(f"{{{guid}}}") or self._not_found(guid) for guid in guids}

    def _by_guid(self, guids: list[str], deadline: Deadline) -> dict[str, Process]:
        sql = f"SELECT {PROCESS_COLUMNS} FROM {self.server.every('process')} WHERE guid IN {{guids}}"  # noqa: S608
        rows = self._rows(sql, {"guids": [pack(guid).hex() for guid in guids]}, deadline)
        return {one.guid: one for one in map(process, rows)}

    def _not_found(self, guid: str) -> ProcessNotFound:
        return ProcessNotFound(f"Process {guid} is unknown to {self.name}: no event that was ingested names it.")

    def _candidates(self, sightings: list[Sighting], deadline: Deadline) -> dict[Sighting, tuple[Process, ...]]:
        found: dict[Sighting, list[Process]] = {sighting: [] for sighting in sightings}
        asked = [(number, s, window(s)) for number, s in enumerate(sightings)]
        rows = [(number, s, bounds) for number, s, bounds in asked if bounds is not None]
        if rows:
            hosts = [short_host(s.host) for _n, s, _b in rows]
            values: dict[str, Value] = {
                "hosts": hosts, "numbers": [number for number, _s, _b in rows],
                "first": [milliseconds(bounds[0]) or 0 for _n, _s, bounds in rows],
                "last": [milliseconds(bounds[1]) or 0 for _n, _s, bounds in rows],
                "pids": [-1 if s.pid is None else s.pid for _n, s, _b in rows],
                "hashes": ["" if s.pid is not None else s.file_hash or "" for _n, s, _b in rows],
            }  # fmt: skip
            for number, *row in self._rows(_CANDIDATES.format(every=self.server.every("process")), values, deadline):
                found[sightings[number]].append(process(row))
        return {sighting: tuple(processes) for sighting, processes in found.items()}

    def _children(self, guids: list[str], limit: int, deadline: Deadline) -> dict[str, Relatives]:
        known = {pack(guid).hex(): guid for guid in guids}
        every = self.server.every("process")
        present = self._rows(f"SELECT guid, id FROM {every} WHERE guid IN {{guids}}", {"guids": list(known)}, deadline)  # noqa: S608
        numbers = [number for _guid, number in present]
        totals: dict[int, int] = {}
        rows: dict[int, list[Process]] = defaultdict(list)
        if numbers:
            where = f"FROM {every} WHERE parent_id IN {{ids}}"
            counted = self._rows(f"SELECT parent_id, count() {where} GROUP BY parent_id", {"ids": numbers}, deadline)
            totals = {int(row[0]): int(row[1]) for row in counted}
            order = f"ORDER BY started IS NOT NULL, started, guid LIMIT {max(0, limit)} BY parent_id"
            for parent, *row in self._rows(
                f"SELECT parent_id, {PROCESS_COLUMNS} {where} {order}", {"ids": numbers}, deadline
            ):
                rows[parent].append(process(row))
        found = {known[guid]: _relatives(known[guid], rows[number], totals.get(number, 0)) for guid, number in present}
        for guid in guids:
            if guid not in found:
                found[guid] = Relatives((), 0, self._not_found(guid).gap(f"children of {guid}"))
        return found

    def _joint_hits(self, pairs: list[tuple[str, str]], deadline: Deadline) -> dict[tuple[str, str], bool]:
        every, md5s = self.server.every("process"), list({md5 for md5, _name in pairs})
        sql = f"SELECT DISTINCT md5 FROM {every} WHERE md5 IN {{md5s}}"  # noqa: S608
        ran = {md5 for (md5,) in self._rows(sql, {"md5s": md5s}, deadline)}
        sql = (
            "SELECT DISTINCT md5, program_name FROM binary_record_local "
            "WHERE program_name IS NOT NULL AND md5 IN {md5s}"
        )
        names: dict[str, list[str]] = defaultdict(list)
        for md5, program_name in self._rows(sql, {"md5s": md5s}, deadline):
            names[md5].append(phrase(program_name))
        return {
            (md5, name): md5 in ran and phrase(name) != "  " and any(phrase(name) in text for text in names[md5])
            for md5, name in pairs
        }


_CANDIDATES = f"""
SELECT s.number, {", ".join(f"p.{column.strip()}" for column in PROCESS_COLUMNS.split(","))}
FROM {{every}} AS p INNER JOIN (
    SELECT asked.1 AS number, asked.2 AS host_short, asked.3 AS first, asked.4 AS last, asked.5 AS pid, asked.6 AS hash
    FROM (SELECT arrayJoin(arrayZip(
        {{{{numbers}}}}, {{{{hosts}}}}, {{{{first}}}}, {{{{last}}}}, {{{{pids}}}}, {{{{hashes}}}})) AS asked)
) AS s ON p.host_short = s.host_short
WHERE p.host_short IN {{{{hosts}}}} AND p.started BETWEEN s.first AND s.last AND (s.pid = -1 OR p.pid = s.pid)
    AND (s.hash = '' OR p.md5 = s.hash OR p.sha256 = s.hash)
ORDER BY p.started DESC LIMIT {MAX_CANDIDATES} BY s.number
"""  # noqa: S608 (our own names)


def _relatives(guid: str, nodes: list[Process], total: int) -> Relatives:
    gap: Optional[Gap] = None
    if len(nodes) < total:
        reason = f"{len(nodes)} of {total} children shown; ask for more to see the others."
        gap = Gap(f"children of {guid}", Cause.CUT, reason)
    return Relatives(tuple(nodes), total, gap)
