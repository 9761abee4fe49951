"""One enrichment as Markdown, for tickets and notes; nothing from outside can become a tag or a heading.

The only links are the alert's own, once checked, under a label of ours that names its host, and the EDR console's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from cbsigned.render.clean import clean
from cbsigned.render.document import Document
from cbsigned.render.facts import (
    INCOMPLETE,
    alert_link,
    card_unknowns,
    console,
    counts,
    facts,
    headline,
    pivots,
    shown,
    unknowns,
    verdict_word,
    worse_sentence,
)
from cbsigned.render.marks import look, mark, word

__all__ = ["escape_markdown", "markdown_card", "markdown_lineage"]

_MAX_VALUE = 600
_MAX_NODE_VALUE = 200
_DEEPEST = 7  # renderers leave out what is nested more than twenty deep, each level of a list counting two
_LONGEST_WORD = 80
_SPECIAL = re.compile(r"([\\`*_\[\]|~@$#^])|(?<=[A-Za-z]{2})(:)(?=\S)|(?<=[Ww]{3})(\.)")
_START = re.compile(r"^([-+=]|\d+(?=[.)]))")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


def escape_markdown(value: object, limit: int = _MAX_VALUE) -> str:
    """Return a value as one line of Markdown text that shows exactly itself.

    Every character that Markdown, its tables, HTML or the usual autolinks and mentions read is escaped.

    Args:
        value: Anything; None gives the empty text.
        limit: Most characters of the value, the cut marked by `…`.
    """
    text = _SPECIAL.sub(lambda found: "\\" + found.group(), clean(value, limit).strip())
    return _START.sub(_neutral_start, text).translate(_ENTITIES)


def _neutral_start(found: re.Match[str]) -> str:
    """Return the start of a list item or underline so that it starts nothing."""
    return f"\\{found.group()}" if not found.group().isdigit() else f"{found.group()}\u2060"


def markdown_card(document: Document, max_chars: int = 30_000) -> str:
    """Return one alert with everything found out, as Markdown.

    Args:
        document: From `enrichment_document`.
        max_chars: Most characters; a longer card ends at a whole line, with a sentence that says so.

    References:
        - soar-platforms §10: the card's content and order; Sentinel comments hold about 30,000 characters
    """
    lines: list[str] = []
    for subject in document["subjects"]:
        lines += [*_subject(document, subject), ""]
    if not lines:
        lines = [*_nothing(document), ""]
    lines += _foot(document)
    return _bounded([line.rstrip() for line in lines], max_chars)


def markdown_lineage(lineage: Document, max_chars: int = 30_000) -> str:
    """Return one lineage as nested Markdown lists, the oldest ancestor first, and why it ends.

    Args:
        lineage: From `lineage_document`.
        max_chars: As for `markdown_card`.
    """
    return _bounded([line.rstrip() for line in _lineage(lineage, own=True)], max_chars)


def _subject(document: Document, subject: Document) -> Iterator[str]:
    status = escape_markdown(verdict_word(subject))
    yield f"### {mark(look(subject)).symbol} {status} — {escape_markdown(headline(document, subject))}"
    yield ""
    yield escape_markdown(subject["reason"])
    yield ""
    first = subject is document["subjects"][0]
    yield from _notes([*subject["verdict"]["notes"], *(_alert_notes(document) if first else [])])
    yield "| | |"
    yield "|---|---|"
    yield from (f"| {label} | {escape_markdown(_fact(label, value))} |" for label, value in facts(document, subject))
    yield ""
    if subject["links"] is not None:
        yield " · ".join(_link(label, address) for label, address in console(subject))
        yield ""
    if subject["lineage"] is not None:
        yield from _lineage(subject["lineage"], own=False)
    if counts(subject):
        yield f"**Counts:** {' · '.join(counts(subject))}"
        yield ""
    yield from _unknown(card_unknowns(document, subject))


def _alert_notes(document: Document) -> list[str]:
    """Return what is true of the alert as a whole; it stands at the head, where no cut removes it."""
    worse = worse_sentence(document)
    return [*([worse] if worse else []), *([] if document["complete"] else [INCOMPLETE])]


def _notes(notes: list[str]) -> Iterator[str]:
    yield from (f"- **Note:** {escape_markdown(note)}" for note in notes)
    if notes:
        yield ""


def _lineage(lineage: Document, own: bool) -> Iterator[str]:
    """Return a lineage as nested lists, the oldest ancestor first; `own` tells all of the process itself too."""
    yield "**Lineage**, oldest first"
    yield ""
    nodes = list(reversed(lineage["nodes"]))
    for level, node in enumerate(nodes):
        if node["depth"] == 0:
            yield from _relatives(lineage, "siblings", "sibling", level)
        yield from _node(node, level, "this process" if node["depth"] == 0 else "", own or node["depth"] != 0)
    yield from _relatives(lineage, "children", "child", len(nodes))
    yield ""
    yield f"**Ended:** {escape_markdown(lineage['ended_by'])}. {escape_markdown(lineage['reason'])}"
    yield ""


def _node(node: Document, level: int, tag: str, whole: bool = True) -> Iterator[str]:
    """Return one process on a line; without `whole` only what does not stand elsewhere on the card."""
    pid = f"pid {node['pid']}" if node["pid"] is not None else None
    source = "pid and start from the guid" if node["from_guid"] else None
    deeper = f"level {level}" if level > _DEEPEST else None
    parts = (word(node), pid, node["user"], node["started_at"], deeper, source, tag, *(pivots(node) if whole else ()))
    about = " · ".join(escape_markdown(part, _MAX_NODE_VALUE) for part in parts if part)
    name = escape_markdown(_breakable(shown(node)), _MAX_NODE_VALUE)
    below = [f"gap: {node['gap']['reason']}"] if node["gap"] else []
    below += [node["reason"]] if whole and look(node) != "Signed" else []
    below += [_breakable(node["cmdline"])] if whole and node["cmdline"] else []
    told = "".join(f" — {escape_markdown(text, _MAX_NODE_VALUE)}" for text in below)
    yield f"{_indent(level)}- {mark(look(node)).symbol} **{name}** {about}{told}"


def _fact(label: str, value: str) -> str:
    return _breakable(value) if label == "Command line" else value


def _indent(level: int) -> str:
    return "  " * min(level, _DEEPEST)


def _breakable(text: str) -> str:
    """Return a text whose words are short enough for a narrow place; the JSON has them whole."""
    return " ".join(w if len(w) <= _LONGEST_WORD else f"{w[:50]}…{w[-20:]}" for w in text.split(" "))


def _relatives(lineage: Document, part: str, kind: str, level: int) -> Iterator[str]:
    found = lineage[part]
    if found is None:
        return
    for node in found["nodes"]:
        yield from _node(node, level, kind)
    if found["gap"] is not None or not found["nodes"]:
        missing = found["gap"]["reason"] if found["gap"] is not None else "none recorded"
        yield f"{_indent(level)}- {part}: {escape_markdown(missing)}"


def _nothing(document: Document) -> Iterator[str]:
    yield f"### {mark(look(document)).symbol} {word(document)} — {escape_markdown(headline(document))}"
    yield ""
    yield escape_markdown(document["reason"])
    yield ""
    yield from _notes(_alert_notes(document))
    yield from _unknown(unknowns(document))


def _foot(document: Document) -> Iterator[str]:
    link = alert_link(document)
    if link is not None:
        yield _link(*link)


def _link(label: str, address: str) -> str:
    """Return a link to a checked address, which holds nothing that ends it."""
    return f"[{escape_markdown(label)}](<{address.replace('&', '&amp;')}>)"


def _unknown(sentences: list[str]) -> Iterator[str]:
    if sentences:
        yield "**Not known**"
        yield ""
    yield from (f"- {escape_markdown(sentence)}" for sentence in sentences)


def _bounded(lines: list[str], max_chars: int) -> str:
    text = "\n".join(lines).rstrip() + "\n"
    if len(text) <= max_chars:
        return text
    last = "\n*Cut here; the JSON output holds all of it.*\n"
    kept, used = [], len(last)
    for line in lines:
        used += len(line) + 1
        if used > max_chars:
            break
        kept.append(line)
    return "\n".join(kept) + last
