"""A query's tree → one condition for ClickHouse: the second translator beside the embedded store's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cbsigned.clickhouse.conditions import Values
from cbsigned.clickhouse.places import condition
from cbsigned.query.fields import FieldRef, Search, Type
from cbsigned.query.tree import And, Bare, Clause, Equals, Everything, Node, Not, Or

__all__ = ["translated"]

_MERGED = (Type.MD5, Type.SHA256, Type.GUID)


def translated(values: Values, search: Search, node: Node) -> str:
    """Return a tree as a condition on a process `p` or a binary `b`.

    Args:
        values: Takes its values.

    Raises:
        QueryError: There is nothing for a field.
    """
    if isinstance(node, Clause):
        return condition(values, search, node)
    if isinstance(node, (Or, Bare)):
        parts = _alternatives(values, search, node.parts if isinstance(node, Or) else node.clauses)
        return _joined(" OR ", list(parts), "0")
    if isinstance(node, And):
        return _joined(" AND ", [translated(values, search, part) for part in node.parts], "1")
    if isinstance(node, Not):
        return f"(NOT {translated(values, search, node.part)})"
    assert isinstance(node, Everything)  # noqa: S101 (nothing else is a node)
    return "1"


def _alternatives(values: Values, search: Search, parts: Sequence[Node]) -> Iterable[str]:
    """Yield alternatives; hashes and process ids of one field are one look-up."""
    merged: dict[FieldRef, list[Clause]] = {}
    for part in parts:
        if isinstance(part, Clause) and part.field.field.type in _MERGED and isinstance(part.matcher, Equals):
            merged.setdefault(part.field, []).append(part)
        else:
            yield translated(values, search, part)
    for clauses in merged.values():
        texts = [clause.matcher.value.text for clause in clauses if isinstance(clause.matcher, Equals)]
        yield condition(values, search, clauses[0], texts)


def _joined(operator: str, parts: Sequence[str], empty: str) -> str:
    return f"({operator.join(parts)})" if parts else empty
