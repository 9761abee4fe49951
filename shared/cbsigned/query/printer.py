"""Tree → text that reads back as the same tree."""

from __future__ import annotations

from datetime import datetime
from typing import Optional

from cbsigned.query.globs import MANY, ONE, Glob
from cbsigned.query.tree import (
    And,
    Bare,
    Between,
    Clause,
    During,
    Equals,
    Everything,
    Exists,
    Is,
    Labels,
    Matcher,
    Node,
    Not,
    Or,
    Place,
    SubPath,
    Within,
    Words,
)

__all__ = ["text_of"]

_DOTS = {Place.ANYWHERE: ("", ""), Place.FIRST: ("", "."), Place.LAST: (".", ""), Place.MIDDLE: (".", ".")}


def text_of(node: Node) -> str:
    """Return a query that reads back as this tree, by the same version; `*:*` for everything.

    Args:
        node: As `parse` makes it: typed values, two or more parts under each operator.
    """
    if isinstance(node, Or):
        return " or ".join(map(_part, node.parts))
    if isinstance(node, And):
        return " ".join(map(_part, node.parts))
    if isinstance(node, Not):
        return f"-{_part(node.part)}"
    if isinstance(node, Clause):
        return f"{node.field.name}:{_value(node.matcher)}"
    if isinstance(node, Bare):
        return _quoted(node.value.text) if node.quoted else _plain(node.value.text)
    assert isinstance(node, Everything)  # noqa: S101 (nothing else is a node)
    return "*:*"


def _part(node: Node) -> str:
    return f"({text_of(node)})" if isinstance(node, (And, Or)) else text_of(node)


def _value(matcher: Matcher) -> str:
    if isinstance(matcher, Words):
        return _words(matcher)
    if isinstance(matcher, Labels):
        before, after = _DOTS[matcher.place]
        return _glob(Glob(before + ".".join(label.text for label in matcher.labels) + after))
    if isinstance(matcher, Between):
        if matcher.low is not None and matcher.low == matcher.high:
            return str(matcher.low)
        return f"[{_end(matcher.low)} TO {_end(matcher.high)}]"
    if isinstance(matcher, During):
        return f"[{_moment(matcher.earliest)} TO {_moment(matcher.latest)}]"
    if isinstance(matcher, Within):
        return str(matcher.network)
    if isinstance(matcher, Is):
        return str(matcher.value).lower()
    if isinstance(matcher, Exists):
        return "*"
    return _glob(matcher.value if isinstance(matcher, Equals) else _path(matcher))


def _path(matcher: SubPath) -> Glob:
    return matcher.path


def _words(matcher: Words) -> str:
    text = " ".join(word.text for word in matcher.words)
    alone = len(matcher.words) == 1 and matcher.words[0].literal
    return _quoted(text) if matcher.together or alone else _plain(text)


def _glob(glob: Glob) -> str:
    return _quoted(glob.text) if glob.literal else _plain(glob.text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _plain(text: str) -> str:
    out = "".join(_WILD.get(c) or (f"\\{c}" if c in '\\"():' or c.isspace() else c) for c in text)
    return f"\\{out}" if out[:1] in ("[", "-") else out


_WILD = {MANY: "*", ONE: "?"}


def _end(number: Optional[int]) -> str:
    return "*" if number is None else str(number)


def _moment(moment: Optional[datetime]) -> str:
    if moment is None:
        return "*"
    return f"{moment.isoformat()[:19]}.{moment.microsecond // 1000:03d}"
