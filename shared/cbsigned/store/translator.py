"""A query's tree → conditions in SQL, and the leaves that a search may begin with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Optional, Union

from cbsigned.query.fields import FieldRef, Search, Type
from cbsigned.query.tree import And, Bare, Clause, Equals, Everything, Node, Not, Or
from cbsigned.store.places import leaf_of
from cbsigned.store.sql import Context, Leaf, Sql, all_of, any_of

__all__ = ["Driver", "Translator"]

_MERGED = (Type.MD5, Type.SHA256, Type.GUID)
_MOST_PARTS = 40  # of an alternative that a search begins with


@dataclass(frozen=True)
class Driver:
    """What a search may begin with: all that passes is among these numbers.

    Attributes:
        rank: 0 best.
        ids: A query for the numbers.
    """

    rank: int
    ids: Sql


class Translator:
    """One tree over one store.

    Args:
        context: Of this search.
        search: What is searched.
        tree: The query's.

    Raises:
        QueryError: The store has nothing for a field.
    """

    def __init__(self, context: Context, search: Search, tree: Node) -> None:
        self._context, self._search = context, search
        self._leaves: dict[Clause, Leaf] = {}
        self._tree = self._resolved(tree)
        self._root = "p.id" if search is Search.PROCESS else "b.id"

    def probe(self) -> Sql:
        """Return the condition that looks at one process or binary at a time."""
        return self._sql(self._tree, single=True, negated=False)

    def within(self) -> Sql:
        """Return the condition that computes whole sets first."""
        return self._sql(self._tree, single=False, negated=False)

    def drivers(self) -> list[Driver]:
        """Return what a search may begin with, the best first; none where everything is frequent."""
        return sorted(self._drivers(self._tree), key=lambda driver: driver.rank)

    def _resolved(self, node: Node) -> _Resolved:
        if isinstance(node, Clause):
            return self._leaf(node)
        if isinstance(node, (Or, Bare)):
            return _Any([*self._alternatives(node.parts if isinstance(node, Or) else node.clauses)])
        if isinstance(node, And):
            return _All([self._resolved(part) for part in node.parts])
        if isinstance(node, Not):
            return _None(self._resolved(node.part))
        assert isinstance(node, Everything)  # noqa: S101 (nothing else is a node)
        return _All([])

    def _alternatives(self, parts: Sequence[Node]) -> Iterable[_Resolved]:
        """Resolve alternatives; hashes and process ids of one field become one look-up."""
        merged: dict[FieldRef, list[Clause]] = {}
        for part in parts:
            if isinstance(part, Clause) and part.field.field.type in _MERGED and isinstance(part.matcher, Equals):
                merged.setdefault(part.field, []).append(part)
            else:
                yield self._resolved(part)
        for clauses in merged.values():
            values = [c.matcher.value.text for c in clauses if isinstance(c.matcher, Equals)]
            yield leaf_of(self._context, self._search, clauses[0], values)

    def _leaf(self, clause: Clause) -> Leaf:
        if clause not in self._leaves:
            self._leaves[clause] = leaf_of(self._context, self._search, clause)
        return self._leaves[clause]

    def _sql(self, node: _Resolved, *, single: bool, negated: bool) -> Sql:
        if isinstance(node, Leaf):
            found = node.probe(self._root) if single else node.within(self._root)
            # below a NOT an unknown value must count as "does not match", or it would match neither way
            return Sql(f"(({found.text}) IS 1)", found.values) if negated else Sql(f"({found.text})", found.values)
        if isinstance(node, _None):
            inner = self._sql(node.part, single=single, negated=True)
            return Sql(f"(NOT {inner.text})", inner.values)
        parts = [self._sql(part, single=single, negated=negated) for part in node.parts]
        return all_of(parts) if isinstance(node, _All) else any_of(parts)

    def _drivers(self, node: _Resolved) -> list[Driver]:
        if isinstance(node, _All):
            return [driver for part in node.parts for driver in self._drivers(part)]
        driver = self._driver(node)
        return [] if driver is None else [driver]

    def _driver(self, node: _Resolved) -> Optional[Driver]:
        if isinstance(node, Leaf):
            rank = node.rank()
            return None if rank is None else Driver(rank, node.ids())
        if isinstance(node, _Any) and 0 < len(node.parts) <= _MOST_PARTS:
            found = [self._driver(part) for part in node.parts]
            inner = [driver for driver in found if driver is not None]
            if len(inner) == len(found):
                text = " UNION ALL ".join(driver.ids.text for driver in inner)
                values = tuple(value for driver in inner for value in driver.ids.values)
                return Driver(max(driver.rank for driver in inner), Sql(text, values))
        if isinstance(node, _All):  # inside an alternative: its best part stands for it
            drivers = sorted(self._drivers(node), key=lambda driver: driver.rank)
            return drivers[0] if drivers else None
        return None


@dataclass(frozen=True)
class _All:
    parts: Sequence[_Resolved]


@dataclass(frozen=True)
class _Any:
    parts: Sequence[_Resolved]


@dataclass(frozen=True)
class _None:
    part: _Resolved


_Resolved = Union[Leaf, _All, _Any, _None]
