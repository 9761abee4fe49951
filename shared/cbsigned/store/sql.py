"""Pieces of SQL with their bound values, and the two ways to ask them: for one row at a time, or for all at once.

A clause of a query becomes a `Leaf`. Its `probe` tests a single process or binary by what hangs on it, which is right
where few have to be looked at. Its `within` computes the whole set of keys first, which is right where many have to
be. No value from outside is ever part of the text.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Protocol

from cbsigned.query.fields import Type
from cbsigned.query.matching import text_test
from cbsigned.query.tree import Matcher
from cbsigned.store.index import TABLES, has_fts5, indexed_up_to

__all__ = [
    "BinaryTest",
    "Context",
    "IdTest",
    "Leaf",
    "PlainTest",
    "Route",
    "Sql",
    "Test",
    "all_of",
    "any_of",
]

MATCH = "cb_match"
"""SQL function: (number of a test, text) → 1 or 0."""

_REMEMBERED = 200_000


@dataclass(frozen=True)
class Sql:
    """A text and the values for its marks, in order."""

    text: str
    values: tuple[Any, ...] = ()


def all_of(parts: Sequence[Sql]) -> Sql:
    """Return the conjunction; true for none."""
    return _tree(" AND ", parts) if parts else Sql("1")


def any_of(parts: Sequence[Sql]) -> Sql:
    """Return the disjunction; false for none."""
    return _tree(" OR ", parts) if parts else Sql("0")


def _tree(operator: str, parts: Sequence[Sql]) -> Sql:
    """Join in halves: SQLite bounds the depth of expressions, and a chain is as deep as it is long."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    left, right = _tree(operator, parts[:middle]), _tree(operator, parts[middle:])
    return Sql(f"({left.text}{operator}{right.text})", left.values + right.values)


class Context:
    """One search on one connection: its tests of texts, and what it has to say about how it was done.

    Args:
        db: Open; the function for tests is registered on it.
        notes: Takes what there is to say.
    """

    def __init__(self, db: sqlite3.Connection, notes: list[str]) -> None:
        self.db = db
        self._notes = notes
        self._tests: list[int] = []
        self.fts5 = has_fts5(db)
        self.upto = {name: indexed_up_to(db, name) for name in TABLES} if self.fts5 else dict.fromkeys(TABLES, 0)
        self._words: dict[str, int] = {}
        weakref.finalize(self, _forget, self._tests)
        try:
            db.execute(f"SELECT {MATCH}(0, NULL)").fetchone()
        except sqlite3.OperationalError:  # once: SQLite refuses to replace a function that a statement may be using
            db.create_function(MATCH, 2, _match, deterministic=True)

    def test(self, type_: Type, matcher: Matcher) -> int:
        """Return the number of a test of texts, for `MATCH`."""
        number = next(_NUMBERS)
        _TESTS[number] = (text_test(type_, matcher), {})
        self._tests.append(number)
        return number

    def word(self, name: str) -> int:
        """Return the number of a fact's name, 0 for one that the store never saw."""
        if name not in self._words:
            row = self.db.execute("SELECT id FROM word WHERE value = ?", (name,)).fetchone()
            self._words[name] = 0 if row is None else int(row[0])
        return self._words[name]

    def note(self, text: str) -> None:
        """Say something about how the answer was found, once."""
        if text not in self._notes:
            self._notes.append(text)


_NUMBERS = itertools.count(1)
_TESTS: dict[int, tuple[Callable[[str], bool], dict[str, bool]]] = {}
"""Tests of all searches that are under way, by number, each with what it has answered."""


def _match(number: int, text: Optional[str]) -> int:
    if text is None:
        return 0
    test, known = _TESTS[number]
    found = known.get(text)
    if found is None:
        found = test(text)
        if len(known) < _REMEMBERED and len(text) < 1_000:
            known[text] = found
    return int(found)


def _forget(numbers: list[int]) -> None:
    for number in numbers:
        del _TESTS[number]


class Test(Protocol):
    """What a key must fulfil."""

    def within(self, key: str) -> Sql:
        """Return a condition that computes all keys that do, once."""

    def probe(self, key: str) -> Sql:
        """Return a condition that looks at this key alone."""

    def rank(self) -> Optional[int]:
        """Return how good it is to begin with: 0 best; None where the keys are many, or slow to find."""


@dataclass(frozen=True)
class PlainTest:
    """A comparison that is equally quick for one and for many.

    Attributes:
        text: The condition, with `{key}`.
        selective: There is an index for it, or little to go through.
    """

    text: str
    values: tuple[Any, ...] = ()
    selective: bool = True

    def within(self, key: str) -> Sql:
        """Return the comparison."""
        return Sql(self.text.format(key=key), self.values)

    def probe(self, key: str) -> Sql:
        """Return the comparison."""
        return self.within(key)

    def rank(self) -> Optional[int]:
        """Return 2 where it is selective."""
        return 2 if self.selective else None


@dataclass(frozen=True)
class IdTest:
    """One of these numbers."""

    numbers: tuple[int, ...]

    def within(self, key: str) -> Sql:
        """Return membership; true for nothing where there are none."""
        if not self.numbers:
            return Sql("0")
        if len(self.numbers) == 1:
            return Sql(f"{key} = ?", self.numbers)
        return Sql(f"{key} IN (SELECT value FROM json_each(?))", (json.dumps(self.numbers),))  # noqa: S608

    def probe(self, key: str) -> Sql:
        """Return membership."""
        return self.within(key)

    def rank(self) -> Optional[int]:
        """Return 0: they are counted already."""
        return 0


@dataclass(frozen=True)
class Route:
    """How to get from a process or binary to a key.

    Attributes:
        key: An SQL expression; `{root}` is the number of the process or binary.
        source: Tables that hang on it, for looking at one; empty where the key is the row's own.
        link: How they hang on it, with `{root}`.
        ids: The same tables for finding all, best first; as `source` where empty.
        owner: The number of the process or binary, in `ids`.
        where: What else must hold.
    """

    key: str
    source: str = ""
    link: str = ""
    ids: str = ""
    owner: str = ""
    where: str = ""


class Leaf:
    """A clause: one of several routes must lead to a key that passes.

    Args:
        home: `process p` or `binary b`: what is searched, for keys in the row itself.
        pairs: Routes with their tests.
        drives: Whether a search may begin with it, given that few keys pass.
    """

    def __init__(self, home: str, pairs: Sequence[tuple[Route, Test]], *, drives: bool = True) -> None:
        self._home, self._root = home, f"{home[-1]}.id"
        self._pairs = pairs
        self._drives = drives

    def rank(self) -> Optional[int]:
        """Return how good a search begins with it, 0 best; None where it should not: every route's keys must be few."""
        if not self._drives:
            return None
        ranks = [test.rank() for _route, test in self._pairs]
        return None if None in ranks else max((rank for rank in ranks if rank is not None), default=0)

    def probe(self, root: str) -> Sql:
        """Return a condition on one process or binary."""
        return any_of([_probe(route, test, root) for route, test in self._pairs])

    def within(self, root: str) -> Sql:
        """Return a condition that computes all that pass, once."""
        return any_of([self._within(route, test, root) for route, test in self._pairs])

    def ids(self) -> Sql:
        """Return a query for the numbers of all that pass; one may come several times."""
        parts = [self._ids(route, test) for route, test in self._pairs]
        return Sql(" UNION ALL ".join(part.text for part in parts), tuple(v for part in parts for v in part.values))

    def _within(self, route: Route, test: Test, root: str) -> Sql:
        if not route.source:
            return _also(test.within(route.key.format(root=root)), route.where)
        ids = self._ids(route, test)
        return Sql(f"{root} IN ({ids.text})", ids.values)

    def _ids(self, route: Route, test: Test) -> Sql:
        found = _also(test.within(route.key.format(root=self._root)), route.where)
        if not route.source:
            return Sql(f"SELECT {self._root} FROM {self._home} WHERE {found.text}", found.values)  # noqa: S608
        return Sql(f"SELECT {route.owner} FROM {route.ids or route.source} WHERE {found.text}", found.values)  # noqa: S608


class BinaryTest:
    """The number of a binary that a clause on binaries holds for.

    Args:
        leaf: The clause.
    """

    def __init__(self, leaf: Leaf) -> None:
        self._leaf = leaf

    def within(self, key: str) -> Sql:
        """Return membership in all such binaries."""
        ids = self._leaf.ids()
        return Sql(f"{key} IN ({ids.text})", ids.values)

    def probe(self, key: str) -> Sql:
        """Return the clause on this binary."""
        return self._leaf.probe(key)

    def rank(self) -> Optional[int]:
        """Return how quickly such binaries are found."""
        return self._leaf.rank()


def _probe(route: Route, test: Test, root: str) -> Sql:
    found = _also(test.probe(route.key.format(root=root)), route.where)
    if not route.source:
        return found
    link = route.link.format(root=root)
    return Sql(f"EXISTS (SELECT 1 FROM {route.source} WHERE {link} AND {found.text})", found.values)  # noqa: S608


def _also(found: Sql, where: str) -> Sql:
    return Sql(f"{where} AND {found.text}", found.values) if where else found
