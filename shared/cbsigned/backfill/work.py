"""What an engine is told, and what it is asked: two passes over the rows, and nothing about signatures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Protocol

from cbsigned.backfill.inputs import Column, Columns, Dialect

__all__ = ["BAD_LINE", "NOTHING", "Engine", "Part", "Shape", "Tables", "Tick"]

NOTHING = ""
"""Key of a row whose columns are empty."""
BAD_LINE = "\x1e"
"""Key of a line that is no JSON object."""

Tick = Callable[[float], None]
"""Called now and then with the share of one query that is done, 0 to 1."""


@dataclass(frozen=True)
class Shape:
    """The rows, as both passes read them.

    Attributes:
        format: `parquet`, `ndjson` or `csv`.
        dialect: Of CSV files.
        outputs: Names of the new columns → the field of the verdict table, in order; `lineage…` come from lineages.
    """

    format: str
    columns: Columns
    outputs: tuple[tuple[str, str], ...]
    dialect: Optional[Dialect] = None

    @property
    def lineage(self) -> bool:
        """Whether there is a second table, of lineages."""
        return self.columns.guid is not None


@dataclass(frozen=True)
class Part:
    """What is written in one step, whole or not at all.

    Attributes:
        paths: Files, 1 or more.
        first, last: Rows of one Parquet file, both included; None for the whole file.
    """

    number: int
    paths: tuple[str, ...]
    first: Optional[int] = None
    last: Optional[int] = None

    @property
    def name(self) -> str:
        """`part-00017`."""
        return f"part-{self.number:05d}"


@dataclass(frozen=True)
class Tables:
    """Answers as NDJSON files, one line a key: every key of the rows is there, `NOTHING` and `BAD_LINE` too.

    Attributes:
        lineages: Empty where lineage is not asked for.
    """

    signatures: Sequence[Path]
    lineages: Sequence[Path] = ()


class Engine(Protocol):
    """Who reads and writes the rows."""

    def columns(self, files: Sequence[Path]) -> list[Column]:
        """Return the columns of Parquet files.

        Raises:
            ConfigError: They cannot be read.
        """

    def parts(self, files: Sequence[Path], shape: Shape) -> list[Part]:
        """Return the steps of the second pass, in the order of the files."""

    def keys(self, files: Sequence[Path], shape: Shape, kind: str, tick: Tick) -> Iterator[tuple[str, int]]:
        """Yield each distinct key with its number of rows, the most frequent first, other spellings next to it.

        Args:
            kind: `hash` or `guid`.
        """

    def load(self, shape: Shape, tables: Tables) -> None:
        """Take the answers that the next parts are joined with."""

    def open_rows(self, part: Part, shape: Shape) -> int:
        """Return how many rows of a part are joined with an answer that is open."""

    def join(self, part: Part, shape: Shape, target: Path, tick: Tick) -> int:
        """Write the rows of a part with the new columns to a path that is not there yet; return how many.

        Raises:
            ConfigError: The input cannot be read, or the output not written.
        """

    def suffix(self, part: Part, shape: Shape) -> str:
        """Return what the name of a part's output ends with, or nothing for a folder."""

    def close(self) -> None:
        """Let go of everything."""
