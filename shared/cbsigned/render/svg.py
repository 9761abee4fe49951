"""A lineage drawn as SVG: the oldest ancestor on top, the process framed, siblings beside it, children below.

No script, no font, no outside asset; readable on light and dark; every status has a word and a shape beside its
colour. Every text element holds one value, so that a right-to-left name cannot turn its neighbours round, and
every process is drawn in a viewport of its own, which nothing can leave.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from cbsigned.render.clean import clean, clip, wrap
from cbsigned.render.document import Document
from cbsigned.render.facts import lineage_short, shown
from cbsigned.render.marks import look, mark, word

__all__ = ["SVG_STYLE", "svg_lineage", "svg_mark"]

_WIDTH = 760
_MARGIN = 10
_BOX = 48
_SPACE = 12  # between two boxes
_LINE = 17
_MAX_INDENT = 26
_ROOM_FOR_INDENT = 300
_LETTER = 6.9  # px of an average letter at 12.5 px; a viewport cuts what is wider
_BOLD_LETTER = 8.0
_TEXT_X = 40
_MAX_TITLE = 700

SVG_STYLE = """
.cbs-svg{--ink:#1f2328;--mute:#57606a;--line:#818b98;--box:#f6f8fa;--own:#ddf4ff;--own-line:#0969da;
--signed:#1a7f37;--invalid:#cf222e;--unsigned:#9a6700;--claimed:#8250df;--unknown:#6e7781;--on:#fff;
font:12.5px system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;max-width:760px;width:100%;height:auto}
@media (prefers-color-scheme:dark){.cbs-svg{--ink:#e6edf3;--mute:#9da7b3;--line:#6e7681;--box:#161b22;--own:#0c2d4e;
--own-line:#4493f8;--signed:#3fb950;--invalid:#ff7b72;--unsigned:#d29922;--claimed:#bc8cff;--unknown:#9da7b3;--on:#0d1117}}
.cbs-svg text{fill:var(--ink)}
.cbs-svg .mute{fill:var(--mute)}
.cbs-svg .name{font-weight:600;font-size:13.5px}
.cbs-svg .word{font-weight:600;text-anchor:end}
.cbs-svg .end{text-anchor:end}
.cbs-svg .box{fill:var(--box);stroke:var(--line)}
.cbs-svg .own .box{fill:var(--own);stroke:var(--own-line);stroke-width:2}
.cbs-svg .aside .box{fill:none}.cbs-svg .gap .box{stroke-dasharray:5 4}
.cbs-svg .link{fill:none;stroke:var(--line);stroke-width:1.5}
.cbs-svg .ended{stroke-dasharray:3 4}
.cbs-svg .signed{fill:var(--signed)}.cbs-svg .invalid{fill:var(--invalid)}
.cbs-svg .unsigned{fill:var(--unsigned)}.cbs-svg .unknown,.cbs-svg .unread{fill:var(--unknown)}
.cbs-svg .claimed{fill:var(--claimed)}.cbs-svg .ring{fill:none;stroke:var(--unknown);stroke-width:1.8}
.cbs-svg .hollow{fill:none;stroke:var(--claimed);stroke-width:2}
.cbs-svg .glyph{fill:none;stroke:var(--on);stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}
.cbs-svg .ask{font-weight:700;text-anchor:middle;font-size:11px}
"""
"""What the drawing looks like; names begin with `cbs-` or stand below `.cbs-svg`, so that pages keep their own."""


def svg_lineage(lineage: Document, *, style: bool = True) -> str:
    """Return a lineage as one `<svg>` element, for a page or, with `style`, as a file of its own.

    Args:
        lineage: From `lineage_document`.
        style: Put `SVG_STYLE` inside; False where the page has it once for many drawings.
    """
    return _Drawing(lineage).svg(style)


def svg_mark(looks: object) -> str:
    """Return the shape of an answer as a small `<svg>` for use beside its word; needs `SVG_STYLE` on the page.

    Args:
        looks: As `cbsigned.render.marks.look` returns it.
    """
    return f'<svg class="cbs-svg cbs-mark" viewBox="8 12 24 24" aria-hidden="true">{_SHAPES[mark(looks).tone]}</svg>'


class _Drawing:
    """The rows of one drawing from top to bottom, and where the next one goes."""

    def __init__(self, lineage: Document) -> None:
        self.lineage = lineage
        self.parts: list[str] = []
        self.nodes = list(reversed(lineage["nodes"]))
        self.indent = min(_MAX_INDENT, max(4, _ROOM_FOR_INDENT // len(self.nodes)))
        self.elbow = min(11, self.indent // 2 + 1)
        self.y = _MARGIN
        self.foot = 0  # where the parent's box ends

    def _x(self, level: int) -> int:
        """Return where the boxes of a level begin; beyond a depth all begin at one place."""
        return _MARGIN + min(self.indent * level, _ROOM_FOR_INDENT)

    def _link(self, level: int, y: int, end: int, css: str) -> None:
        """Draw the line from the parent's box down to `y`, and to the right up to `end`."""
        x, above = self._x(level), self._x(max(0, level - 1))
        if level and x == above:  # beside the boxes, which stand in one column
            start = f"M{x + 1} {self.foot - _BOX // 2}H{x - 4}"
        else:
            start = f"M{above + self.elbow if level else x} {self.foot}"
        self.parts.append(f'<path class="{css}" d="{start}V{y}H{end}"/>')

    def svg(self, style: bool) -> str:
        self._ending()
        for level, node in enumerate(self.nodes):
            if node["depth"] == 0:
                self._relatives("siblings", "sibling", level)
            self._node(node, level, "this process" if node["depth"] == 0 else "")
            self.foot = self.y - _SPACE
        self._relatives("children", "child", len(self.nodes))
        self._legend()
        height = self.y - _SPACE + _MARGIN
        label = f"Lineage, newest first: {lineage_short(self.lineage)}. Ended: {self.lineage['reason']}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="cbs-svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" role="img" aria-label="{_safe(label)}">'
            + (f"<style>{SVG_STYLE}</style>" if style else "")
            + "".join(self.parts)
            + "</svg>"
        )

    def _ending(self) -> None:
        """Write why the walk ended, above the oldest process."""
        ended, reason = self.lineage["ended_by"], clean(self.lineage["reason"], _MAX_TITLE)
        top = self.y
        for line in wrap(f"Ended here ({ended}): {reason}", int((_WIDTH - 2 * _MARGIN - 26) / _LETTER), 3):
            self.y += _LINE
            self.parts.append(_text(_MARGIN + 26, self.y - 5, line, "mute"))
        self.y += 6
        x = _MARGIN + self.elbow
        self.parts.append(f'<path class="link ended" d="M{x} {top}V{self.y}"/>')

    def _node(self, node: Document, level: int, tag: str) -> None:
        x = self._x(level)
        if level:
            self._link(level, self.y + _BOX // 2, x + 1, "link")
        css = {"this process": "own", "": "above"}.get(tag, "aside") + (" gap" if node["gap"] else "")
        box, high = _WIDTH - _MARGIN - x, _BOX + (_LINE if node["cmdline"] else 0)
        self.parts.append(
            f'<svg x="{x}" y="{self.y}" width="{box}" height="{high}"><g class="{css}"><title>{_title(node)}</title>'
            f'<rect class="box" x="1" y="1" width="{box - 2}" height="{high - 2}" rx="7"/>'
            f"{''.join(_inside(node, box, tag))}</g></svg>"
        )
        self.y += high + _SPACE

    def _relatives(self, kind: str, tag: str, level: int) -> None:
        """Draw siblings or children, and a line for those that are missing."""
        part = self.lineage[kind]
        if part is None:
            return
        for node in part["nodes"]:
            self._node(node, level, tag)
        missing = part["gap"]["reason"] if part["gap"] else None if part["nodes"] else "none recorded"
        if missing is not None:
            x = self._x(level)
            text = clip(f"{kind}: {clean(missing, _MAX_TITLE)}", int((_WIDTH - x - 60) / _LETTER))
            self._link(level, self.y + 8, x + 10, "link ended")
            self.parts.append(_text(x + 16, self.y + 12, text, "mute"))
            self.y += _BOX // 2 + _SPACE // 2

    def _legend(self) -> None:
        """Say what the frames mean, where there is more than the ordinary one."""
        told = ["dashed frame: its start or its document is missing"] if any(n["gap"] for n in self.nodes) else []
        beside = [part for part in (self.lineage["siblings"], self.lineage["children"]) if part and part["nodes"]]
        told += ["no fill: sibling or child"] if beside else []
        if told:
            self.parts.append(_text(_MARGIN, self.y + 8, " · ".join(told), "mute legend"))
            self.y += _LINE + _SPACE // 2


def _inside(node: Document, box: int, tag: str) -> Iterator[str]:
    """Draw what a box holds: shape, name and status word; pid, user or gap, and start; the command line."""
    status, start = word(node), str(node["started_at"] or "start unknown")
    start = f"from the guid: {start}" if node["from_guid"] else start
    tone = mark(look(node)).tone
    yield _SHAPES[tone]
    room = box - _TEXT_X - 26 - len(status) * _BOLD_LETTER
    yield _text(_TEXT_X, 20, clip(clean(shown(node), 300), int(room / _BOLD_LETTER)), "name")
    yield _text(box - 12, 20, status, f"word {tone}")
    left = " · ".join(
        part for part in (tag, f"pid {node['pid']}" if node["pid"] is not None else "pid unknown") if part
    )
    yield _text(_TEXT_X, 38, left, "mute")
    who = f"gap: {node['gap']['cause']}" if node["gap"] else node["user"]
    x = _TEXT_X + int(len(left) * _LETTER) + 16
    room = box - 12 - len(start) * _LETTER - 16 - x
    if who and room > 5 * _LETTER:
        yield _text(x, 38, clip(clean(who, 300), int(room / _LETTER)), "")
    yield _text(box - 12, 38, start, "mute end")
    if node["cmdline"]:
        room = int((box - 12 - _TEXT_X) / _LETTER)
        yield _text(_TEXT_X, 38 + _LINE, clip(clean(node["cmdline"], 300), room), "mute")


def _title(node: Document) -> str:
    """Return what is told when the pointer rests on a process; the command line is clipped."""
    lines = [f"{shown(node)}: {node['reason']}"]
    lines += [f"{label}: {node[key]}" for label, key in _TITLE_ROWS if node[key] is not None]
    lines += [f"gap: {node['gap']['reason']}"] if node["gap"] else []
    return "\n".join(_safe(line) for line in lines)


_TITLE_ROWS = (
    ("publisher", "publisher"), ("path", "path"), ("host", "host"), ("user", "user"), ("MD5", "md5"),
    ("SHA-256", "sha256"), ("guid", "guid"), ("command line", "cmdline"),
)  # fmt: skip
_SHAPES = {
    "signed": '<circle class="signed" cx="20" cy="24" r="9"/><path class="glyph" d="M15.5 24.5l3 3 6-6.5"/>',
    "invalid": '<path class="invalid" d="M20 13.5l10.5 19h-21z"/><path class="glyph" d="M20 20.5v6M20 29.6v.1"/>',
    "unsigned": '<path class="unsigned" d="M20 12.5l11.5 11.5L20 35.5 8.5 24z"/>'
    '<path class="glyph" d="M16.5 20.5l7 7M23.5 20.5l-7 7"/>',
    "unknown": '<circle class="ring" cx="20" cy="24" r="9"/><text class="ask unknown" x="20" y="28">?</text>',
    "claimed": '<path class="hollow" d="M20 13.5L30.5 24 20 34.5 9.5 24z"/>',
    "unread": '<circle class="ring" cx="20" cy="24" r="9"/><path class="ring" d="M13.8 30.2L26.2 17.8"/>',
}


def _text(x: int, y: int, text: str, css: str) -> str:
    return f'<text class="{css}" x="{x}" y="{y}">{escape(text)}</text>'


def _safe(value: object) -> str:
    return escape(clean(value, _MAX_TITLE))
