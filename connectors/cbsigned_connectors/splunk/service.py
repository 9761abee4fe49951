"""What the handler holds between requests: one EDR server, the caches in front of it, and the questions to both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional, Protocol, TypeVar

from cbsigned.binary import Signature
from cbsigned.cache import Cache, TieredCache
from cbsigned.codec import decode_signature, encode
from cbsigned.edr import EdrClient, EdrSource, Entry
from cbsigned.edr.transport import Parameter
from cbsigned.enrichment import Caches, Enrichment, Sources, enrich, process_cache
from cbsigned.errors import ConfigError
from cbsigned.gaps import Gap
from cbsigned.render.csv import lineage_rows
from cbsigned.render.document import Document, enrichment_document
from cbsigned.render.links import console_links
from cbsigned.settings import EdrSettings, Settings
from cbsigned.sharing import SharedSource
from cbsigned.timing import Deadline, format_time
from cbsigned_connectors.splunk.health import Health

__all__ = ["LINEAGE", "Keeping", "Service", "Verdicts", "answer_of"]

LINEAGE = ("text", "json", "depth", "root", "ended_by", "why", "names", "statuses", "guid")
"""Fields of a lineage in an answer; names and statuses are lists."""

_MOST_WARNINGS = 10
_MOST_JSON = 40 * 1024 * 1024
"""Of all lineages of one answer, in characters as they go out: well below what the client reads."""
_T = TypeVar("_T")

_SIGNING: Mapping[str, tuple[str, ...]] = {
    "status": ("status",),
    "signed": ("signature", "signed"),
    "publisher": ("signature", "publisher"),
    "issuer": ("signature", "issuer"),
    "sign_time": ("signature", "signed_at"),
    "why": ("reason",),
    "source": ("signature", "evidence", "source"),
    "certainty": ("signature", "evidence", "certainty"),
}
"""Field of an answer → where it stands in a subject of the core's document."""

_FACTS: Mapping[str, tuple[str, ...]] = {
    **{
        name: (name,)
        for name in (
            "process_guid", "name", "path", "pid", "host", "user", "cmdline", "started_at", "md5", "sha256",
        )
    },
    **_SIGNING,
    "program_name": ("signature", "program_name"),
    "host_count": ("signature", "host_count"),
    "paths": ("signature", "paths"),
    "record": ("signature", "evidence", "record"),
    "recorded_at": ("signature", "evidence", "recorded_at"),
    "code": ("signature", "evidence", "code"),
    "notes": ("verdict", "notes"),
    "lineage_ended": ("lineage", "ended_by"),
    "lineage_why": ("lineage", "reason"),
}  # fmt: skip
"""Fact of a process page → where it stands there."""


class Verdicts(Protocol):
    """Where fresh signing statuses are written for others to look up."""

    def write(self, signatures: Iterable[Signature]) -> None:
        """Keep them; never raises."""


@dataclass(frozen=True)
class Keeping:
    """Where answers outlive the process; None for memory alone."""

    durable: Optional[Cache] = None
    verdicts: Optional[Verdicts] = None


class Service:
    """Answers the handler's questions from one EDR server; its methods may be called by many threads.

    Args:
        settings: With `edr`.
        keeping: Where answers outlive the process.
        health: Counts what happens here.
        before: The service before this one; where the server is still the same, its caches are kept.

    Raises:
        ConfigError: There is no server in the settings, or its CA file cannot be read.
    """

    def __init__(self, settings: Settings, keeping: Keeping, health: Health, before: Optional[Service] = None) -> None:
        if settings.edr is None:
            raise ConfigError("There is no server in the settings: [edr] has no url.")
        self.settings, self.health = settings, health
        self.edr = EdrSource(_Counted(settings.edr, health))
        same = before is not None and before.settings.edr is not None and before.settings.edr.url == settings.edr.url
        new = Caches(_Signatures(keeping, health), process_cache(keeping.durable))
        self.caches: Caches = before.caches if before is not None and same else new
        shared, fresh = SharedSource(self.edr), SharedSource(self.edr, linger_s=0.0)
        unread = Caches(_Unread(self.caches.signatures), _Unread(self.caches.processes))
        self._sources = {
            True: Sources(shared, shared, caches=self.caches),
            False: Sources(fresh, fresh, caches=unread),
        }

    def close(self) -> None:
        """Close the connections to the server; questions under way open new ones."""
        self.edr.close()

    def rows(
        self, records: Sequence[Mapping[str, Any]], *, lineage: Sequence[str], max_depth: int, cache: bool,
        deadline: Deadline,
    ) -> Document:  # fmt: skip
        """Return an answer for each row of a search, in order, and the reasons of what failed.

        Args:
            records: One for each row.
            lineage: Which of `LINEAGE` are wanted; none of them, and no lineage is asked for.
            max_depth: Most ancestors.
            cache: Whether what is known counts.
            deadline: For everything.
        """
        found = self._enriched(records, deadline, cache=cache, lineage=bool(lineage), max_depth=max_depth)
        self.health.count("lookups", "rows", len(found))
        answers, shortened = _bounded(answer_of(one, lineage) for one in found)
        return {"answers": answers, "warnings": [*_failures(found), *shortened]}

    def enrich(self, alerts: Sequence[Mapping[str, Any]], *, deadline: Deadline, lineage: bool = True) -> Document:
        """Return the core's document of each alert, in order."""
        found = self._enriched(alerts, deadline, lineage=lineage)
        return {"enrichments": [enrichment_document(one) for one in found], "warnings": _failures(found)}

    def process(self, guid: str, *, relatives: int, deadline: Deadline) -> Document:
        """Return everything about one process: flat facts, its lineage as flat rows, the console's pages of it."""
        found = self._enriched([{"process_guid": guid}], deadline, relatives=relatives)
        document = enrichment_document(found[0])
        subject = document["subjects"][0] if document["subjects"] else {}
        links = console_links(self.edr.name, guid, subject.get("md5")) or {}
        return {
            "process": {name: _flat(_at(subject, path)) for name, path in _FACTS.items()},
            "lineage": lineage_rows(subject["lineage"]) if subject.get("lineage") else [],
            "links": {name: link or "" for name, link in links.items()},
            "complete": document["complete"],
            "gaps": [gap["reason"] for gap in document["gaps"]],
        }

    def search(
        self, kind: str, query: str, *, start: int, rows: int, sort: Optional[str], deadline: Deadline
    ) -> Document:
        """Return one page of what a query in the EDR's own language finds; `kind` is `process` or `binary`.

        Raises:
            SourceError: The server refused the query or gave no answer; the text says where it is wrong.
        """
        ask = self.edr.search_processes if kind == "process" else self.edr.search_binaries
        page = ask(query, start=start, rows=rows, sort=sort, deadline=deadline)
        found = [{name: _flat(value) for name, value in row.items()} for row in page.rows]
        return {"total": page.total, "rows": found, "next": page.next, "warnings": list(page.notes)}

    def activity(
        self, guid: str, *, kinds: Optional[Sequence[str]], start: int, rows: int, deadline: Deadline
    ) -> Document:
        """Return one page of what a process did, oldest first.

        Raises:
            SourceError: The server does not know the process, or gave no answer.
        """
        page = self.edr.activity(guid, kinds=kinds, start=start, rows=rows, deadline=deadline)
        return {
            "total": page.total,
            "counts": dict(page.counts),
            "rows": [_event(entry) for entry in page.entries],
            "next": page.next,
            "warnings": list(page.notes),
        }

    def _enriched(
        self, records: Sequence[Mapping[str, Any]], deadline: Deadline, *, cache: bool = True, **more: Any
    ) -> list[Enrichment]:
        """Enrich all records as one window, within what is left of the time."""
        settings = replace(
            self.settings, window=max(1, len(records)), deadline_s=deadline.remaining(), **{"lineage": True, **more}
        )
        found = list(enrich(records, self._sources[cache], settings))
        self.health.count_all("answers", (_status(one) for one in found))
        gaps = [gap for one in found for gap in one.gaps]
        self.health.count_all("gaps", (gap.cause.value for gap in gaps))
        failed = next((gap for gap in gaps if gap.cause.failed), None)
        if failed is not None:
            self.health.failed(failed.reason)
        return found


def answer_of(enrichment: Enrichment, lineage: Sequence[str]) -> Document:
    """Return what a search row gets: texts, lists of texts, and "" for what is not known.

    Args:
        enrichment: Of the row.
        lineage: Which of its fields are wanted; without any, `lineage` is None.
    """
    document = enrichment_document(enrichment)
    subject = document["subjects"][0] if document["subjects"] else {}
    signing = {name: _flat(_at(subject, path)) for name, path in _SIGNING.items()}
    signing["status"] = signing["status"] or document["status"]
    signing["why"] = signing["why"] or document["reason"]
    signing["age_s"] = _age_s(enrichment)
    return {
        "failed": not document["complete"],
        "signing": signing,
        "lineage": _lineage(subject.get("lineage"), _why_none(subject, document), lineage) if lineage else None,
    }


def _bounded(made: Iterable[Document]) -> tuple[list[Document], list[str]]:
    """Return answers, without the JSON of lineages where all of it together would be too long, and what says so.

    Each is cut before the next one is made, so that what is cut never takes room together.
    """
    answers: list[Document] = []
    size = cut = 0
    for one in made:
        answers.append(one)
        text = (one["lineage"] or {}).get("json", "")
        size += _size(text)
        if text and size > _MOST_JSON:
            one["lineage"]["json"] = ""
            cut += 1
    if not cut:
        return answers, []
    return answers, [
        f"{cut} of {len(answers)} lineages come without their JSON, which would be too long. Look up fewer at once."
    ]


def _size(text: str) -> int:
    """Return the length of a text as it goes out, within JSON: a command line may be all quotes and backslashes."""
    return len(text) + text.count('"') + text.count("\\")


def _event(entry: Entry) -> Document:
    own = {"time": format_time(entry.at), "kind": entry.kind, "action": entry.action, "what": entry.what}
    return {name: _flat(value) for name, value in {**entry.values, **own, "text": entry.text}.items()}


def _lineage(lineage: Optional[Document], why_none: str, wanted: Sequence[str]) -> Document:
    nodes = lineage["nodes"] if lineage else []
    names = [_name(node) for node in nodes]
    statuses = [node["status"] for node in nodes]
    found = {
        "text": " <- ".join(f"{name} ({status})" for name, status in zip(names, statuses)),
        "json": json.dumps(lineage, separators=(",", ":")) if lineage and "json" in wanted else "",
        "depth": str(len(nodes) - 1) if nodes else "",
        "root": names[-1] if names else "",
        "ended_by": lineage["ended_by"] if lineage else "",
        "why": lineage["reason"] if lineage else why_none,
        "names": names,
        "statuses": statuses,
        "guid": nodes[0]["guid"] if nodes else "",
    }
    return {name: found[name] for name in wanted}


def _name(node: Document) -> str:
    """Return what a process is called: a name from outside cannot look like two."""
    pid = f"pid {node['pid']}" if node["pid"] is not None else None
    return " ".join(str(node["name"] or pid or node["guid"]).split())


def _why_none(subject: Document, document: Document) -> str:
    gaps = subject.get("gaps") or document["gaps"]
    about = [gap["reason"] for gap in gaps if gap["about"].startswith("lineage of ")]
    return about[0] if about else document["reason"] if not subject else ""


def _age_s(enrichment: Enrichment) -> str:
    evidence = enrichment.subjects[0].signature.evidence if enrichment.subjects else None
    if evidence is None:
        return ""
    return str(max(0, int((enrichment.enriched_at - evidence.read_at).total_seconds())))


def _status(enrichment: Enrichment) -> str:
    return enrichment.verdict.status.value if enrichment.verdict else "Unknown"


def _failures(found: Sequence[Enrichment]) -> list[str]:
    """Return each reason of a failed look-up once, the first few of them, and none that only repeats another."""
    gaps: Iterable[Gap] = (gap for one in found for gap in one.gaps)
    reasons = list(dict.fromkeys(gap.reason for gap in gaps if gap.cause.failed))[: 2 * _MOST_WARNINGS]
    told = [text for text in reasons if not any(other in text for other in reasons if other != text)]
    return told[:_MOST_WARNINGS]


def _at(document: Any, path: Sequence[str]) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def _flat(value: Any) -> Any:
    """Return a value as a text or a list of texts; "" for nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else str(value)


class _Counted(EdrClient):
    """Counts the questions to the server; one that is tried several times counts once."""

    def __init__(self, settings: EdrSettings, health: Health) -> None:
        super().__init__(settings)
        self._health = health

    def ask(self, path: str, deadline: Deadline, parameters: Optional[Mapping[str, Parameter]] = None) -> Any:
        self._health.count("lookups", "edr_requests")
        return super().ask(path, deadline, parameters)


class _Signatures(TieredCache[Signature]):
    """A cache of signing statuses that is counted, and that hands fresh ones to the table of verdicts."""

    def __init__(self, keeping: Keeping, health: Health) -> None:
        super().__init__(encode, decode_signature, keeping.durable)
        self._verdicts, self._health = keeping.verdicts, health

    def get_many(self, keys: Sequence[str]) -> dict[str, Signature]:
        found = super().get_many(keys)
        self._health.count("lookups", "cache_hits", len(found))
        self._health.count("lookups", "cache_misses", len(keys) - len(found))
        return found

    def put_many(self, items: Mapping[str, tuple[Signature, float]]) -> None:
        super().put_many(items)
        if self._verdicts is not None and items:
            self._verdicts.write([signature for signature, _life_s in items.values()])


class _Unread(TieredCache[_T]):
    """A cache that is not read, for `cache=false`; what is fresh is kept in it all the same."""

    def __init__(self, kept: TieredCache[_T]) -> None:
        self._kept = kept

    def get_many(self, keys: Sequence[str]) -> dict[str, _T]:
        return {}

    def put_many(self, items: Mapping[str, tuple[_T, float]]) -> None:
        self._kept.put_many(items)
