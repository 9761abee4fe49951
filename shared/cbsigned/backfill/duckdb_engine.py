"""Both passes on one machine, by DuckDB: what does not fit into the memory it is given goes to disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbsigned.backfill.inputs import Column
from cbsigned.backfill.sql import LINE, answer_columns, distinct, joined, open_counted
from cbsigned.backfill.work import Part, Shape, Tables, Tick
from cbsigned.errors import ConfigError

if TYPE_CHECKING:
    import duckdb

__all__ = ["DuckDbEngine"]

_ROWS = 5_000_000
"""Of a part of a Parquet file: what is lost at most where a run is killed."""
_FETCHED = 10_000
_LINE_BYTES = 16 * 1024 * 1024
_BYTES_A_THREAD = 256 * 1024 * 1024
_NO_QUOTES = "QUOTE '', ESCAPE '', DELIMITER '\x01'"
_ROW_NUMBER = "file_row_number"


class _Speech:
    text = "VARCHAR"
    hint = ""

    def name(self, name: str) -> str:
        return _quoted(name)

    def json_text(self, line: str, column: Column) -> str:
        pointer = "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in column)
        return f"json_extract_string({line}, {_literal(pointer)})"

    def is_object(self, line: str) -> str:
        return f"(ltrim({line}, ' \t\r\n') LIKE '{{%' AND json_valid({line}))"

    def wrapped(self, line: str, name: str) -> str:
        return f"CAST(to_json({{{_literal(name)}: {line}}}) AS VARCHAR)"

    def shortened(self, text: str) -> str:
        return f"left({text}, -1)"


class DuckDbEngine:
    """DuckDB within this process.

    Args:
        memory_bytes: Most that DuckDB takes; Python and the tables' files come on top.
        scratch: Folder for what does not fit.
        prefix: Of the new columns.
        part_rows: Rows of a Parquet file that are written in one step.

    Raises:
        ConfigError: DuckDB is not installed.
    """

    def __init__(self, memory_bytes: int, scratch: Path, prefix: str, part_rows: int = _ROWS) -> None:
        try:
            import duckdb
        except ImportError as exc:
            raise ConfigError(
                "Back-fill on one machine needs DuckDB, and it is not installed here. Install it with: "
                "pip install 'cbsigned[duckdb]'"
            ) from exc
        self._error: type[Exception] = duckdb.Error
        self._prefix, self._part_rows, self._speech = prefix, part_rows, _Speech()
        threads = max(1, min(os.cpu_count() or 1, memory_bytes // _BYTES_A_THREAD))
        self._db: duckdb.DuckDBPyConnection = duckdb.connect(
            ":memory:", config={"threads": threads, "autoinstall_known_extensions": False}
        )
        self._run(f"SET memory_limit = '{memory_bytes // 1024} KiB'")
        self._run(f"SET temp_directory = {_literal(str(scratch))}")
        self._run("SET preserve_insertion_order = false")  # a join does not keep it anyway; this saves memory
        self._run("SET enable_progress_bar = true")
        self._run("SET enable_progress_bar_print = false")

    def close(self) -> None:
        """Close the database, which was in memory alone."""
        self._db.close()

    def columns(self, files: Sequence[Path]) -> list[Column]:
        """Return the columns of the first Parquet file, those of structs too; see `Engine`."""
        described = self._described(str(files[0]))
        return [column for name, kind in described for column in _nested((name,), kind, self._db)]

    def parts(self, files: Sequence[Path], shape: Shape) -> list[Part]:
        """Return a part for each file, and several for a large Parquet file."""
        parts: list[Part] = []
        for path in map(str, files):
            rows = self._parquet_rows(path) if shape.format == "parquet" else 0
            starts = range(0, rows, self._part_rows) if rows > self._part_rows else ()
            parts += [Part(len(parts) + n, (path,), at, at + self._part_rows - 1) for n, at in enumerate(starts)] or [
                Part(len(parts), (path,))
            ]
        return parts

    def keys(self, files: Sequence[Path], shape: Shape, kind: str, tick: Tick) -> Iterator[tuple[str, int]]:
        """Yield distinct keys with their rows; see `Engine`."""
        rows = _rows(shape, [str(path) for path in files])
        with self._watched(tick):
            found = self._run(distinct(shape, kind, self._speech, rows))
        while True:
            some = found.fetchmany(_FETCHED)
            if not some:
                return
            yield from some

    def load(self, shape: Shape, tables: Tables) -> None:
        """Read the answers into tables; see `Engine`."""
        for name, kind, paths in (("signatures", "hash", tables.signatures), ("lineages", "guid", tables.lineages)):
            self._run(f"DROP TABLE IF EXISTS {name}")
            if paths:
                files = "[" + ", ".join(_literal(str(path)) for path in paths) + "]"
                columns = ", ".join(f"{n}: '{t}'" for n, t in answer_columns(shape, kind, self._speech).items())
                self._run(
                    f"CREATE TEMP TABLE {name} AS SELECT * FROM read_json({files}, format = 'newline_delimited', "  # noqa: S608
                    f"columns = {{{columns}}}, maximum_object_size = 67108864)"
                )

    def open_rows(self, part: Part, shape: Shape) -> int:
        """Return how many rows have an open answer; see `Engine`."""
        found = self._run(open_counted(shape, self._speech, self._part(part, shape))).fetchone()
        return int(found[0]) if found else 0

    def join(self, part: Part, shape: Shape, target: Path, tick: Tick) -> int:
        """Write one part; see `Engine`."""
        statement = joined(shape, self._speech, self._part(part, shape), self._prefix)
        with self._watched(tick):
            done = self._run(f"COPY ({statement}) TO {_literal(str(target))} ({_written(part, shape)})").fetchone()
        return int(done[0]) if done else 0

    def suffix(self, part: Part, shape: Shape) -> str:
        """Return the suffix of the input."""
        return {"parquet": ".parquet", "ndjson": ".ndjson", "csv": ".csv"}[shape.format] + (
            ".gz" if _compressed(part) else ""
        )

    def _part(self, part: Part, shape: Shape) -> str:
        if part.first is None:
            return _rows(shape, part.paths)
        return (
            f"(SELECT * EXCLUDE ({_ROW_NUMBER}) FROM read_parquet({_literal(part.paths[0])}, {_ROW_NUMBER} = true) "  # noqa: S608
            f"WHERE {_ROW_NUMBER} BETWEEN {part.first} AND {part.last})"
        )

    def _parquet_rows(self, path: str) -> int:
        """Return how many rows a file has, or 0 where it cannot be read in pieces."""
        names = [name.lower() for name, _type in self._described(path)]
        found = self._run(f"SELECT count(*) FROM read_parquet({_literal(path)})").fetchone()  # noqa: S608
        return 0 if _ROW_NUMBER in names or not found else int(found[0])

    def _described(self, path: str) -> list[tuple[str, Any]]:
        rows = self._run(f"DESCRIBE SELECT * FROM read_parquet({_literal(path)})").fetchall()  # noqa: S608
        return [(name, kind) for name, kind, *_rest in rows]

    def _run(self, statement: str) -> duckdb.DuckDBPyConnection:
        try:
            return self._db.execute(statement)
        except self._error as exc:
            raise ConfigError(_words(exc)) from exc

    @contextmanager
    def _watched(self, tick: Tick) -> Iterator[None]:
        """Tell meanwhile how far the statement is."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.25):
                tick(max(0.0, self._db.query_progress()) / 100)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def _rows(shape: Shape, paths: Sequence[str]) -> str:
    """Return what reads the rows of some files."""
    files = "[" + ", ".join(map(_literal, paths)) + "]"
    if shape.format == "parquet":
        return f"(SELECT * FROM read_parquet({files}, union_by_name = {str(len(paths) > 1).lower()}))"  # noqa: S608
    if shape.format == "ndjson":
        return (
            f"(SELECT {LINE} FROM read_csv({files}, auto_detect = false, header = false, "  # noqa: S608
            f"columns = {{'{LINE}': 'VARCHAR'}}, delim = '\x01\x02\x03', quote = '', escape = '',"
            f"strict_mode = false, null_padding = true, "
            f"max_line_size = {_LINE_BYTES}) WHERE trim({LINE}, ' \t\r\n') <> '')"
        )
    if shape.dialect is None:
        raise ValueError("CSV without a dialect")
    columns = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in shape.dialect.names)
    return (
        f"(SELECT * FROM read_csv({files}, auto_detect = false, header = true, columns = {{{columns}}}, "  # noqa: S608
        f"delim = {_literal(shape.dialect.delimiter)}, quote = '\"', escape = '\"', max_line_size = {_LINE_BYTES}))"
    )


def _written(part: Part, shape: Shape) -> str:
    gzip = ", COMPRESSION gzip" if _compressed(part) else ""
    if shape.format == "parquet":
        return "FORMAT parquet, COMPRESSION zstd"
    if shape.format == "ndjson":
        return f"FORMAT csv, HEADER false, {_NO_QUOTES}{gzip}"
    delimiter = shape.dialect.delimiter if shape.dialect else ","
    return f"FORMAT csv, HEADER true, DELIMITER {_literal(delimiter)}{gzip}"


def _compressed(part: Part) -> bool:
    return part.paths[0].lower().endswith(".gz")


def _nested(column: Column, kind: Any, db: Any) -> list[Column]:
    if not str(kind).startswith("STRUCT("):
        return [column]
    children: Mapping[str, Any] = dict(db.type(str(kind)).children)
    return [path for name, inner in children.items() for path in _nested((*column, name), inner, db)]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _words(exc: Exception) -> str:
    """Return what DuckDB says, on one line and without its hints at options that are not ours."""
    text = " ".join(str(exc).split("Possible")[0].split())[:600]
    if "ut of memory" in text or "memory_limit" in text:
        return f"DuckDB ran out of the memory it may take ({text}). Raise --memory, or give --temp a larger disk."
    return f"DuckDB cannot go on: {text}"
