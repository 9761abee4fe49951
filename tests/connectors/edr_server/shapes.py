"""Compares the structure of JSON: names, types, envelope; never the values."""

from __future__ import annotations

from typing import Any


def differences(recorded: Any, ours: Any, place: str = "") -> set[str]:
    """Return what our answer has not, has otherwise, or has besides, as `place: what`.

    Elements of a list are taken together: a member is there where some element has it. An empty list and an empty
    object of either side say nothing of their elements; null goes with every type.
    """
    if recorded is None or ours is None:
        return set()
    kinds = (_kind(recorded), _kind(ours))
    if kinds[0] != kinds[1]:
        return {f"{place}: {kinds[0]}, ours is {kinds[1]}"}
    if isinstance(recorded, list):
        return differences(_merged(recorded), _merged(ours), f"{place}[]") if recorded and ours else set()
    if not isinstance(recorded, dict):
        return set()
    found = {f"{place}.{name}: missing" for name in recorded.keys() - ours.keys()}
    found |= {f"{place}.{name}: ours alone" for name in ours.keys() - recorded.keys()}
    for name in recorded.keys() & ours.keys():
        found |= differences(recorded[name], ours[name], f"{place}.{name}")
    return found


def _merged(items: list[Any]) -> Any:
    if not all(isinstance(item, dict) for item in items):
        return items[0]
    merged: dict[str, Any] = {}
    for item in items:
        merged.update({name: value for name, value in item.items() if merged.get(name) is None})
    return merged


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return type(value).__name__
