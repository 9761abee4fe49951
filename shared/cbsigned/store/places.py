"""Where in the store each field of the query language is: the routes from a process or a binary to its values.

References:
    - cb-edr-api §4.4 (fields), §4.7 (joins)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

from cbsigned.query.errors import QueryError
from cbsigned.query.fields import FieldRef, Join, Search, Type
from cbsigned.query.globs import Glob
from cbsigned.query.tree import Between, Clause, During, Equals, Exists, Is, Matcher, Within
from cbsigned.store.events import milliseconds
from cbsigned.store.ids import FOREIGN_MARK, MADE_MARK
from cbsigned.store.sql import MATCH, BinaryTest, Context, IdTest, Leaf, PlainTest, Route, Test
from cbsigned.store.text_tests import TextTest

__all__ = ["UNSUPPORTED", "leaf_of"]

UNSUPPORTED = {"blocked_status", "has_emet_config"}
"""Fields of the language that the store has nothing for."""

_PROCESS, _BINARY = "process p", "binary b"
_CHILD = Route("", "process c", "c.parent_id = p.id", owner="c.parent_id")
_PARENT = Route("", "process c", "c.id = p.parent_id", "process c CROSS JOIN process k ON k.parent_id = c.id", "k.id")
_LOADED = Route(
    "", "modload e CROSS JOIN file f ON f.id = e.file_id", "e.process_id = p.id",
    "file f CROSS JOIN modload e ON e.file_id = f.id", "e.process_id",
)  # fmt: skip
_CROSSED = Route(
    "", "crossproc e CROSS JOIN file f ON f.id = e.file_id", "e.process_id = p.id",
    "file f CROSS JOIN crossproc e ON e.file_id = f.id", "e.process_id",
)  # fmt: skip
_CROSSED_NAME = Route(
    "", "crossproc e CROSS JOIN file f ON f.id = e.file_id CROSS JOIN path t ON t.id = f.path_id",
    "e.process_id = p.id",
    "path t CROSS JOIN file f ON f.path_id = t.id CROSS JOIN crossproc e ON e.file_id = f.id", "e.process_id",
)  # fmt: skip
_TARGET = Route(
    "", "crossproc e CROSS JOIN process c ON c.id = e.target_id", "e.process_id = p.id",
    "process c CROSS JOIN crossproc e ON e.target_id = c.id", "e.process_id",
)  # fmt: skip
_CROSS_TYPE = (
    "(CASE WHEN (SELECT value FROM word WHERE id = e.word_id) LIKE '%remote%' THEN 'remotethread'"
    " ELSE 'processopen' END || CASE e.is_target WHEN 1 THEN 'target' ELSE '' END)"
)
_OS_TYPE = (
    "coalesce((SELECT value FROM word WHERE id = p.os_id), (SELECT 'windows' FROM path WHERE id = p.path_id"
    " AND (value GLOB '[A-Za-z]:\\*' OR value GLOB '\\*')))"
)
_WORD = "CASE WHEN r.word = '' OR lower(r.word) = 'unknown' THEN '(unknown)' ELSE r.word END"
_HOST_COUNT = (
    "max(coalesce((SELECT max(host_count) FROM binary_record WHERE binary_id = {root}), 0),"
    " (SELECT count(*) FROM bin_host WHERE binary_id = {root}))"
)


def _events(table: str, key: str) -> Route:
    return Route(f"e.{key}", f"{table} e", "e.process_id = p.id", owner="e.process_id")


def _keyed(route: Route, key: str) -> Route:
    return Route(key, route.source, route.link, route.ids, route.owner, route.where)


_TEXTS: dict[str, tuple[str, tuple[Route, ...]]] = {
    "process_name": ("name", (Route("p.name_id"),)),
    "parent_name": ("name", (_keyed(_PARENT, "c.name_id"),)),
    "childproc_name": ("name", (_keyed(_CHILD, "c.name_id"),)),
    "crossproc_name": ("name", (_keyed(_CROSSED_NAME, "t.name_id"), _keyed(_TARGET, "c.name_id"))),
    "path": ("path", (Route("p.path_id"),)),
    "cmdline": ("cmdline", (Route("p.cmdline_id"),)),
    "username": ("account", (Route("p.account_id"),)),
    "hostname": ("host", (Route("p.host_id"),)),
    "filemod": ("path", (_events("filemod", "path_id"),)),
    "modload": ("path", (_keyed(_LOADED, "f.path_id"),)),
    "regmod": ("regpath", (_events("regmod", "regpath_id"),)),
    "domain": ("domain", (_events("netconn", "domain_id"),)),
}
_IMAGES: dict[str, tuple[Route, ...]] = {
    "process": (Route("p.binary_id"),),
    "parent": (_keyed(_PARENT, "c.binary_id"),),
    "childproc": (_keyed(_CHILD, "c.binary_id"),),
    "filewrite": (_events("filemod", "binary_id"),),
    "modload": (_keyed(_LOADED, "f.binary_id"),),
    "crossproc": (_keyed(_CROSSED, "f.binary_id"), _keyed(_TARGET, "c.binary_id")),
}
_JOINS = {
    Join.IMAGE: _IMAGES["process"], Join.PARENT: _IMAGES["parent"], Join.CHILD: _IMAGES["childproc"],
    Join.MODLOAD: _IMAGES["modload"], Join.FILEWRITE: _IMAGES["filewrite"],
}  # fmt: skip
_ANY_IMAGE = ("process", "parent", "childproc", "modload", "filewrite")
_SIGNATURE_TEXTS = {
    "digsig_publisher": "publisher", "digsig_issuer": "issuer", "digsig_subject": "subject",
    "digsig_prog_name": "program_name",
}  # fmt: skip


def leaf_of(context: Context, search: Search, clause: Clause, values: Sequence[str] = ()) -> Leaf:
    """Return a clause as conditions on the store.

    Args:
        context: Of this search.
        search: What is searched.
        clause: One of the tree's.
        values: Hashes or process ids any of which is meant, instead of the clause's own.

    Raises:
        QueryError: The store has nothing for this field.
    """
    if clause.field.field.name in UNSUPPORTED:
        raise QueryError(
            f"{clause.field.name} is not supported by the embedded store: no telemetry it takes has it.", "", 0
        )
    if clause.field.join is not Join.NONE:
        test = BinaryTest(_binary_leaf(context, clause, values))
        return Leaf(_PROCESS, [(route, test) for route in _JOINS[clause.field.join]])
    if search is Search.BINARY:
        return _binary_leaf(context, clause, values)
    return _process_leaf(context, clause, values)


def _process_leaf(context: Context, clause: Clause, values: Sequence[str]) -> Leaf:
    name, type_, matcher = clause.field.field.name, clause.field.field.type, clause.matcher
    if name in _TEXTS:
        table, routes = _TEXTS[name]
        test: Test = _exists("{key} > 0") if isinstance(matcher, Exists) else TextTest(context, table, type_, matcher)
        return Leaf(_PROCESS, [(route, test) for route in routes], drives=not isinstance(matcher, Exists))
    if type_ is Type.GUID:
        return _guid_leaf(context, clause, values)
    if type_ in (Type.MD5, Type.SHA256):
        return _hash_leaf(context, clause, values)
    if name.endswith("_count"):
        return _count_leaf(context, name, matcher)
    if name.startswith(("watchlist_", "alliance_score_")):
        return _fact_leaf(context, _PROCESS, name, matcher)
    if name in ("group", "host_type"):
        return _fact_text_leaf(context, _PROCESS, clause.field, matcher)
    return Leaf(_PROCESS, [_odd(context, name, type_, matcher)], drives=name not in ("sensor_id", "os_type"))


def _odd(context: Context, name: str, type_: Type, matcher: Matcher) -> tuple[Route, Test]:
    """Return the one route of a process field that has a column or expression of its own."""
    if name in ("start", "last_update", "last_server_update"):
        return Route("p.started" if name == "start" else "p.updated"), _number(matcher)
    if name == "sensor_id":
        return Route("p.sensor_id"), _number(matcher)
    if name == "os_type":
        return Route(_OS_TYPE), _expression(context, type_, matcher)
    if name in ("ipaddr", "ipv6addr"):
        return _events("netconn", "remote_ip"), _address(matcher, 4 if name == "ipaddr" else 16)
    if name == "ipport":
        positive = isinstance(matcher, Exists)
        return _events("netconn", "remote_port"), _exists("{key} > 0") if positive else _number(matcher, indexed=False)
    if name in ("ja3", "ja3s"):
        found = "netconn e CROSS JOIN extra x ON x.id = e.extra_id"
        route = Route(f"json_extract(x.value, '$.{name}')", found, "e.process_id = p.id", owner="e.process_id")
        return route, _expression(context, type_, matcher)
    if name == "crossproc_type":
        return _keyed(_events("crossproc", "process_id"), _CROSS_TYPE), _expression(context, type_, matcher)
    kind = {"tampered": "tamper", "has_emet_event": "emetmitigation"}[name]
    told = f"EXISTS (SELECT 1 FROM message m WHERE m.process_id = p.id AND m.kind_id = {_kind(context, kind)})"  # noqa: S608
    return Route(told), PlainTest("{key}" if not isinstance(matcher, Is) or matcher.value else "NOT {key}", (), False)


def _kind(context: Context, name: str) -> int:
    row = context.db.execute("SELECT id FROM kind WHERE name = ?", (f"ingress.event.{name}",)).fetchone()
    return 0 if row is None else int(row[0])


def _guid_leaf(context: Context, clause: Clause, values: Sequence[str]) -> Leaf:
    route = Route("p.id" if clause.field.field.name == "process_id" else "p.parent_id")
    if isinstance(clause.matcher, Exists):
        return Leaf(_PROCESS, [(route, _exists("{key} > 0"))], drives=False)
    own = [bytes.fromhex(text.replace("-", "")) for text in values or [_literal(clause.matcher)]]
    guids = [mark + blob for blob in own for mark in (b"", FOREIGN_MARK, MADE_MARK)]
    return Leaf(_PROCESS, [(route, IdTest(_numbers(context, "process", "guid", guids)))])


def _hash_leaf(context: Context, clause: Clause, values: Sequence[str]) -> Leaf:
    name, matcher = clause.field.field.name, clause.matcher
    if name == "blocked_md5":
        kind = _kind(context, "processblock")
        route = Route(
            "lower(json_extract(m.body, '$.blocked_md5'))", "message m", "m.process_id = p.id", owner="m.process_id",
            where=f"m.kind_id = {kind}",
        )  # fmt: skip
        return Leaf(_PROCESS, [(route, _expression(context, Type.MD5, matcher))])
    test = _hash_test(context, clause.field.field.type, matcher, values)
    images = _ANY_IMAGE if name in ("md5", "sha256") else (name.rpartition("_")[0],)
    routes = [route for image in images for route in _IMAGES[image]]
    return Leaf(_PROCESS, [(route, test) for route in routes], drives=not isinstance(matcher, Exists))


def _hash_test(context: Context, type_: Type, matcher: Matcher, values: Sequence[str]) -> Test:
    column = "md5" if type_ is Type.MD5 else "sha256"
    if isinstance(matcher, Exists):
        return _exists(f"{{key}} IN (SELECT id FROM binary WHERE {column} IS NOT NULL)")  # noqa: S608
    blobs = [bytes.fromhex(text) for text in values or [_literal(matcher)]]
    return IdTest(_numbers(context, "binary", column, blobs))


def _numbers(context: Context, table: str, column: str, blobs: Sequence[bytes]) -> tuple[int, ...]:
    found: list[int] = []
    for first in range(0, len(blobs), 400):
        part = blobs[first : first + 400]
        sql = f"SELECT id FROM {table} WHERE {column} IN ({','.join('?' * len(part))})"  # noqa: S608 (our own names)
        found += [int(row[0]) for row in context.db.execute(sql, part)]
    return tuple(found)


def _count_leaf(context: Context, name: str, matcher: Matcher) -> Leaf:
    told = f"(SELECT max(value) FROM process_number WHERE process_id = p.id AND word_id = {context.word(name)})"  # noqa: S608
    counted = f"(SELECT count(*) FROM {name[:-6]} WHERE process_id = p.id)"  # noqa: S608 (a field's name)
    return Leaf(_PROCESS, [(Route(f"max({counted}, coalesce({told}, 0))"), _number(matcher))], drives=False)


def _fact_leaf(context: Context, home: str, name: str, matcher: Matcher) -> Leaf:
    """Return a leaf on a number that messages told."""
    owner = home.split()[0]
    route = Route(
        "n.value", f"{owner}_number n", f"n.{owner}_id = {{root}}", owner=f"n.{owner}_id",
        where=f"n.word_id = {context.word(name)}",
    )  # fmt: skip
    return Leaf(home, [(route, _number(matcher))])


def _fact_text_leaf(context: Context, home: str, ref: FieldRef, matcher: Matcher) -> Leaf:
    """Return a leaf on a text that messages told."""
    owner = home.split()[0]
    route = Route(
        "x.text_id", f"{owner}_text x", f"x.{owner}_id = {{root}}", owner=f"x.{owner}_id",
        where=f"x.word_id = {context.word(ref.field.name)}",
    )  # fmt: skip
    test = _exists("{key} > 0") if isinstance(matcher, Exists) else TextTest(context, "text", ref.field.type, matcher)
    return Leaf(home, [(route, test)])


def _binary_leaf(context: Context, clause: Clause, values: Sequence[str]) -> Leaf:
    name, type_, matcher = clause.field.field.name, clause.field.field.type, clause.matcher
    if type_ in (Type.MD5, Type.SHA256):
        test = _hash_test(context, type_, matcher, values)
        return Leaf(_BINARY, [(Route("{root}"), test)], drives=not isinstance(matcher, Exists))
    if name == "digsig_result":
        return Leaf(_BINARY, [(_record(_WORD), _expression(context, type_, matcher))])
    if name in _SIGNATURE_TEXTS:
        return Leaf(_BINARY, [(_record(f"r.{_SIGNATURE_TEXTS[name]}"), _expression(context, type_, matcher))])
    if name == "digsig_sign_time":
        return Leaf(_BINARY, [(_record("r.signed"), _number(matcher))])
    if name == "observed_filename":
        route = Route("v.path_id", "file v", "v.binary_id = {root}", owner="v.binary_id", where="v.binary_id > 0")
        seen = _exists("{key} > 0") if isinstance(matcher, Exists) else TextTest(context, "path", type_, matcher)
        return Leaf(_BINARY, [(route, seen)], drives=not isinstance(matcher, Exists))
    if name == "hostname":
        route = Route("h.host_id", "bin_host h", "h.binary_id = {root}", owner="h.binary_id")
        on = _exists("{key} > 0") if isinstance(matcher, Exists) else TextTest(context, "host", type_, matcher)
        return Leaf(_BINARY, [(route, on)], drives=not isinstance(matcher, Exists))
    if name == "host_count":
        return Leaf(_BINARY, [(Route(_HOST_COUNT), _number(matcher))], drives=False)
    if name == "server_added_timestamp":
        return _added_leaf(context, matcher)
    if name == "os_type":
        return _os_leaf(context, clause.field, matcher)
    if type_ in (Type.TEXT, Type.KEYWORD):
        return _fact_text_leaf(context, _BINARY, clause.field, matcher)
    if isinstance(matcher, Is):
        matcher = Between(int(matcher.value), int(matcher.value))
    return _fact_leaf(context, _BINARY, name, matcher)


def _record(key: str) -> Route:
    return Route(key, "binary_record r", "r.binary_id = {root}", owner="r.binary_id")


def _added_leaf(context: Context, matcher: Matcher) -> Leaf:
    """When the server took a binary in, as a document tells it; else when its record was made."""
    word = context.word("server_added_timestamp")
    told = f"(SELECT max(value) FROM binary_number WHERE binary_id = {{root}} AND word_id = {word})"  # noqa: S608
    record = "(SELECT max(recorded) FROM binary_record WHERE binary_id = {root} AND recorded > 0)"
    return Leaf(_BINARY, [(Route(f"coalesce({told}, {record})"), _number(matcher))], drives=False)


def _os_leaf(context: Context, ref: FieldRef, matcher: Matcher) -> Leaf:
    word = context.word(ref.field.name)
    told = (
        "(SELECT t.value FROM binary_text x JOIN text t ON t.id = x.text_id"  # noqa: S608 (our own number)
        f" WHERE x.binary_id = {{root}} AND x.word_id = {word})"
    )
    seen = (
        "(SELECT 'Windows' FROM file v JOIN path t ON t.id = v.path_id"
        " WHERE v.binary_id = {root} AND instr(t.value, '\\'))"
    )
    test = _expression(context, ref.field.type, matcher)
    return Leaf(_BINARY, [(Route(f"coalesce({told}, {seen})"), test)], drives=False)


def _exists(condition: str) -> PlainTest:
    return PlainTest(condition, (), selective=False)


def _expression(context: Context, type_: Type, matcher: Matcher) -> PlainTest:
    """Return a test of a text that is not in a table of its own."""
    if isinstance(matcher, Exists):
        return PlainTest("{key} IS NOT NULL")
    return PlainTest(f"{MATCH}(?, {{key}})", (context.test(type_, matcher),))


def _number(matcher: Matcher, *, indexed: bool = True) -> PlainTest:
    low: Optional[int] = None
    high: Optional[int] = None
    if isinstance(matcher, During):
        low, high = milliseconds(matcher.earliest), milliseconds(matcher.latest)
    elif isinstance(matcher, Between):
        low, high = matcher.low, matcher.high
    elif not isinstance(matcher, Exists):
        raise TypeError(f"{type(matcher).__name__} is no matcher of numbers")
    if low is not None and high is not None:
        return PlainTest("{key} BETWEEN ? AND ?", (low, high), indexed)
    if low is not None:
        return PlainTest("{key} >= ?", (low,), indexed)
    return PlainTest("{key} <= ?", (high,), indexed) if high is not None else _exists("{key} IS NOT NULL")


def _address(matcher: Matcher, size: int) -> PlainTest:
    if not isinstance(matcher, Within):
        return _exists(f"length({{key}}) = {size}")
    first, last = matcher.network.network_address.packed, matcher.network.broadcast_address.packed
    return PlainTest(f"({{key}} BETWEEN ? AND ? AND length({{key}}) = {size})", (first, last))


def _literal(matcher: Matcher) -> str:
    return matcher.value.text if isinstance(matcher, Equals) else Glob("").text
