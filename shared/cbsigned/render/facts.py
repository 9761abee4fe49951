"""What a card says, in the order in which an analyst needs it; text, Markdown and HTML only set it differently.

Verdict and reason, who signed, where that comes from and how old it is, the process, then (by the renderers) the
lineage and why it ends, then counts, and last what is *not* known.
"""

from __future__ import annotations

import re
from typing import Any, Optional

from cbsigned.render.document import Document
from cbsigned.render.links import link_host, safe_link
from cbsigned.render.marks import CLAIMED, NOT_READ, look, mark, word, worst

__all__ = [
    "INCOMPLETE",
    "age",
    "alert_link",
    "alert_unknowns",
    "card_unknowns",
    "console",
    "counts",
    "evidence",
    "facts",
    "headline",
    "lineage_names",
    "lineage_short",
    "pivots",
    "publisher",
    "shown",
    "unknowns",
    "verdict_word",
    "why",
    "worse",
    "worse_sentence",
]

INCOMPLETE = "Incomplete: some look-ups failed. Ask again before closing the alert."
"""What every output says of an alert whose `complete` is false."""


def verdict_word(subject: Document) -> str:
    """Return the status with what it means where the word alone may mislead: `Expired (signed, not valid)`."""
    status, text = str(subject["status"]), str(subject["verdict"]["text"])
    if look(subject) == CLAIMED:
        return f"{word(subject)} (so says the alert)"
    return status if text.lower() == status.lower() else f"{status} ({text})"


def headline(document: Document, subject: Optional[Document] = None) -> str:
    """Return what a card is about: `git (pid 511) on host001`, or the alert where it names nothing."""
    if subject is None:
        alert = document["alert"] or {}
        nothing = (
            "Alert that could not be read" if look(document) == NOT_READ else "Alert that names nothing to look up"
        )
        return str(alert.get("title") or alert.get("kind") or nothing)
    pid = f" (pid {subject['pid']})" if subject["pid"] is not None else ""
    host = f" on {subject['host']}" if subject["host"] else ""
    return f"{_named(subject)}{pid}{host}"


def facts(document: Document, subject: Document) -> list[tuple[str, str]]:
    """Return label and value of everything known about a subject but its lineage; nothing is shown empty."""
    signature = subject["signature"]
    alert = document["alert"] or {}
    parts = (alert.get("title"), alert.get("kind"), alert.get("id"), alert.get("at"))
    said = " (so says the alert)" if look(subject) == CLAIMED else ""
    signer = (
        ("Publisher", signature["publisher"]),
        ("Issuer", signature["issuer"]),
        ("Subject", signature["subject"] if signature["subject"] != signature["publisher"] else None),
        ("Program name", signature["program_name"]),
        ("Signed at", signature["signed_at"]),
    )
    rows = [
        *((label, f"{value}{said}") for label, value in signer if value),
        ("Evidence", evidence(signature["evidence"])),
        ("Alert claims", _claim(subject["claimed"])),
        ("Role", subject["role"] if subject["role"] != "process" else None),
        ("User", subject["user"]),
        ("Started", subject["started_at"]),
        ("Path", subject["path"]),
        ("Command line", subject["cmdline"]),
        ("MD5", subject["md5"]),
        ("SHA-1", subject["sha1"]),
        ("SHA-256", subject["sha256"]),
        ("Process guid", subject["process_guid"]),
        ("Foreign id", subject["foreign_id"]),
        ("Alert", " · ".join(str(part) for part in parts if part)),
    ]
    return [(label, str(value)) for label, value in rows if value not in (None, "")]


def evidence(found: Optional[Document]) -> str:
    """Return what a signing status rests on, as one line; it says so where it rests on nothing."""
    if found is None:
        return "none: no record speaks"
    made = "at an unknown time"
    if found["recorded_at"]:
        made = found["recorded_at"] + (f", {age(found['age_s'])} old" if found["age_s"] is not None else "")
    said = f'word "{found["word"]}"' if found["word"] is not None else "no word"
    if found["code"]:
        said += f", code {found['code']}"
    alone = found["record"] == found["source"]  # a claim: both are the alert
    parts = (
        f"the {found['record']} itself" if alone else f"{found['record']} of {found['source']}",
        f"recorded {made}",
        f"read {found['read_at']}",
        said,
    )
    return "; ".join((*parts, found["certainty"]))


def age(seconds: int) -> str:
    """Return an age in its largest unit: `3 days`."""
    for unit, length in (("year", 31_557_600), ("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            return _several(seconds // length, unit)
    return _several(seconds, "second")


def lineage_names(lineage: Optional[Document]) -> list[str]:
    """Return the names of a lineage, newest first, and `…` after them where it ends before a root."""
    if lineage is None:
        return []
    names = [shown(node) for node in lineage["nodes"]]
    return names if lineage["ended_by"] == "root" else [*names, "…"]


def lineage_short(lineage: Optional[Document], arrow: str = "←") -> str:
    """Return a lineage in one line, newest first: `git ← code helper ← code ← …`."""
    return f" {arrow} ".join(lineage_names(lineage))


def publisher(document: Document) -> Optional[str]:
    """Return who signed an alert's first subject, for tables; None where only the alert says so."""
    if not document["subjects"] or look(document["subjects"][0]) == CLAIMED:
        return None
    found: Optional[str] = document["subjects"][0]["signature"]["publisher"]
    return found


def why(document: Document) -> str:
    """Return the reason for tables: without what has a column of its own there, beginning with what matters.

    The status word before it goes, the hash of the file, and the source, which is the same in every row. That some
    look-ups failed comes first, then the name and reason of a subject that is worse than the first.
    """
    first: Document = document["subjects"][0] if document["subjects"] else document
    found = worse(document)
    told = [f"{_named(found)}: {_reason(found)}"] if found is not None else []
    reason = " · ".join([*told, _reason({**first, "status": document["status"], "reason": document["reason"]})])
    return reason if document["complete"] else f"Incomplete: {reason}"


def worse_sentence(document: Document) -> Optional[str]:
    """Return a sentence for the head of a card that tells the worst subject further below; None for none."""
    found = worse(document)
    return f"Worse below: {mark(look(found)).symbol} {word(found)} — {_named(found)}" if found is not None else None


def worse(document: Document) -> Optional[Document]:
    """Return the worst subject where the first, which outputs show first, looks better; None where it does not."""
    found = worst(document)
    return None if found is None or word(found) == word(document["subjects"][0]) else found


def _reason(part: Document) -> str:
    reason, status = str(part["reason"]), str(part["status"])
    if reason.startswith(f"{status}: "):
        reason = reason[len(status) + 2 :]
    for name in ("md5", "sha256"):
        if part.get(name):
            reason = reason.replace(f" of {part[name]}", "")
    reason = _SOURCE.sub("", reason)
    return reason[:1].upper() + reason[1:]


def _named(subject: Document) -> str:
    return str(subject["name"] or subject["md5"] or subject["sha256"] or subject["process_guid"] or "unnamed")


_SOURCE = re.compile(r" in (?:store|edr):\S+?(?=[:.,;]?(?:\s|$))")


def pivots(node: Document) -> list[str]:
    """Return what one searches on for, of one process of a lineage: guid, hash and host."""
    rows = (("guid", node["guid"]), ("md5", node["md5"]), ("sha256", None if node["md5"] else node["sha256"]))
    return [f"{label} {value}" for label, value in (*rows, ("host", node["host"])) if value]


def shown(node: Document) -> str:
    """Return a process's name, or its pid where the name is not known."""
    if node["name"]:
        return str(node["name"])
    return f"pid {node['pid']}" if node["pid"] is not None else "unnamed"


def counts(subject: Document) -> list[str]:
    """Return what can be counted: hosts, places, ancestors, children, siblings."""
    signature, lineage = subject["signature"], subject["lineage"]
    told = []
    if signature["host_count"] is not None:
        told.append(f"seen on {_several(signature['host_count'], 'host')}")
    if signature["paths"]:
        told.append(f"under {_several(len(signature['paths']), 'path')}")
    if lineage is not None:
        told.append(_several(len(lineage["nodes"]) - 1, "ancestor"))
        for kind, one, many in (("children", "child", "children"), ("siblings", "sibling", "siblings")):
            part = lineage[kind]
            if part is not None:
                told.append(_several(part["total"], one, many))
    return told


def unknowns(part: Document) -> list[str]:
    """Return what is not known of a subject, or of a whole document, one sentence each, no sentence twice.

    What the reason above says already is named without saying it again.
    """
    told = {part["reason"]}
    sentences = []
    for gap in part["gaps"]:
        sentences.append(f"{gap['about']}: {gap['cause'] if gap['reason'] in told else gap['reason']}")
        told.add(gap["reason"])
    return list(dict.fromkeys(sentences + [text for text in part.get("problems", ()) if text not in told]))


def alert_unknowns(document: Document) -> list[str]:
    """Return what is not known of an alert and stands in none of its subjects; nothing where it has none."""
    told = [gap for subject in document["subjects"] for gap in subject["gaps"]]
    own = [gap for gap in document["gaps"] if gap not in told]
    return unknowns({"reason": None, "gaps": own}) if document["subjects"] else []


def card_unknowns(document: Document, subject: Document) -> list[str]:
    """Return what a card says is not known below one subject; below the last also what is not known of the alert."""
    last = subject is document["subjects"][-1]
    return list(dict.fromkeys(unknowns(subject) + (alert_unknowns(document) if last else [])))


def alert_link(document: Document) -> Optional[tuple[str, str]]:
    """Return label and address of the alert's own page, checked; the label names its host."""
    link = safe_link((document["alert"] or {}).get("link"))
    return (f"Alert at {link_host(link)}", link) if link is not None else None


def console(subject: Document) -> list[tuple[str, str]]:
    """Return label and address of a subject's pages in the EDR console: `EDR process`, `EDR binary`."""
    return [(f"EDR {kind}", address) for kind, address in (subject["links"] or {}).items() if address]


def _claim(claimed: Optional[Document]) -> Optional[str]:
    if claimed is None:
        return None
    parts: list[Any] = [claimed["word"], claimed["code"], claimed["publisher"]]
    return f"{', '.join(str(part) for part in parts if part)} ({claimed['record']})"


def _several(number: int, one: str, many: Optional[str] = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
