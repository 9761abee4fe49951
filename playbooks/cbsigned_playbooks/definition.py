"""How an action is described, once for all platforms: what goes in, what comes out, how it is shown.

The actions themselves stand in `catalogue.py`; manifests are made of them by `packaging/manifests.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Optional, Union

__all__ = ["Action", "Kind", "Output", "Parameter", "View", "under"]

Example = Union[str, int, float, bool]


class Kind(str, Enum):
    """Type of a value."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    SWITCH = "switch"
    TIME = "time"
    """`2021-04-20T13:33:24Z`, UTC."""
    JSON = "json"
    """An object or a list of objects, or the text of one."""
    SECRET = "secret"  # noqa: S105 (the name of a kind)


class View(str, Enum):
    """How the answer is shown to a person."""

    CARD = "card"
    TABLE = "table"
    LINEAGE = "lineage"
    CHECKS = "checks"


@dataclass(frozen=True)
class Parameter:
    """One value that goes in; also one setting of a platform's configuration.

    Attributes:
        name: Lower-case words with `_`; each platform writes it in its own way.
        unit: Of a number: `s`, `rows`, `processes`.
        many: Takes a list, or one text with commas or line ends between its values.
        choices: All values that it may have; empty for any.
        low, high: Range of a number, both included.
        contains: What Splunk SOAR calls the value, so that a click on one finds the action; as in the vendor's apps.
        primary: The value that is clicked.
    """

    name: str
    title: str
    description: str
    kind: Kind = Kind.TEXT
    unit: Optional[str] = None
    required: bool = False
    default: Optional[Example] = None
    many: bool = False
    choices: tuple[str, ...] = ()
    low: Optional[float] = None
    high: Optional[float] = None
    contains: tuple[str, ...] = ()
    primary: bool = False
    example: Optional[Example] = None


@dataclass(frozen=True)
class Output:
    """One value that comes out, in every row of the answer.

    Attributes:
        path: Members from the row inwards with dots between them, `[]` after a list: `lineage.nodes[].guid`.
        optional: May be null.
        contains: As of a parameter, so that the next action can be chained to it.
        column: Heading in a table of the most important values; None leaves it out of the table.
    """

    path: str
    kind: Kind
    description: str
    example: Example
    optional: bool = False
    contains: tuple[str, ...] = ()
    column: Optional[str] = None
    unit: Optional[str] = None


@dataclass(frozen=True)
class Action:
    """One thing that a playbook can ask for.

    Attributes:
        name: Lower-case words with `_`, a function of `actions.py`.
        title: The same for people, as Splunk SOAR writes action names: `signing status`.
        summary: One line.
        description: What a user must know besides; whole sentences.
        rows: What one row of the answer stands for.
    """

    name: str
    title: str
    summary: str
    description: str
    rows: str
    parameters: tuple[Parameter, ...]
    outputs: tuple[Output, ...]
    view: View


def under(prefix: str, outputs: Iterable[Output], *, keep_columns: bool = False) -> tuple[Output, ...]:
    """Return outputs as members of `prefix`, out of the table unless told otherwise."""
    return tuple(
        replace(one, path=f"{prefix}.{one.path}", column=one.column if keep_columns else None) for one in outputs
    )
