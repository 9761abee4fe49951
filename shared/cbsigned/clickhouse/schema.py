"""Tables of a store on ClickHouse.

What a process did is on the shard of its sensor; a process's own row holds its strings, its image's hashes and what is
asked of its parent, so that most questions need no join. Binaries, files, distinct paths and hosts of binaries are
complete on every shard, so that joins never leave it. Beside each text that is searched stands what the query
language compares: folded, or cut into words by our own tokenizer.

Numbers are those of the store that was copied, 0 for none; hashes and ids hexadecimal text, lower case; times
integer milliseconds since 1970, UTC. `folded` paths begin with a backslash.

References:
    - store.md §3, §4
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SCHEMA_VERSION", "TABLES", "Table", "distributed_ddl", "local_ddl"]

SCHEMA_VERSION = 1

_WORD = "LowCardinality(String)"
_MAYBE = "LowCardinality(Nullable(String))"
_TIME = "Nullable(Int64)"


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        columns: Name → type, in the order of inserts.
        order: The sorting key.
        sharded: Each row is on one shard; else all rows are on every shard.
        extras: Indexes.
        granule: Rows that are read together, where it is not the server's default.
    """

    columns: dict[str, str]
    order: str
    sharded: bool = True
    extras: tuple[str, ...] = ()
    granule: int = 8192


_EVENT = {"process_id": "UInt64"}

TABLES: dict[str, Table] = {
    "process": Table(
        {
            "id": "UInt64", "guid": "String", "sensor_id": "Nullable(Int64)", "pid": "Nullable(Int64)",
            "started": _TIME, "reported": _TIME, "ended": _TIME, "updated": _TIME, "parent_id": "UInt64",
            "parent_guid": "String", "parent_name": _MAYBE, "parent_pid": "Nullable(Int64)",
            "parent_binary_id": "UInt64", "name": _MAYBE, "path": "Nullable(String)", "folded": "String",
            "binary_id": "UInt64", "md5": _MAYBE, "sha256": _MAYBE, "cmdline": "Nullable(String)",
            "tokens": "Array(String)", "words": "UInt32", "legacy": "Array(String)", "user": _MAYBE,
            "user_folded": _WORD, "host": _MAYBE, "host_folded": _WORD, "host_short": _WORD, "os": _MAYBE,
            "extra": "String", "described": "UInt8", "flags": "UInt8",
        }, "guid",
        extras=(
            "INDEX by_token tokens TYPE text(tokenizer = 'array')",
            "INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 1",
            "INDEX by_parent parent_id TYPE bloom_filter(0.01) GRANULARITY 1",
        ),
        granule=256,
    ),
    "modload": Table(
        {**_EVENT, "file_id": "UInt64", "at": "Int64", "extra": "String"}, "process_id, file_id, at",
    ),
    "filemod": Table(
        {
            **_EVENT, "path_id": "UInt64", "at": "Int64", "action": "Int32", "binary_id": "UInt64",
            "filetype": "Int32", "extra": "String",
        }, "process_id, path_id, at",
    ),
    "regmod": Table(
        {**_EVENT, "regpath_id": "UInt64", "at": "Int64", "action": "Int32", "extra": "String"},
        "process_id, regpath_id, at",
    ),
    "netconn": Table(
        {
            **_EVENT, "at": "Int64", "outbound": "UInt8", "protocol": "Int32", "remote_ip": "String",
            "remote_port": "Int32", "local_ip": "String", "local_port": "Int32", "domain_id": "UInt64",
            "extra": "String",
        }, "process_id, at",
    ),
    "childproc": Table(
        {
            **_EVENT, "child_id": "UInt64", "at": "Int64", "created": "UInt8", "file_id": "UInt64", "extra": "String",
        }, "process_id, child_id, at",
    ),
    "crossproc": Table(
        {
            **_EVENT, "target_id": "UInt64", "at": "Int64", "word": _WORD, "access": "Int64", "is_target": "UInt8",
            "file_id": "UInt64", "extra": "String", "target_name": _MAYBE, "target_binary_id": "UInt64",
        }, "process_id, target_id, at",
    ),
    "process_text": Table(
        {**_EVENT, "field": _WORD, "value": "String", "folded": "String", "words": "Array(String)"},
        "field, process_id",
    ),
    "process_number": Table({**_EVENT, "field": _WORD, "value": "Int64"}, "field, process_id"),
    "message": Table(
        {
            **_EVENT, "id": "UInt64", "kind": _WORD, "at": _TIME, "binary_id": "UInt64", "body": "String",
        }, "process_id, id",
    ),
    "binary": Table({"id": "UInt64", "md5": "Nullable(String)", "sha256": "Nullable(String)"}, "id", False),
    "binary_record": Table(
        {
            "binary_id": "UInt64", "kind": _WORD, "word": _WORD, "word_folded": _WORD, "code_text": "String",
            "code": "Nullable(Int64)",
            **dict.fromkeys(("publisher", "issuer", "subject", "program_name"), "Nullable(String)"),
            "signed": _TIME, "recorded": "Int64", "host_count": "Nullable(Int64)", "paths": "String",
            **{f"{name}_words": "Array(String)" for name in ("publisher", "issuer", "subject", "program_name")},
            "md5": "String", "sha256": "String",
        }, "md5, binary_id", False, granule=256,
    ),
    "binary_text": Table(
        {"binary_id": "UInt64", "field": _WORD, "value": "String", "folded": "String", "words": "Array(String)"},
        "field, binary_id", False,
    ),
    "binary_number": Table({"binary_id": "UInt64", "field": _WORD, "value": "Int64"}, "field, binary_id", False),
    "bin_host": Table(
        {
            "binary_id": "UInt64", "host_id": "UInt64", "host": _WORD, "host_folded": _WORD, "host_short": _WORD,
            "sensor_id": "Nullable(Int64)", "first": "Int64", "last": "Int64",
        }, "binary_id, host_id", False, granule=1024,
    ),
    "binary_message": Table(
        {"binary_id": "UInt64", "id": "UInt64", "kind": _WORD, "at": _TIME, "body": "String"}, "binary_id, id", False,
    ),
    "file": Table(
        {"id": "UInt64", "binary_id": "UInt64", "path": "String", "folded": "String", "name": "String"},
        "binary_id, id", False,
    ),
    "path": Table({"id": "UInt64", "value": "String", "folded": "String", "name": "String"}, "id", False),
    "regpath": Table({"id": "UInt64", "value": "String", "folded": "String"}, "id", False),
    "domain": Table({"id": "UInt64", "value": "String", "labels": "Array(String)"}, "id", False),
    "kind": Table({"name": "String", "events": "Int64"}, "name", False),
    "copied": Table(
        {"source": "String", "part": "String", "upto": "Int64", "rows": "Int64", "at": "Int64"}, "part, upto", False,
    ),
}  # fmt: skip
"""By name, in the order in which they are filled; `copied` says how far a copy has come."""


def local_ddl(name: str) -> str:
    """Return what makes a table of one node's own."""
    table = TABLES[name]
    # rows that are looked up one by one: less to unpack around each
    small = "" if table.granule > 1024 else ", min_compress_block_size = 8192, max_compress_block_size = 65536"
    inside = [f"`{column}` {type_}" for column, type_ in table.columns.items()] + list(table.extras)
    return (
        f"CREATE TABLE IF NOT EXISTS {name}_local ({', '.join(inside)}) ENGINE = MergeTree ORDER BY ({table.order}) "
        f"SETTINGS index_granularity = {table.granule}, non_replicated_deduplication_window = 1000{small}"
    )


def distributed_ddl(name: str, database: str, cluster: str) -> str:
    """Return what makes the table of all shards together.

    Args:
        database, cluster: Checked names.
    """
    engine = f"Distributed('{cluster}', '{database}', '{name}_local')"
    return f"CREATE TABLE IF NOT EXISTS {name} AS {name}_local ENGINE = {engine}"
