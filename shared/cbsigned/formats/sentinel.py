"""Microsoft Sentinel: incidents (`relatedEntities`) and alerts (`Entities`, linked by `$id` and `$ref`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Optional

from cbsigned.alert import Alert, ObservableSet, Role
from cbsigned.formats.fields import Record, described, full_path, get, items_of, kept, object_of, text_at
from cbsigned.formats.jsontext import load
from cbsigned.formats.values import first, first_time, hashes_of, merged
from cbsigned.observables import Hashes

__all__ = ["matches", "matches_alert", "matches_incident", "read"]

_MAX_LEVELS = 8
_MAX_LINKS = 20


def matches_incident(record: Record) -> bool:
    """Whether the record is what the incident trigger passes on."""
    return "object" in record and get(record, "object.properties.relatedEntities") is not None


def matches_alert(record: Record) -> bool:
    """Whether the record is what the alert trigger passes on."""
    return "Entities" in record and ("AlertType" in record or "WorkspaceId" in record)


def matches(record: Record) -> bool:
    """Whether the record is either of them."""
    return matches_incident(record) or matches_alert(record)


def read(record: Record) -> Optional[Alert]:
    """Return the alert: each process with the file that it links to, and the files and hashes that none does.

    References:
        - alert-formats §3.3: a hash belongs to a process through its image file alone
    """
    properties = object_of(get(record, "object.properties"))
    found = _Entities(properties.get("relatedEntities") or record.get("Entities"))
    return Alert(
        format="sentinel",
        kind=text_at(record, "AlertType", "object.type"),
        id=text_at(record, "SystemAlertId", "object.name", "object.id"),
        title=first(properties, "title") or first(record, "AlertDisplayName", "DisplayName"),
        at=first_time(properties, "createdTimeUtc") or first_time(record, "TimeGenerated", "StartTimeUtc"),
        link=first(properties, "incidentUrl") or first(record, "AlertLink"),
        sets=tuple(dict.fromkeys(found.sets())),
    )


class _Entities:
    """The entities of one alert in one spelling: names in lower case, links by id or in place."""

    def __init__(self, given: object) -> None:
        if isinstance(given, str):  # the table SecurityAlert has them as JSON in a text
            try:
                given = load(given)
            except ValueError:
                given = None
        self.by_id: dict[str, Record] = {}
        self.all: list[Record] = []
        for item in items_of(given):
            self.all.append(self._entity(item, _MAX_LEVELS))
        self.all = [self._linked(item) or item for item in self.all]

    def sets(self) -> Iterator[ObservableSet]:
        """Yield processes, then the parents, then what is linked to none of them."""
        processes = [item for item in self.all if _kind(item) == "process"]
        parents = [found for found in (self._linked(p.get("parentprocess")) for p in processes) if found]
        images = [self._image(p) for p in (*processes, *parents)]
        above = set(map(id, parents))
        for process in processes:
            if id(process) not in above:
                yield from filter(lambda s: s.usable, [self._process(Role.PROCESS, process)])
        for parent in parents:
            yield from filter(kept, [self._process(Role.PARENT, parent)])
        used = [image for image in images if image]
        files = [item for item in self.all if _kind(item) == "file"]
        of_processes = set(map(id, used))
        for file in files:
            if id(file) not in of_processes:
                yield from filter(kept, [self._file(file)])
        linked = {id(entity) for file in (*files, *used) for entity in self._hash_entities(file)}
        for item in self.all:
            if _kind(item) == "filehash" and id(item) not in linked:
                yield from filter(kept, [described(Role.TARGET_FILE, _hash(item), host=self._host(None))])

    def _entity(self, item: Record, levels: int) -> dict[str, Any]:
        """Return an entity with flat lower-case names, and note the ids of all that it holds."""
        flat: dict[str, Any] = {}
        for name, value in {**item, **object_of(item.get("properties"))}.items():
            key = str(name).lower().replace("entityids", "s").replace("entityid", "")
            if isinstance(value, Mapping) and levels and key not in ("properties", "additionaldata"):
                value = self._entity(value, levels - 1)
            elif isinstance(value, list) and levels:
                value = [self._entity(v, levels - 1) if isinstance(v, Mapping) else v for v in value[:1000]]
            flat[key] = value
        for identity in (first(flat, "$id"), first(flat, "id"), first(flat, "name")):
            if identity and "$ref" not in flat:
                self.by_id.setdefault(identity.lower(), flat)
        return flat

    def _linked(self, link: object) -> Optional[Record]:
        """Return the entity that a link names or holds."""
        if isinstance(link, Mapping):
            ref = first(link, "$ref")
            return self.by_id.get(ref.lower()) if ref else link
        return self.by_id.get(link.lower()) if isinstance(link, str) else None

    def _image(self, process: Record) -> Optional[Record]:
        return self._linked(process.get("imagefile"))

    def _hash_entities(self, file: Record) -> list[Record]:
        links = file.get("filehashs") or file.get("filehashes")
        found = [self._linked(link) for link in (links[:_MAX_LINKS] if isinstance(links, list) else [links])]
        return [entity for entity in found if entity]

    def _hashes(self, file: Record) -> Hashes:
        return merged([_hash(entity) for entity in self._hash_entities(file)])

    def _host(self, item: Optional[Record]) -> Optional[str]:
        """Return the host that an entity links to, else the only one there is."""
        own = self._linked(item.get("host")) if item else None
        hosts = [own] if own else [entity for entity in self.all if _kind(entity) == "host"]
        return first(hosts[0], "hostname", "netbiosname", "fqdn") if len(hosts) == 1 else None

    def _process(self, role: Role, process: Record) -> ObservableSet:
        file, account = self._image(process) or {}, self._linked(process.get("account")) or {}
        name = first(file, "filename", "name")
        return described(
            role, self._hashes(file), name=name, path=full_path(first(file, "directory"), name),
            pid=process.get("processid"), host=self._host(process), user=first(account, "accountname", "name"),
            cmdline=first(process, "commandline"), started_at=first_time(process, "creationtimeutc"),
        )  # fmt: skip

    def _file(self, file: Record) -> ObservableSet:
        name = first(file, "filename", "name")
        path = full_path(first(file, "directory"), name)
        return described(Role.TARGET_FILE, self._hashes(file), name=name, path=path, host=self._host(file))


def _kind(item: Record) -> str:
    return str(item.get("kind") or item.get("type")).lower().rpartition("/")[2]


def _hash(item: Record) -> Hashes:
    algorithm = str(item.get("algorithm")).lower().replace("-", "")
    known = algorithm in ("md5", "sha1", "sha256", "none", "unknown", "")
    return hashes_of(item.get("hashvalue") or item.get("value")) if known else Hashes()
