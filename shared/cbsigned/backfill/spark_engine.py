"""Both passes on a cluster, by Spark. Look-ups stay in the driver: one place that asks, one rate, one budget.

Executors read, join and write rows in Spark's own code. They run no Python of ours, need nothing installed, and are
not sent the token; where Spark starts them on the driver's own host they inherit its environment, as any child does.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, TypeVar

from cbsigned.backfill.inputs import Column
from cbsigned.backfill.sql import LINE, answer_columns, distinct, joined, open_counted
from cbsigned.backfill.work import Part, Shape, Tables, Tick
from cbsigned.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["SparkEngine"]

_PART_BYTES = 16 * 2**30
"""Of a part's files: what is lost at most where a run is killed."""
_BROADCAST_BYTES = 512 * 2**20
_BLANKS = " \t\r\n"
_T = TypeVar("_T")


class _Speech:
    text = "STRING"
    hint = ""

    def name(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def json_text(self, line: str, column: Column) -> str:
        strange = next((name for name in column if not re.fullmatch(r"[^'\"\\\[\]]+", name)), None)
        if strange is not None:
            raise ConfigError(f"Spark cannot read a field named {strange!r} from JSON. Use --engine duckdb.")
        return f'get_json_object({line}, "$' + "".join(f"['{name}']" for name in column) + '")'

    def is_object(self, line: str) -> str:
        starts = f"TRIM(LEADING '{_BLANKS}' FROM {line}) LIKE '{{%'"
        return f"({starts} AND coalesce(json_array_length(concat('[', {line}, ']')), 0) = 1)"

    def wrapped(self, line: str, name: str) -> str:
        return f"to_json(named_struct('{name}', {line}))"

    def shortened(self, text: str) -> str:
        return f"substring({text}, 1, length({text}) - 1)"


class SparkEngine:
    """Spark, with this process as its driver.

    Paths are those of one file system that the driver and all executors see under the same names.

    Args:
        master: URL, or None as Spark's own configuration says.
        prefix: Of the new columns.
        part_bytes: Files that are written together in one step.

    Raises:
        ConfigError: PySpark or Java is missing, or the master cannot be reached.
    """

    def __init__(self, master: Optional[str], prefix: str, part_bytes: int = _PART_BYTES) -> None:
        try:
            from pyspark.errors import PySparkException
            from pyspark.sql import SparkSession
        except ImportError as exc:
            raise ConfigError(
                "Back-fill on a cluster needs PySpark, and it is not installed here. Install it with: "
                "pip install 'cbsigned[spark]' (and a Java runtime, 17 or newer)"
            ) from exc
        from py4j.protocol import Py4JError

        self._errors: tuple[type[Exception], ...] = (PySparkException, Py4JError)
        self._prefix, self._part_bytes, self._speech = prefix, part_bytes, _Speech()
        builder = SparkSession.builder.appName("cbsigned backfill").config("spark.sql.session.timeZone", "UTC")
        # legacy files keep their days and times as they are written
        for kind in ("datetimeRebaseMode", "int96RebaseMode"):
            for way in ("Read", "Write"):
                builder = builder.config(f"spark.sql.parquet.{kind}In{way}", "CORRECTED")
        builder = builder.master(master) if master else builder
        self._spark: SparkSession = self._guarded(builder.getOrCreate)
        self._spark.sparkContext.setLogLevel("ERROR")

    def close(self) -> None:
        """End the application on the cluster."""
        self._spark.stop()

    def columns(self, files: Sequence[Path]) -> list[Column]:
        """Return the columns of the first Parquet file; see `Engine`."""
        schema = self._guarded(lambda: self._spark.read.parquet(*_uris([str(files[0])])).schema)
        return [column for field in schema.fields for column in _nested((field.name,), field.dataType)]

    def parts(self, files: Sequence[Path], shape: Shape) -> list[Part]:
        """Return parts of whole files, as many together as make up `part_bytes`."""
        groups: list[list[str]] = []
        left = 0
        for path in files:
            size = path.stat().st_size
            if not groups or size > left:
                groups.append([])
                left = self._part_bytes
            groups[-1].append(str(path))
            left -= size
        return [Part(number, tuple(group)) for number, group in enumerate(groups)]

    def keys(self, files: Sequence[Path], shape: Shape, kind: str, tick: Tick) -> Iterator[tuple[str, int]]:
        """Yield distinct keys with their rows; see `Engine`."""
        self._view(shape, list(map(str, files)))
        found = self._sql(distinct(shape, kind, self._speech, "source_rows"))
        rows = self._guarded(lambda: iter(found.toLocalIterator()))
        while True:
            row = self._guarded(lambda: next(rows, None))
            if row is None:
                return
            yield row[0], row[1]

    def load(self, shape: Shape, tables: Tables) -> None:
        """Read the answers; see `Engine`."""
        small = []
        for name, kind, paths in (("signatures", "hash", tables.signatures), ("lineages", "guid", tables.lineages)):
            if paths:
                types = answer_columns(shape, kind, self._speech)
                ddl = ", ".join(f"{self._speech.name(column)} {kind}" for column, kind in types.items())
                names = _uris(list(map(str, paths)))
                self._guarded(partial(self._table, name, ddl, names))
                small += [name[0]] if sum(path.stat().st_size for path in paths) < _BROADCAST_BYTES else []
        self._speech.hint = f"/*+ BROADCAST({', '.join(small)}) */ " if small else ""

    def open_rows(self, part: Part, shape: Shape) -> int:
        """Return how many rows have an open answer; see `Engine`."""
        self._view(shape, part.paths)
        found = self._sql(open_counted(shape, self._speech, "source_rows"))
        return int(self._guarded(lambda: found.collect()[0][0]))

    def join(self, part: Part, shape: Shape, target: Path, tick: Tick) -> int:
        """Write one part, a folder; see `Engine`."""
        from pyspark.sql import Observation
        from pyspark.sql.functions import count, lit

        self._view(shape, part.paths)
        counted = Observation()
        rows = self._sql(joined(shape, self._speech, "source_rows", self._prefix))
        observed = rows.observe(counted, count(lit(1)).alias("rows"))
        shutil.rmtree(target, ignore_errors=True)
        self._guarded(lambda: _write(observed, shape, _uris([str(target)])[0], gzip=part.paths[0].endswith(".gz")))
        return int(counted.get["rows"])

    def suffix(self, part: Part, shape: Shape) -> str:
        """Return nothing: a part is a folder."""
        return ""

    def _table(self, name: str, ddl: str, names: list[str]) -> None:
        rows = self._spark.read.schema(ddl).json(names, mode="FAILFAST", lineSep="\n")
        rows.createOrReplaceTempView(name)

    def _view(self, shape: Shape, paths: Sequence[str]) -> None:
        self._guarded(lambda: self._read(shape, _uris(paths)).createOrReplaceTempView("source_rows"))

    def _read(self, shape: Shape, names: list[str]) -> DataFrame:
        if shape.format == "parquet":
            return self._spark.read.parquet(*names, mergeSchema=len(names) > 1)
        if shape.format == "ndjson":
            lines = self._spark.read.text(names, lineSep="\n").withColumnRenamed("value", LINE)
            return lines.where(f"TRIM(BOTH '{_BLANKS}' FROM {LINE}) <> ''")
        if shape.dialect is None:
            raise ValueError("CSV without a dialect")
        ddl = ", ".join(f"{self._speech.name(name)} STRING" for name in shape.dialect.names)
        return self._spark.read.csv(
            names, schema=ddl, sep=shape.dialect.delimiter, header=True, quote='"', escape='"', multiLine=True,
            mode="FAILFAST",
        )  # fmt: skip

    def _sql(self, statement: str) -> DataFrame:
        return self._guarded(lambda: self._spark.sql(statement))

    def _guarded(self, ask: Callable[[], _T]) -> _T:
        try:
            return ask()
        except self._errors as exc:
            text = " ".join(str(exc).split())[:600]
            if "JAVA_GATEWAY" in text:
                text = "no Java runtime answers. Install one, 17 or newer, or set JAVA_HOME."
            raise ConfigError(f"Spark cannot go on: {text}") from exc


def _write(rows: DataFrame, shape: Shape, target: str, *, gzip: bool) -> None:
    packed = {"compression": "gzip"} if gzip else {}
    if shape.format == "parquet":
        rows.write.parquet(target, compression="zstd")
    elif shape.format == "ndjson":
        rows.write.text(target, lineSep="\n", **packed)
    else:
        rows.write.csv(
            target, sep=shape.dialect.delimiter if shape.dialect else ",", header=True, quote='"', escape='"',
            ignoreLeadingWhiteSpace=False, ignoreTrailingWhiteSpace=False, **packed,
        )  # fmt: skip


def _uris(paths: Sequence[str]) -> list[str]:
    """Return paths as Spark reads them: of the shared file system, whatever the cluster's default one is.

    Raises:
        ConfigError: Spark would take a name for a pattern.
    """
    strange = next((path for path in paths if re.search(r"[*?\[\]{}\\,]", path)), None)
    if strange is not None:
        raise ConfigError(f"Spark reads {strange!r} as a pattern. Rename it, or use --engine duckdb.")
    return [f"file://{path}" for path in paths]


def _nested(column: Column, kind: Any) -> list[Column]:
    fields = getattr(kind, "fields", None)
    if not fields:
        return [column]
    return [path for field in fields for path in _nested((*column, field.name), field.dataType)]
