"""Enrichments made by hand: ordinary ones, and the worst that an attacker can name a process."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, Optional

from cbsigned.alert import Alert, ObservableSet, Role
from cbsigned.binary import BinaryRecord, Certainty, Evidence, RecordKind, Signature
from cbsigned.enrichment import Enrichment, Subject
from cbsigned.gaps import Cause, Gap
from cbsigned.lineage import EndedBy, Lineage, Node, Relatives
from cbsigned.process import Process
from cbsigned.status import SigningStatus
from cbsigned.verdict import Verdict

NOW = datetime(2016, 4, 1, 9, 30, tzinfo=timezone.utc)
HOSTILE = (
    "<script>alert(1)</script>",
    "a|b`c`*d*[e](http://evil.test)&amp;\"'",
    "invoice\u202efdp.exe",
    "\x1b[2J\x1b]0;owned\x07.exe",
    "two\nlines\r\n.exe",
    "שלום עולם.exe",
    "报告报告报告报告报告.exe",
    "{{ 7*7 }}{% raw %}${x}",
    "</title></svg><img src=x onerror=alert(1)>",
    "=HYPERLINK(\"http://evil.test\")",
    "zero\u200bwidth\ufeff\ud800.exe",
    "@everyone www.evil.test",
)  # fmt: skip
_ISOLATES = "\u2066\u2069"
_WORDS = {
    SigningStatus.SIGNED: "signed",
    SigningStatus.UNSIGNED: "unsigned",
    SigningStatus.UNKNOWN: "unknown",
}


def signature(
    status: SigningStatus = SigningStatus.SIGNED, md5: str = "b0a3ecc9eaa2521ddea2fc067785b84e", **more: Any
) -> Signature:
    """Return a signature, *Signed* unless told otherwise; Unknown has no evidence."""
    if status is SigningStatus.UNKNOWN:
        reason = f"Binary {md5} is unknown to store:lab.db: no sensor has reported it there."
        return Signature(md5, status, Cause.NOT_FOUND, reason, **more)
    found = Evidence(
        "binary document", "store:lab.db", NOW - timedelta(days=3), NOW, Certainty.CONFIRMED, status.value, "0x00000000"
    )
    values: dict[str, Any] = {"publisher": "Microsoft Corporation", "issuer": "Microsoft Code Signing PCA",
              "subject": "Microsoft Corporation", "program_name": "Process Monitor", "host_count": 3,
              "signed_at": NOW - timedelta(days=400), "paths": ("c:\\tools\\p.exe",), "evidence": found}  # fmt: skip
    return Signature(md5, status, Cause.RECORD, f"{status.value}: {status.meaning}.", **{**values, **more})


def process(number: int, name: Optional[str] = None, **more: Any) -> Process:
    """Return the process with this number as its pid; its parent has the next number."""
    values: dict[str, Any] = {"name": name or f"p{number}.exe", "pid": number, "host": "SDL-DEV", "user": "SDL-DEV\\jo",
              "md5": f"{number:032x}", "cmdline": f"p{number}.exe /run", "path": f"c:\\bin\\p{number}.exe",
              "started_at": NOW - timedelta(minutes=number), "parent_guid": guid(number + 1)}  # fmt: skip
    return Process(guid(number), **{**values, **more})


def guid(number: int) -> str:
    """Return a process guid of sensor 7."""
    return f"00000007-0000-{number:04x}-01d1-6cc57f918a60"


def lineage(names: tuple[str, ...], *, relatives: bool = False, ended: EndedBy = EndedBy.ROOT) -> Lineage:
    """Return a lineage of these names, newest first; the oldest one's start is not recorded where it ends early."""
    nodes = [Node(process(10 + at, name), at) for at, name in enumerate(names)]
    if ended is not EndedBy.ROOT:
        gap = Gap(f"process {nodes[-1].process.guid}", Cause.START_NOT_RECORDED, "Start not recorded: it began before.")
        last = process(9 + len(names), names[-1], md5=None, cmdline=None, user=None, start_recorded=False,
                       from_guid=True)  # fmt: skip
        nodes[-1] = Node(last, len(names) - 1, gap)
    children = Relatives((process(100, "child.exe"), process(101, "second.exe")), 2)
    cut = Gap("siblings", Cause.NOT_ASKED, "1 of 9 shown; ask for more to see the others.")
    siblings = Relatives((process(102, "sibling.exe"),), 9, cut)
    return Lineage(
        tuple(nodes), ended, f"The reason of {ended.value}.",
        children if relatives else None, siblings if relatives else None,
    )  # fmt: skip


def subject(
    status: SigningStatus = SigningStatus.SIGNED,
    name: str = "procmon64.exe",
    *,
    names: tuple[str, ...] = (),
    relatives: bool = False,
    alone: bool = False,
    ended: EndedBy = EndedBy.ROOT,
    **told: Any,
) -> Subject:
    """Return a subject with a lineage of itself and `names`; every third ancestor is unsigned, one unknown.

    With `claimed` and a status, only the alert says so; `alone` asks for relatives and finds none.
    """
    found = signature(status)
    chain = lineage((name, *names), relatives=relatives, ended=ended)
    if alone:
        chain = replace(chain, children=Relatives((), 0), siblings=Relatives((), 0))
    signatures: dict[str, Signature] = {
        f"{10 + at:032x}": signature(
            status if at == 0 else SigningStatus.UNSIGNED if at % 3 == 1 else SigningStatus.SIGNED, f"{10 + at:032x}"
        )
        for at in range(len(names) + 1)
        if at % 4 != 3
    }
    gaps = tuple(node.gap for node in chain.nodes if node.gap)
    notes = ("The parent is unsigned.",) if names else ()
    if told.get("claimed") is not None and status is not SigningStatus.UNKNOWN:
        found = claim(found)
        signatures[f"{10:032x}"] = found
    text = _WORDS.get(status, "signed, not valid")
    verdict = Verdict(status, f"claimed: {text}" if found.cause is Cause.CLAIM else text, found.reason, notes)
    values: dict[str, Any] = {"md5": found.hash, "process_guid": guid(10), "name": name, "path": f"c:\\tools\\{name}",
              "pid": 10, "host": "SDL-DEV", "user": "SDL-DEV\\jo", "cmdline": f"{name} /accepteula",
              "started_at": NOW - timedelta(minutes=10)}  # fmt: skip
    observables = ObservableSet(Role.PROCESS, **{**values, **told})
    return Subject(observables, found, verdict, chain, signatures, gaps)


def claim(found: Signature) -> Signature:
    """Return a signature that only the alert speaks for."""
    evidence = Evidence("alert", "alert", None, NOW, Certainty.CLAIMED, found.status.value, None)
    told = f"No binary record of {found.hash} in store:lab.db: Unknown, not Unsigned."
    reason = f"The alert itself says {found.status.value}; no record confirms it. {told}"
    return replace(found, cause=Cause.CLAIM, reason=reason, evidence=evidence)


def recorded_by(source: str, told: Subject) -> Subject:
    """Return a subject whose evidence is held by this source."""
    found = told.signature
    assert found.evidence is not None
    return replace(told, signature=replace(found, evidence=replace(found.evidence, source=source)))


def with_gap(made: Enrichment, reason: str) -> Enrichment:
    """Return an enrichment with a gap of the alert's own, which no subject holds."""
    return replace(made, gaps=(*made.gaps, Gap("alert", Cause.CUT, reason)))


def enrichment(
    *subjects: Subject, complete: bool = True, record: Optional[Mapping[str, Any]] = None, **alert: Any
) -> Enrichment:
    """Return an enrichment of these subjects; without any, of an alert that could not be read."""
    gaps = tuple(gap for s in subjects for gap in s.gaps)
    if not subjects:
        reason = "The alert has no md5, sha256 or process guid, so there is nothing to look up."
        return Enrichment({"a": 1}, None, (), True, (Gap("alert", Cause.NO_OBSERVABLE, reason),), NOW)
    values = {"format": "cb-forwarder", "kind": "watchlist.hit.process", "id": "4711", "title": "Driver dropped",
              "at": NOW - timedelta(minutes=2), "link": "https://cb.example.test/#analyze/1"}  # fmt: skip
    told = Alert(**{**values, **alert}, sets=tuple(s.observables for s in subjects))
    return Enrichment(record or {"type": "watchlist.hit.process"}, told, subjects, complete, gaps, NOW)


def kinds() -> dict[str, Enrichment]:
    """Return one enrichment of every kind by name."""
    deep = tuple(f"ancestor{n}.exe" for n in range(12))
    claimed = BinaryRecord(RecordKind.ALERT, word="Signed", code=0, publisher="Acme")
    row = {"_serial": "300715", "_time": "2016-03-16 00:10:05.000 EDT", "_raw": "{}"}
    made = {status.value.lower().replace(" ", "-"): enrichment(subject(status, names=("explorer.exe",)))
            for status in SigningStatus}  # fmt: skip
    return {
        **made,
        "deep": enrichment(subject(names=deep, ended=EndedBy.MAX_DEPTH)),
        "orphan": enrichment(subject(names=("cmd.exe", "winword.exe"), ended=EndedBy.START_NOT_RECORDED)),
        "relatives": enrichment(subject(names=("explorer.exe",), relatives=True)),
        "long": enrichment(subject(cmdline="x" * 4000, names=("cmd.exe",))),
        "two": enrichment(subject(), subject(SigningStatus.UNSIGNED, "driver.sys"), complete=False),
        "mixed": enrichment(subject(), subject(SigningStatus.EXPLICIT_DISTRUST, "driver.sys")),
        "cut": with_gap(
            enrichment(subject(), subject(name="b.exe")), "99 of 1099 documents of this hit were not read."
        ),
        "edr": enrichment(recorded_by("edr:cb.example.test", subject())),
        "claim": enrichment(subject(claimed=claimed)),
        "claim-unsigned": enrichment(subject(SigningStatus.UNSIGNED, claimed=claimed)),
        "claimed": enrichment(subject(SigningStatus.UNKNOWN, claimed=claimed, problems=('"abc" is not an MD5.',))),
        "failed": enrichment(subject(SigningStatus.UNKNOWN, "failed.exe"), complete=False),
        "exported": enrichment(subject(), record=row),
        "alone": enrichment(subject(names=("explorer.exe",), alone=True)),
        "bare": enrichment(
            subject(SigningStatus.UNKNOWN, name="", pid=None, host=None, user=None, cmdline=None, path=None)
        ),
        "nothing": enrichment(),
        **{f"hostile-{at}": hostile(text) for at, text in enumerate(HOSTILE)},
    }


def hostile(text: str) -> Enrichment:
    """Return an enrichment in which every value that an outsider writes is this text."""
    poisoned = subject(
        SigningStatus.UNSIGNED, text, names=(text, text), path=text, host=text, user=text, cmdline=text * 40
    )
    bad = signature(SigningStatus.UNSIGNED, publisher=text, issuer=text, subject=text, program_name=text, paths=(text,))
    verdict = Verdict(SigningStatus.UNSIGNED, "unsigned", text, (text,))
    told = Subject(poisoned.observables, bad, verdict, poisoned.lineage, {}, (Gap(text, Cause.NOT_FOUND, text),))
    return enrichment(told, title=text, id=text, kind=text, link=f"javascript:{text}")


def hidden(text: str) -> list[str]:
    """Return the characters of a text that nobody sees, our own isolates and line ends left out."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in _ISOLATES + "\n"]
