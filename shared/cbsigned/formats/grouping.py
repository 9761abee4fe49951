"""What the walker found, put together into sets: of one object and one role, and never two files' hashes in one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Optional

from cbsigned.alert import ObservableSet, Role
from cbsigned.formats.fields import described
from cbsigned.observables import Hashes
from cbsigned.timing import parse_time

__all__ = ["GUID", "KINDS", "Found", "sets_of"]

KINDS = ("md5", "sha1", "sha256")
GUID = "process_guid"
_FIRST = ("process", "image", "", "file")  # of several files in one object, which is the process's own


class Found(NamedTuple):
    """One observable: where it belongs, whose it is, which file's, how good its place is, and what it is."""

    home: str
    role: Optional[Role]
    family: str
    rank: int
    field: str
    value: Any
    path: str


class _Group:
    """What was found in one object of one role: hashes by family, guids, and everything else once."""

    def __init__(self) -> None:
        self.families: dict[str, dict[str, Found]] = {}
        self.guids: dict[str, Found] = {}
        self.facts: dict[str, Found] = {}

    def add(self, found: Found) -> None:
        """Take in one observable; the better place wins, and a second hash of a kind is another file's."""
        if found.field == GUID:
            self.guids.setdefault(found.value, found)
        elif found.field in KINDS:
            family, number = found.family, 1
            while self.families.get(family, {}).get(found.field, found).value != found.value:
                number += 1
                family = f"{found.family}#{number}"
            self.families.setdefault(family, {}).setdefault(found.field, found)
        elif found.field not in self.facts or found.rank < self.facts[found.field].rank:
            self.facts[found.field] = found

    def sets(self, role: Optional[Role], host: Optional[Found]) -> Iterator[ObservableSet]:
        """Yield one set for each file, and for each guid beyond the first."""
        acting = bool(self.guids or "pid" in self.facts or "cmdline" in self.facts)
        whose = role or (Role.PROCESS if acting else Role.TARGET_FILE)
        families = sorted(self.families.items(), key=lambda f: _FIRST.index(f[0]) if f[0] in _FIRST else len(_FIRST))
        guids = sorted(self.guids.values(), key=lambda g: g.rank)
        facts = [*self.facts.values(), *([host] if host else [])]
        if families or guids:
            main = [*(families[0][1].values() if families else ()), *guids[:1], *facts]
            yield _set(whose, main)
        for _name, hashes in families[1:]:
            yield _set(
                Role.TARGET_FILE if whose is Role.PROCESS else whose, [*hashes.values(), *([host] if host else [])]
            )
        for guid in guids[1:]:
            yield _set(whose, [guid, *([host] if host else [])])


def sets_of(found: list[Found]) -> list[ObservableSet]:
    """Return the sets of all objects, each file or process once."""
    host = _host(found)
    of_process = {f.home for f in found if f.role is Role.PROCESS}
    groups: dict[tuple[str, Optional[Role]], _Group] = {}
    for f in found:
        if f.field != "host":
            role = Role.PROCESS if f.role is None and f.home in of_process else f.role
            groups.setdefault((f.home, role), _Group()).add(f)
    told: dict[tuple[object, ...], ObservableSet] = {}
    for (_home, role), group in groups.items():
        for s in group.sets(role, host):
            told.setdefault((s.md5, s.sha1, s.sha256, s.process_guid, s.foreign_id), s)
    order = list(Role)
    return sorted(told.values(), key=lambda s: order.index(s.role))


def _host(found: list[Found]) -> Optional[Found]:
    """Return the host of the record, where one place is better than all others or they agree."""
    hosts = sorted((f for f in found if f.field == "host"), key=lambda f: f.rank)
    best = [f for f in hosts if f.rank == hosts[0].rank]
    return best[0] if best and len({f.value for f in best}) == 1 else None


def _set(role: Role, found: list[Found]) -> ObservableSet:
    value = {f.field: f.value for f in found}
    hashes = Hashes(value.get("md5"), value.get("sha1"), value.get("sha256"))
    given = described(
        role, hashes, id=value.get(GUID), name=value.get("name"), path=value.get("path"), pid=value.get("pid"),
        host=value.get("host"), user=value.get("user"), cmdline=value.get("cmdline"),
        started_at=parse_time(value.get("started_at")),
    )  # fmt: skip
    return replace(given, origins=tuple((f.field, f.path) for f in found))
