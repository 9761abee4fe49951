"""What is read: which files, in which format, and which of their columns have hashes and process guids."""

from __future__ import annotations

import csv
import glob
import gzip
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Optional

from cbsigned.errors import ConfigError
from cbsigned.observables import printable

__all__ = ["Column", "Columns", "Dialect", "chosen", "csv_dialect", "files_of", "format_of", "json_columns"]

Column = tuple[str, ...]
"""Where a value stands: its name, and the names within it where it is nested."""

_FORMATS = {
    ".parquet": "parquet", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "ndjson", ".csv": "csv", ".tsv": "csv",
}  # fmt: skip
_FAMILIES = (
    ("process_md5", "process_sha256", "process_hash", "process_hash_md5", "process_hash_sha256"),
    ("md5", "sha256", "hashes", "hash"),
    ("file_md5", "file_sha256", "file_hash", "filehash"),
)
"""Usual names of one file's hashes, the acting process first; the hashes of two files are never put together."""
_GUIDS = ("process_guid", "processguid", "process_unique_id")
_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 1_000
_MAX_LINE = 16 * 1024 * 1024
_DEPTH = 4


@dataclass(frozen=True)
class Columns:
    """What is looked up of a row.

    Attributes:
        hashes: Of one file, in the order in which they count.
        guid: Of the process, or None where no lineage is looked up.
    """

    hashes: tuple[Column, ...]
    guid: Optional[Column]


@dataclass(frozen=True)
class Dialect:
    """How CSV files are written."""

    delimiter: str
    names: tuple[str, ...]


def files_of(patterns: Sequence[str]) -> list[Path]:
    """Return the files that paths, folders and glob patterns name, sorted, each once.

    Raises:
        ConfigError: One of them names none.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            names = [p for p in sorted(path.rglob("*")) if p.is_file() and _visible(p.relative_to(path))]
            names = [p for p in names if _suffix(p) in _FORMATS]
        else:
            names = [path] if path.is_file() else [Path(p) for p in sorted(glob.glob(pattern, recursive=True))]
            names = [p for p in names if p.is_file()]
        if not names:
            raise ConfigError(f"INPUT {printable(pattern, 200)} names no file. Check the path; quote a glob pattern.")
        found.update((p.resolve(), None) for p in names)
    return list(found)


def format_of(files: Sequence[Path]) -> str:
    """Return `parquet`, `ndjson` or `csv`, by the names of the files.

    Raises:
        ConfigError: A name says nothing, or they are of two formats.
    """
    formats = {_suffix(path): path for path in files}
    strange = next((path for suffix, path in formats.items() if suffix not in _FORMATS), None)
    if strange is not None or (any(path.suffix == ".gz" and _suffix(path) == ".parquet" for path in files)):
        raise ConfigError(
            f"{printable(str(strange or files[0]), 200)} is not read: expected names ending in .parquet, .ndjson, "
            ".jsonl, .json (one object a line), .csv or .tsv, the texts also with .gz."
        )
    found = {_FORMATS[suffix] for suffix in formats}
    if len(found) > 1:
        raise ConfigError(f"INPUT has {' and '.join(sorted(found))} files. Back-fill them one format at a time.")
    return found.pop()


def csv_dialect(files: Iterable[Path]) -> Dialect:
    """Return how CSV files with the same header line are written.

    Raises:
        ConfigError: A header differs from the first, has a name twice, or is not there.
    """
    dialect: Optional[Dialect] = None
    for path in files:
        lines = _lines(path, 1)
        if not lines or not lines[0].strip():
            raise ConfigError(f"{path} has no header line. Write the names of the columns into the first line.")
        delimiter = dialect.delimiter if dialect else max(_DELIMITERS, key=lines[0].count)
        names = tuple(next(csv.reader([lines[0]], delimiter=delimiter)))
        if len({name.lower() for name in names}) != len(names) or "" in names:
            raise ConfigError(f"{path} has a column without a name, or two of one name. Name each of them once.")
        dialect = dialect or Dialect(delimiter, names)
        if names != dialect.names:
            raise ConfigError(f"{path} has another header line than the first file. Back-fill it by itself.")
    if dialect is None:
        raise ConfigError("INPUT has no CSV file.")
    return dialect


def json_columns(files: Iterable[Path]) -> list[Column]:
    """Return the fields in the first lines of the first files of NDJSON, those of nested objects too."""
    found: dict[Column, None] = {}
    for path in islice(files, 3):
        for line in _lines(path, _SAMPLE_LINES):
            try:
                record = json.loads(line)
            except ValueError:  # such a line is said to be malformed where it is joined
                continue
            found.update((column, None) for column in _paths(record, ()))
    return list(found)


def chosen(
    columns: Sequence[Column], hashes: Sequence[str], guid: Optional[str], *, lineage: bool, sampled: bool = False
) -> Columns:
    """Return the columns to look up: the named ones, else those with usual names.

    Args:
        columns: All there are.
        hashes, guid: Names from the user; `process.hash.md5` may be one name, or lead into nested objects.
        lineage: Whether a guid is looked for.
        sampled: There may be more columns than were seen.

    Raises:
        ConfigError: There is none, or not the named one.
    """
    named = tuple(_named(name, columns, sampled=sampled) for name in hashes)
    flat: dict[str, Column] = {}
    for column in columns:
        flat.setdefault(_flat(column), column)
    families = [tuple(flat[name] for name in family if name in flat) for family in _FAMILIES]
    found = named or next((family for family in families if family), ())
    guids = [_named(guid, columns, sampled=sampled)] if guid else [flat[name] for name in _GUIDS if name in flat]
    key = guids[0] if guids and lineage else None
    if not found and key is None:
        raise ConfigError(
            f"INPUT has no column with a usual name of a hash ({_some(columns)}). Name it with --hash; "
            "or the one with the process guid with --guid."
        )
    return Columns(found, key)


def _named(name: str, columns: Sequence[Column], *, sampled: bool) -> Column:
    nested = tuple(name.split("."))
    for column in ((name,), nested):
        if column in columns:
            return column
    if sampled and all(nested):
        return nested
    raise ConfigError(f"INPUT has no column {printable(name, 80)}. It has {_some(columns)}.")


def _some(columns: Sequence[Column]) -> str:
    names = ", ".join(printable(".".join(column), 40) for column in columns[:30])
    return f"{names} and {len(columns) - 30} more" if len(columns) > 30 else names or "none"


def _flat(column: Column) -> str:
    return "_".join(column).strip().lower().replace(".", "_").replace(" ", "_").replace("-", "_")


def _paths(value: Any, above: Column) -> list[Column]:
    if not isinstance(value, dict):
        return [above] if above else []
    if len(above) >= _DEPTH:
        return []
    return [path for name, inner in value.items() for path in _paths(inner, (*above, name))]


def _lines(path: Path, most: int) -> list[str]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as raw:
            stream = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="\n")
            return [line for line in (stream.readline(_MAX_LINE) for _number in range(most)) if line]
    except (EOFError, gzip.BadGzipFile) as exc:
        raise ConfigError(f"{path} cannot be read: it is not whole gzip data ({exc}).") from exc


def _suffix(path: Path) -> str:
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return Path(name).suffix.lower()


def _visible(path: Path) -> bool:
    return not any(part[0] in "._" for part in path.parts)
