"""Signing columns for history: `cbsigned backfill INPUT OUTPUT` over Parquet, NDJSON or CSV of any size.

The work is proportional to the distinct hashes and guids, not to the events: one pass finds the distinct values, the
source is asked for each of them once, and a second pass joins the answers to the rows. An engine (DuckDB on one
machine, Spark on many) does the two passes; the look-ups between them are the core's, made in one place.
"""

from __future__ import annotations
