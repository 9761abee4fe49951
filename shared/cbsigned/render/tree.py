"""A lineage for a terminal: an indented tree, oldest on top, with what one searches on for each process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from cbsigned.render.clean import width
from cbsigned.render.document import Document
from cbsigned.render.facts import pivots, shown
from cbsigned.render.marks import look, mark, word
from cbsigned.render.style import Style

__all__ = ["lineage_text"]

_DIM = 2
_STEP = 3
_LEAST_ROOM = 46  # cells that the deepest process keeps: a guid and its label


def lineage_text(lineage: Document, style: Optional[Style] = None, *, own: bool = True) -> str:
    """Return a lineage as an indented tree, the oldest ancestor on top, the process marked, children below it.

    The first line says why the walk ended there. Every process has its status in words, pid, user and start; below
    it guid, hash and host, the command line in up to four lines, its gap, and the reason of a status that is not
    a record's *Signed*.

    Args:
        lineage: From `lineage_document`.
        style: Width, colour, ASCII.
        own: Whether the process itself gets the lines below it too; False where they stand elsewhere already.
    """
    style = style or Style()
    lines = style.wrap(f"↑ ended: {lineage['ended_by']} — {style.value(lineage['reason'])}", style.width, 3)
    return "\n".join([*lines, *_Tree(lineage, style, own).lines()])


class _Tree:
    """The lines of one tree, and at which column each level begins."""

    def __init__(self, lineage: Document, style: Style, own: bool) -> None:
        self.lineage, self.style, self.own = lineage, style, own
        self.deepest = max(0, style.width - _LEAST_ROOM)
        self.step = max(1, min(_STEP, self.deepest // (len(lineage["nodes"]) + 1)))

    def lines(self) -> Iterator[str]:
        nodes, children = list(reversed(self.lineage["nodes"])), self.lineage["children"]
        for level, node in enumerate(nodes):
            own = level == len(nodes) - 1
            if own:
                yield from self._relatives("siblings", "sibling", level, last=False)
            tag = "this process, newest" if own else "oldest" * (level == 0)
            yield from self._node(node, level, tag, parent=not own or children is not None)
        yield from self._relatives("children", "child", len(nodes), last=True)

    def _column(self, level: int) -> int:
        return min(self.step * level, self.deepest)

    def _branch(self, level: int, last: bool) -> str:
        """Return what stands before a process: spaces, and the line that leads to it."""
        if level == 0:
            return ""
        before = self._column(level - 1)
        room = max(1, self._column(level) - before)
        return " " * before + ("└" if last else "├") + "─" * (room - 2) + " " * (room > 1)

    def _node(self, node: Document, level: int, tag: str, *, last: bool = True, parent: bool = False) -> Iterator[str]:
        """Return one process: its line, and below it what is known; the tree's lines run on beside that."""
        style, looks = self.style, look(node)
        branch = style.own(self._branch(level, last))
        name = style.clip(f"{style.mark(looks)} {style.value(shown(node))}", max(8, style.width - width(branch)))
        told = self._bare(node)
        room = max(0, style.width - width(branch) - width(name) - 2)
        about, rest = self._about(node, tag, room)
        yield (branch + style.paint(name, mark(looks).ansi) + "  " + style.clip(about, room)).rstrip()
        beside = [" "] * (width(branch) + 2)
        for column, drawn in ((self._column(level - 1), level > 0 and not last), (self._column(level), parent)):
            if drawn:
                beside[column] = style.own("│")
        margin = "".join(beside)
        below = () if told else self._below(node, rest, max(8, style.width - len(margin)))
        yield from ((margin + style.paint(text, _DIM)).rstrip() for text in below)

    def _bare(self, node: Document) -> bool:
        return not self.own and node is self.lineage["nodes"][0]

    def _about(self, node: Document, tag: str, room: int) -> tuple[str, list[str]]:
        """Return what stands behind a name, and what of it has to go below for lack of room."""
        pid = f"pid {node['pid']}" if node["pid"] is not None and node["name"] else None
        source = "pid and start from the guid" if node["from_guid"] else None
        parts = [str(part) for part in (word(node), tag, pid, node["user"], node["started_at"], source) if part]
        kept = len(parts)
        while kept > 1 and width(self._joined(parts[:kept])) > room:
            kept -= 1
        return self._joined(parts[:kept]), parts[kept:]

    def _joined(self, parts: list[str]) -> str:
        return self.style.own(" · ").join(self.style.value(part) for part in parts)

    def _below(self, node: Document, rest: list[str], room: int) -> Iterator[str]:
        style = self.style
        yield from _packed(rest, room, style)
        yield from _packed(pivots(node), room, style)
        if node["cmdline"]:
            yield from style.lines(node["cmdline"], room)
        if node["gap"]:
            yield from style.wrap(style.value(f"gap: {node['gap']['reason']}"), room)
        if look(node) != "Signed":
            yield from style.wrap(style.value(node["reason"]), room)

    def _relatives(self, part: str, kind: str, level: int, *, last: bool) -> Iterator[str]:
        """Return children or siblings, each on its lines, and what is missing of them."""
        found, style = self.lineage[part], self.style
        if found is None:
            return
        missing = found["gap"]["reason"] if found["gap"] else None if found["nodes"] else "none recorded"
        for at, node in enumerate(found["nodes"]):
            final = last and at == len(found["nodes"]) - 1 and missing is None
            yield from self._node(node, level, kind if kind == "sibling" else "", last=final)
        if missing is not None:
            branch = style.own(self._branch(level, last))
            lines = style.wrap(style.value(f"{part}: {missing}"), style.width - width(branch), 2)
            beside = " " * self._column(level - 1) + style.own("│") if level and not last else ""
            yield from ((branch if at == 0 else beside.ljust(width(branch))) + text for at, text in enumerate(lines))


def _packed(parts: list[str], room: int, style: Style) -> Iterator[str]:
    """Return parts on as few lines as hold them, none cut in two where a line can hold it."""
    line = ""
    for part in parts:
        text = style.value(part)
        longer = f"{line}{style.own(' · ')}{text}" if line else text
        if line and width(longer) > room:
            yield from style.wrap(line, room)
            longer = text
        line = longer
    if line:
        yield from style.wrap(line, room)
