"""The EDR as a source: what the core asks, put into batches of REST searches."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Callable, Optional, TypeVar, Union

from cbsigned.binary import BinaryRecord
from cbsigned.edr.activity import ActivityPage, activity_page
from cbsigned.edr.answers import Forbidden, NoRoute
from cbsigned.edr.checks import Finding, check
from cbsigned.edr.documents import by_hash, candidates_of, children_of, joint_query, processes_of, sighting_query
from cbsigned.edr.pages import SearchPage, search_page
from cbsigned.edr.query import MAX_CLAUSES, Query, Unsearchable, any_of, guid_clause, hash_clause
from cbsigned.edr.search import (
    BINARY,
    PROCESS,
    Found,
    ServerVersion,
    in_chunks,
    parse_version,
    search,
    side_by_side,
)
from cbsigned.edr.seen import seen_on
from cbsigned.edr.transport import EdrClient, Parameter
from cbsigned.errors import SourceError, SourceResponseError, SourceTimeout
from cbsigned.gaps import Gap
from cbsigned.lineage import Relatives, Sighting
from cbsigned.process import Process
from cbsigned.seen import Seen, not_seen
from cbsigned.timing import Deadline

__all__ = ["EdrSource"]

log = logging.getLogger(__name__)
_K = TypeVar("_K")
_V = TypeVar("_V")
_ROWS = 1_000
_MAX_CANDIDATES = 5_000
_CLAUSES_PER_SIGHTING = 4
_ASSUMED = ServerVersion(6, 0, 0)


class EdrSource:
    """Carbon Black EDR 5.x to 7.x over REST: a `BinarySource`, `ProcessSource` and `JointSource`.

    Every question becomes batches of at most `MAX_CLAUSES` clauses, some of them at the same time. A batch that
    fails leaves its error as the answer of its own items alone. The server's version is read once; where the
    token may not read it (403) or the route is missing (404), the server is taken for a 6.0, which asks for
    nothing that later servers lack, and SHA-256 is tried in batches apart.

    Args:
        client: Carries the requests; closed by `close`.
    """

    def __init__(self, client: EdrClient) -> None:
        self.name = f"edr:{client.host}"
        self._client = client
        self._version: Optional[ServerVersion] = None
        self._assumed = False
        self._version_lock = threading.Lock()

    def __enter__(self) -> EdrSource:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connections."""
        self._client.close()

    def check(self, deadline: Deadline) -> tuple[Finding, ...]:
        """Try what the core will need, and say of each whether it works and what to do if not."""
        return check(self._client, deadline)

    def version(self, deadline: Deadline) -> ServerVersion:
        """Return the server's version, asked once.

        Raises:
            SourceError: `/api/info` could not be read for another reason than a missing right or route.
        """
        if not self._version_lock.acquire(timeout=deadline.remaining()):
            raise SourceTimeout(
                f"{self._client.host} did not tell its version in time. Raise the time limit (deadline_s)."
            )
        try:
            if self._version is None:
                self._version = self._read_version(deadline)
            return self._version
        finally:
            self._version_lock.release()

    def binaries(
        self, hashes: Sequence[str], deadline: Deadline
    ) -> Mapping[str, Union[tuple[BinaryRecord, ...], SourceError]]:
        """Return the binary records of every hash; see `BinarySource`.

        References:
            - cb-edr-api §5.1: one row for each hash, no join; §1.4: SHA-256 from 6.3
        """

        def ask(
            batch: Sequence[str], version: ServerVersion
        ) -> Mapping[str, Union[tuple[BinaryRecord, ...], SourceError]]:
            query = any_of(map(hash_clause, batch))
            found = search(self._client, BINARY, query, deadline, rows=len(batch), more=_plain(version))
            return by_hash(found, batch, self.name)

        def plan(askable: Sequence[str], version: ServerVersion) -> list[Sequence[str]]:
            kinds = [[h for h in askable if len(h) == 32], [h for h in askable if len(h) != 32]]
            parts = kinds if self._assumed else [kinds[0] + kinds[1]]
            return [chunk for part in parts for chunk in in_chunks(part, MAX_CLAUSES)]

        def searchable(file_hash: str, version: ServerVersion) -> Query:
            if len(file_hash) == 64 and not version.sha256 and not self._assumed:
                raise Unsearchable(_no_sha256(self._client.host, version))
            return hash_clause(file_hash)

        return self._answers(hashes, deadline, searchable, plan, ask)

    def processes(self, guids: Sequence[str], deadline: Deadline) -> Mapping[str, Union[Process, SourceError]]:
        """Return the process of every guid; see `ProcessSource`.

        Before 6.0 a search gives one row for each segment: all pages are read, and the segments merged.
        """

        def ask(batch: Sequence[str], version: ServerVersion) -> Mapping[str, Union[Process, SourceError]]:
            rows = len(batch) if version.groups else _ROWS
            found = self._processes(_of_guids("process_id", batch), deadline, version, rows=rows)
            return processes_of(found, batch, self.name)

        return self._answers(guids, deadline, lambda g, _v: guid_clause("process_id", g), _chunks, ask)

    def candidates(
        self, sightings: Sequence[Sighting], deadline: Deadline
    ) -> Mapping[Sighting, Union[tuple[Process, ...], SourceError]]:
        """Return the processes that every sighting can mean; see `ProcessSource`.

        Where a batch finds more rows than are read, it is asked again in halves; a sighting that alone finds too
        many gets an error, never a part of its candidates.
        """

        def ask(
            batch: Sequence[Sighting], version: ServerVersion
        ) -> Mapping[Sighting, Union[tuple[Process, ...], SourceError]]:
            query = any_of(sighting_query(sighting, version) for sighting in batch)
            found = self._processes(query, deadline, version, rows=_ROWS, at_most=_MAX_CANDIDATES)
            if found.missing is None:
                return candidates_of(found, batch, self.name)
            if len(batch) == 1 or not isinstance(found.missing, SourceResponseError):
                return dict.fromkeys(batch, found.missing)
            return self._halves(ask, batch, version)

        def plan(askable: Sequence[Sighting], _version: ServerVersion) -> list[Sequence[Sighting]]:
            return in_chunks(askable, MAX_CLAUSES // _CLAUSES_PER_SIGHTING)

        return self._answers(sightings, deadline, sighting_query, plan, ask)

    def children(
        self, guids: Sequence[str], limit: int, deadline: Deadline
    ) -> Mapping[str, Union[Relatives, SourceError]]:
        """Return the children of every guid; see `ProcessSource`.

        Children that the sensor folded into their parent have no document, so they are not found here. Where a
        batch finds more rows than are read, it is asked again in halves, down to one parent, whose total the
        server tells (before 6.0 in segments, so perhaps too high).
        """

        def ask(batch: Sequence[str], version: ServerVersion) -> Mapping[str, Union[Relatives, SourceError]]:
            rows = _ROWS if len(batch) > 1 or not version.groups else max(1, min(limit, _ROWS))
            at_most = _MAX_CANDIDATES if len(batch) > 1 else max(limit, 1)
            query = _of_guids("parent_id", batch)
            found = self._processes(query, deadline, version, rows=rows, at_most=at_most)
            if found.missing is None or (len(batch) == 1 and isinstance(found.missing, SourceResponseError)):
                return dict(children_of(found, batch, limit, self.name))
            if not isinstance(found.missing, SourceResponseError):
                return dict.fromkeys(batch, found.missing)
            return self._halves(ask, batch, version)

        return self._answers(guids, deadline, lambda g, _v: guid_clause("parent_id", g), _chunks, ask)

    def joint_hits(
        self, pairs: Sequence[tuple[str, str]], deadline: Deadline
    ) -> Mapping[tuple[str, str], Union[bool, SourceError]]:
        """Return for every (md5, program name) whether the joint query of 2017 finds anything.

        Hits of one query are told apart by its `process_md5` facet; where the server gives none, pairs are asked
        singly. A refused query is an error, not a miss.
        """

        def ask(
            batch: Sequence[tuple[str, str]], version: ServerVersion
        ) -> Mapping[tuple[str, str], Union[bool, SourceError]]:
            batched = len(batch) > 1
            more: dict[str, Parameter] = {"facet": "true", "facet.field": "process_md5"} if batched else _plain(version)
            found = search(self._client, PROCESS, joint_query(batch), deadline, rows=0, more=more)
            if found.missing is not None:
                return dict.fromkeys(batch, found.missing)
            if not batched or not found.total:
                return dict.fromkeys(batch, found.total > 0)
            hits = (found.facets or {}).get("process_md5", {})
            if any(hits.get(md5) for md5, _name in batch):
                return {pair: bool(hits.get(pair[0])) for pair in batch}
            return _merge(side_by_side(self._client, lambda pair: self._guarded(ask, [pair], version), batch))

        def plan(askable: Sequence[tuple[str, str]], version: ServerVersion) -> list[Sequence[tuple[str, str]]]:
            if not version.facets:
                return in_chunks(askable, 1)
            rounds: list[list[tuple[str, str]]] = []  # in one round each MD5 once: the facet knows no names
            seen: dict[str, int] = {}
            for pair in askable:
                turn = seen[pair[0]] = seen.get(pair[0], -1) + 1
                if turn == len(rounds):
                    rounds.append([])
                rounds[turn].append(pair)
            return [chunk for part in rounds for chunk in in_chunks(part, MAX_CLAUSES // 2)]

        return self._answers(pairs, deadline, lambda pair, _v: joint_query([pair]), plan, ask)

    def search_processes(
        self, query: str, *, start: int = 0, rows: int = 500, sort: Optional[str] = None, deadline: Deadline
    ) -> SearchPage:
        """Return one page of the processes that a user's own query finds; see `search_page`."""
        version = self.version(deadline)
        return search_page(self._client, PROCESS, query, version, deadline, start=start, rows=rows, sort=sort)

    def search_binaries(
        self, query: str, *, start: int = 0, rows: int = 500, sort: Optional[str] = None, deadline: Deadline
    ) -> SearchPage:
        """Return one page of the binaries that a user's own query finds; see `search_page`."""
        version = self.version(deadline)
        return search_page(self._client, BINARY, query, version, deadline, start=start, rows=rows, sort=sort)

    def seen(self, file_hash: str, rows: int, deadline: Deadline) -> Seen:
        """Return where a file was seen; a question that fails is a gap, and nothing raises.

        Args:
            file_hash: Lower-case MD5 or SHA-256.
            rows: Most hosts and paths, and most processes of each relation, 1 or more.
        """
        try:
            version = self.version(deadline)
            if len(file_hash) == 64 and not version.sha256 and not self._assumed:
                raise Unsearchable(_no_sha256(self._client.host, version))
            return seen_on(self._client, file_hash, rows, version, deadline)
        except SourceError as exc:
            return not_seen(file_hash, Gap(f"where {file_hash} was seen", exc.cause, str(exc)))

    def activity(
        self,
        guid: str,
        *,
        kinds: Optional[Sequence[str]] = None,
        start: int = 0,
        rows: int = 500,
        deadline: Deadline,
    ) -> ActivityPage:
        """Return one page of what a process did, oldest first; see `activity_page`."""
        return activity_page(self._client, guid, self.version(deadline), deadline, kinds=kinds, start=start, rows=rows)

    def _answers(
        self,
        items: Sequence[_K],
        deadline: Deadline,
        searchable: Callable[[_K, ServerVersion], Query],
        plan: Callable[[Sequence[_K], ServerVersion], list[Sequence[_K]]],
        ask: Callable[[Sequence[_K], ServerVersion], Mapping[_K, Union[_V, SourceError]]],
    ) -> dict[_K, Union[_V, SourceError]]:
        """Answer every item: what cannot be searched by its reason, the rest in batches side by side."""
        answers: dict[_K, Union[_V, SourceError]] = {}
        if not items:
            return answers
        try:
            version = self.version(deadline)
        except SourceError as exc:
            return dict.fromkeys(items, _value(exc))
        askable = []
        for item in dict.fromkeys(items):
            try:
                searchable(item, version)
                askable.append(item)
            except Unsearchable as exc:
                answers[item] = _value(exc)
        batches = plan(askable, version)
        answers.update(_merge(side_by_side(self._client, lambda b: self._guarded(ask, b, version), batches)))
        log.debug("%s: %d items in %d batches", self.name, len(items), len(batches))
        return {item: answers[item] for item in items}

    def _halves(
        self,
        ask: Callable[[Sequence[_K], ServerVersion], Mapping[_K, Union[_V, SourceError]]],
        batch: Sequence[_K],
        version: ServerVersion,
    ) -> Mapping[_K, Union[_V, SourceError]]:
        return _merge(self._guarded(ask, half, version) for half in in_chunks(batch, (len(batch) + 1) // 2))

    @staticmethod
    def _guarded(
        ask: Callable[[Sequence[_K], ServerVersion], Mapping[_K, Union[_V, SourceError]]],
        batch: Sequence[_K],
        version: ServerVersion,
    ) -> Mapping[_K, Union[_V, SourceError]]:
        try:
            return ask(batch, version)
        except SourceError as exc:
            return dict.fromkeys(batch, _value(exc))

    def _processes(
        self,
        query: Query,
        deadline: Deadline,
        version: ServerVersion,
        *,
        rows: int,
        at_most: Optional[int] = None,
    ) -> Found:
        more: dict[str, Parameter] = {**_plain(version), "sort": "start asc"}  # new processes come on the last page
        if version.groups:
            more.update({"cb.group": "id", "cb.comprehensive_search": "true"})
        return search(self._client, PROCESS, query, deadline, rows=rows, more=more, at_most=at_most)

    def _read_version(self, deadline: Deadline) -> ServerVersion:
        try:
            document = self._client.ask("/api/info", deadline).document
        except (Forbidden, NoRoute):
            self._assumed = True
            log.warning("%s does not tell its version; it is taken for %s.", self._client.host, _ASSUMED)
            return _ASSUMED
        version = parse_version(document.get("version"))
        if version is None:
            raise SourceResponseError(
                f"{self._client.host} named no version in /api/info. Check that url names a Carbon Black EDR."
            )
        log.debug("%s is version %s", self._client.host, version)
        return version


def _no_sha256(host: str, version: ServerVersion) -> str:
    return f"{host} ({version}) cannot be searched by SHA-256, which needs 6.3. Map the MD5 too."


def _plain(version: ServerVersion) -> dict[str, Parameter]:
    return {"facet": "false"} if version.facets else {}  # on 5.1.0 the parameter itself ends in a 504


def _chunks(items: Sequence[_K], _version: ServerVersion) -> list[Sequence[_K]]:
    return in_chunks(items, MAX_CLAUSES)


def _of_guids(field: str, guids: Sequence[str]) -> Query:
    return any_of(guid_clause(field, guid) for guid in guids)


def _merge(parts: Iterable[Mapping[_K, _V]]) -> dict[_K, _V]:
    return {item: answer for part in parts for item, answer in part.items()}


def _value(exc: SourceError) -> SourceError:
    """Return an error as an answer: kept for long, it must not keep the frames it was raised in."""
    return exc.with_traceback(None)
