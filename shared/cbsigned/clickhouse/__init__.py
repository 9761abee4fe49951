"""Telemetry on ClickHouse: the questions of the embedded store, asked of one server or of several shards.

Users run the ordinary server; it is spoken to in plain HTTP, with bound parameters and no driver. A file is brought
there with `cbsigned store copy FILE clickhouse://HOST:8123/DATABASE`.

References:
    - store.md §3 (what was measured); https://clickhouse.com/docs/interfaces/http
"""
