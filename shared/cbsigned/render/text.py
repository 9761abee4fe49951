"""One enrichment for a terminal: the card, and the lineage as an indented tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from cbsigned.render.clean import width
from cbsigned.render.document import Document
from cbsigned.render.facts import counts, facts, headline, shown, unknowns, verdict_word
from cbsigned.render.marks import mark
from cbsigned.render.style import Style

__all__ = ["card", "lineage_text"]

_BOLD, _DIM = 1, 2
_LABEL = 14


def card(document: Document, style: Optional[Style] = None) -> str:
    """Return one alert with everything found out, as text: verdict, evidence, lineage, what is not known.

    Args:
        document: From `enrichment_document`.
        style: Width, colour, ASCII. Long values are cut to four lines.
    """
    style = style or Style()
    parts = ["\n".join(_subject(document, subject, style)) for subject in document["subjects"]]
    return "\n\n".join(parts or ["\n".join(_nothing(document, style))]) + "\n"


def lineage_text(lineage: Document, style: Optional[Style] = None) -> str:
    """Return a lineage as an indented tree, the oldest ancestor on top, the process marked, children below it.

    The first line says why the walk ended there. Every node has its status in words, pid, user, start and
    command line, cut to the width.

    Args:
        lineage: From `lineage_document`.
        style: Width, colour, ASCII.
    """
    style = style or Style()
    nodes = list(reversed(lineage["nodes"]))
    siblings, children = lineage["siblings"], lineage["children"]
    step = max(1, min(3, style.width // 2 // (len(nodes) + 1)))
    lines = style.wrap(f"↑ ended: {lineage['ended_by']} — {style.value(lineage['reason'])}", style.width, 3)
    for level, node in enumerate(nodes):
        own = level == len(nodes) - 1
        if own and siblings is not None:
            lines += _relatives(siblings, "sibling", level, step, style, last=False)
        lines += _node(node, level, step, style, "this process, newest" if own else "oldest" * (level == 0))
    if children is not None:
        lines += _relatives(children, "child", len(nodes), step, style, last=True)
    return "\n".join(lines)


def _subject(document: Document, subject: Document, style: Style) -> Iterator[str]:
    status = subject["status"]
    head = f"{style.mark(status)} {verdict_word(subject)}"
    title = style.clip(style.own(f"{head} — ") + style.value(headline(document, subject)), style.width)
    yield style.paint(title[: len(head)], mark(status).ansi) + style.paint(title[len(head) :], _BOLD)
    yield from _indented(style.value(subject["reason"]), 2, style)
    for note in subject["verdict"]["notes"]:
        yield from _indented(style.value(f"Note: {note}"), 2, style)
    for label, value in facts(document, subject):
        yield from _labelled(label, style.value(value), style)
    lineage = subject["lineage"]
    if lineage is not None:
        yield style.paint("  Lineage, oldest first", _DIM)
        narrower = Style(max(40, style.width - 4), style.colour, style.ascii_only)
        yield from (f"    {line}" for line in lineage_text(lineage, narrower).split("\n"))
    if counts(subject):
        yield from _labelled("Counts", " · ".join(counts(subject)), style)
    yield from _unknown(unknowns(subject), style)


def _nothing(document: Document, style: Style) -> Iterator[str]:
    """Return the card of an alert that names nothing to look up."""
    yield style.clip(style.own(f"{style.mark(None)} Unknown — ") + style.value(headline(document)), style.width)
    yield from _indented(style.value(document["reason"]), 2, style)
    yield from _unknown(unknowns(document), style)


def _unknown(sentences: list[str], style: Style) -> Iterator[str]:
    if sentences:
        yield style.paint("  Not known", _DIM)
    for sentence in sentences:
        lines = style.wrap(style.value(sentence), style.width - 6)
        yield from (f"    {'-' if at == 0 else ' '} {line}" for at, line in enumerate(lines))


def _indented(text: str, cells: int, style: Style) -> Iterator[str]:
    yield from (" " * cells + line for line in style.wrap(text, style.width - cells))


def _labelled(label: str, text: str, style: Style) -> Iterator[str]:
    for at, line in enumerate(style.wrap(text, style.width - _LABEL - 3)):
        yield f"  {style.paint((label if at == 0 else '').ljust(_LABEL), _DIM)} {line}"


def _node(node: Document, level: int, step: int, style: Style, tag: str = "", last: bool = True) -> list[str]:
    """Return one process: its line, and below it command line, gap and the reason of a status that is not Signed."""
    branch = ("└" if last else "├") + "─" * (step - 2) + " " * (step > 1)
    prefix = style.own(" " * (step * (level - 1)) + branch if level else "")
    name = style.clip(f"{style.mark(node['status'])} {style.value(shown(node))}", max(8, style.width - len(prefix)))
    rest = _about(node, tag, style)
    room = style.width - width(prefix) - width(name) - 2
    line = prefix + style.paint(name, mark(node["status"]).ansi) + "  " + style.clip(rest, max(0, room))
    below = [node["cmdline"]] if node["cmdline"] else []
    below += [f"gap: {node['gap']['reason']}"] if node["gap"] else []
    below += [node["reason"]] if node["status"] != "Signed" and node["depth"] != 0 else []
    margin = " " * (step * level + 2)
    room = max(8, style.width - len(margin))
    return [line.rstrip(), *(margin + style.paint(style.clip(style.value(text), room), _DIM) for text in below)]


def _about(node: Document, tag: str, style: Style) -> str:
    pid = f"pid {node['pid']}" if node["pid"] is not None and node["name"] else None
    parts = (node["status"], tag, pid, node["user"], node["started_at"])
    return style.own(" · ").join(style.value(part) for part in parts if part)


def _relatives(part: Document, kind: str, level: int, step: int, style: Style, last: bool) -> list[str]:
    """Return children or siblings, each on its lines, and what is missing of them."""
    lines: list[str] = []
    for at, node in enumerate(part["nodes"]):
        final = last and at == len(part["nodes"]) - 1 and part["gap"] is None
        lines += _node(node, level, step, style, kind if kind == "sibling" else "", final)
    if part["gap"] is not None:
        text = style.own("… ") + style.value(part["gap"]["reason"])
        lines.append(" " * (step * level) + style.clip(text, max(8, style.width - step * level)))
    return lines
