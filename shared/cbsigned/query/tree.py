"""A query as a tree of frozen parts: what is left for an engine once the text has been read.

Values are folded, checked and typed; an engine never sees the query's text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Optional, Union

from cbsigned.query.fields import FieldRef
from cbsigned.query.globs import Glob

__all__ = [
    "And",
    "Bare",
    "Between",
    "Clause",
    "During",
    "Equals",
    "Everything",
    "Exists",
    "Is",
    "Labels",
    "Matcher",
    "Node",
    "Not",
    "Or",
    "Place",
    "SubPath",
    "Within",
    "Words",
]


@dataclass(frozen=True)
class Equals:
    """The whole value, any case: keywords, hashes, process ids, signing results."""

    value: Glob


@dataclass(frozen=True)
class Words:
    """Words of a text or of a command line.

    Attributes:
        words: One or more; all must be there.
        together: They stand next to each other, in this order. Extension tokens (`.exe` beside `csc.exe`) have no
            place in that order.
        legacy: Words of a command line as servers before 6.3 cut it.
    """

    words: tuple[Glob, ...]
    together: bool = False
    legacy: bool = False


@dataclass(frozen=True)
class SubPath:
    """The path itself, or what is left of it after leading parts are taken away."""

    path: Glob


class Place(str, Enum):
    """Where in a domain name labels must stand."""

    ANYWHERE = "anywhere"
    FIRST = "first"
    LAST = "last"
    MIDDLE = "middle"
    """Neither first nor last."""


@dataclass(frozen=True)
class Labels:
    """Labels of a domain name, next to each other."""

    labels: tuple[Glob, ...]
    place: Place = Place.ANYWHERE


@dataclass(frozen=True)
class Within:
    """An address in a network; a single address is a network of one."""

    network: Union[IPv4Network, IPv6Network]


@dataclass(frozen=True)
class Between:
    """A number, both ends included; None is open."""

    low: Optional[int]
    high: Optional[int]


@dataclass(frozen=True)
class During:
    """A time, both ends included, whole milliseconds, UTC; None is open."""

    earliest: Optional[datetime]
    latest: Optional[datetime]


@dataclass(frozen=True)
class Is:
    """True or false."""

    value: bool


@dataclass(frozen=True)
class Exists:
    """Any value at all; for a count, above 0."""


Matcher = Union[Equals, Words, SubPath, Labels, Within, Between, During, Is, Exists]


@dataclass(frozen=True)
class Clause:
    """One field must match."""

    field: FieldRef
    matcher: Matcher


@dataclass(frozen=True)
class Bare:
    """A value without a field: one of the default fields must match.

    Attributes:
        value: As written, for printing.
        quoted: It was a phrase.
        clauses: What it means, one for each default field that can hold such a value.
    """

    value: Glob
    quoted: bool
    clauses: tuple[Node, ...]


@dataclass(frozen=True)
class And:
    """Every part must match; two parts or more."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Or:
    """One part must match; two parts or more."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Not:
    """The part must not match."""

    part: Node


@dataclass(frozen=True)
class Everything:
    """Every document: the empty query."""


Node = Union[And, Or, Not, Clause, Bare, Everything]
