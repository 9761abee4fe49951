"""What both engines share: parts of large files, and the same rows from Spark's own executors."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from cbsigned.backfill.duckdb_engine import DuckDbEngine
from cbsigned.backfill.inputs import Columns
from cbsigned.backfill.work import Part, Shape, Tables
from edr_server import EdrServer
from shared.backfill.history import (
    Row,
    backfill,
    binaries,
    environment,
    events,
    expected_statuses,
    read,
    statuses,
    summary,
    write,
)
from support import PROJECT

SPARK = PROJECT / ".venvs" / "spark" / "bin" / "cbsigned"
MASTER = "local-cluster[2,1,1500]"
SHAPE = Shape("parquet", Columns((("md5",),), None), (("cbsigned_status", "status"),))


def spark() -> str:
    if not SPARK.exists():
        missing = "Spark is not installed: make .venvs/spark/installed"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return str(SPARK)


def alike(rows: Sequence[Row]) -> Counter[tuple[tuple[str, str], ...]]:
    return Counter(tuple((name, json.dumps(value, default=str)) for name, value in row.items()) for row in rows)


def test_a_large_parquet_file_is_written_in_parts_that_hold_every_row_once(tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", events(2_500, 50))
    answers = tmp_path / "_cbsigned" / "hash.ndjson"
    answers.parent.mkdir()
    answers.write_text('{"k": "", "open": false, "status": "Unknown"}\n')
    engine = DuckDbEngine(2**28, tmp_path, "cbsigned_", part_rows=1_000)
    engine.load(SHAPE, Tables([answers]))

    parts = engine.parts([source], SHAPE)
    written = [engine.join(part, SHAPE, tmp_path / f"{part.name}.parquet", lambda _share: None) for part in parts]
    engine.close()

    assert [(part.first, part.last) for part in parts] == [(0, 999), (1_000, 1_999), (2_000, 2_999)]
    assert written == [1_000, 1_000, 500]
    (tmp_path / "in.parquet").unlink()
    assert sorted(int(row["event"]) for row in read(tmp_path)) == list(range(2_500))


def test_a_file_with_a_column_named_as_duckdbs_own_stays_whole(tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    duckdb.execute(f"COPY (SELECT i AS file_row_number, 'x' AS md5 FROM range(2000) t(i)) TO '{source}'")
    engine = DuckDbEngine(2**28, tmp_path, "cbsigned_", part_rows=1_000)

    parts = engine.parts([source], SHAPE)
    engine.close()

    assert parts == [Part(0, (str(source),))]


def by_spark(source: object, out: Path, server: EdrServer, *options: object) -> subprocess.CompletedProcess[str]:
    return backfill(
        "--engine", "spark", "--master", MASTER, *options, source, out, server=server, program=spark(),
        PYSPARK_SUBMIT_ARGS="--conf spark.sql.shuffle.partitions=4 --conf spark.ui.enabled=false pyspark-shell",
    )  # fmt: skip


def test_spark_gives_the_same_rows(tmp_path: Path) -> None:
    rows = events(3_000, 500)
    for number in range(2):
        write(tmp_path / "in" / f"{number}.parquet", rows[number::2])

    with EdrServer(binaries(450)) as server:
        here = backfill(tmp_path / "in", tmp_path / "here", server=server)
        there = by_spark(tmp_path / "in", tmp_path / "there", server)

        assert server.counts["binary"] == 2 * 3
    assert (here.returncode, there.returncode) == (0, 0), there.stderr
    assert server.token not in there.stderr
    assert alike(read(tmp_path / "there")) == alike(read(tmp_path / "here"))
    assert statuses(read(tmp_path / "there")) == expected_statuses(rows, 450)


@pytest.mark.nightly
def test_spark_goes_on_after_a_budget(tmp_path: Path) -> None:
    rows = events(3_000, 500)
    source = write(tmp_path / "in.parquet", rows)

    with EdrServer(binaries(450)) as server:
        first = by_spark(source, tmp_path / "out", server, "--budget", "1")
        waiting = read(tmp_path / "out")
        second = by_spark(source, tmp_path / "out", server)

        assert server.counts["binary"] == 3
    assert (first.returncode, second.returncode) == (1, 0), first.stderr + second.stderr
    assert len(waiting) == 3_000
    assert summary(first)["open_rows"] > 0
    assert statuses(read(tmp_path / "out")) == expected_statuses(rows, 450)


@pytest.mark.nightly
@pytest.mark.parametrize("suffix", ["ndjson", "csv", "ndjson.gz", "csv.gz"])
def test_spark_gives_the_same_rows_of_texts(tmp_path: Path, suffix: str) -> None:
    rows = events(3_000, 500)
    source = write(tmp_path / f"in.{suffix}", rows)
    if suffix == "ndjson":
        with source.open("a") as stream:
            stream.write('not json\n{}\n\n {"md5": "x"} {"a": 1}\n[1]\n{"event": "z", "deep": {"a": "}"}} \n')

    with EdrServer(binaries(450)) as server:
        here = backfill(source, tmp_path / "here", server=server)
        there = by_spark(source, tmp_path / "there", server)

    assert (here.returncode, there.returncode) == (0, 0), here.stderr + there.stderr
    found = [{name: value or None for name, value in row.items()} for row in read(tmp_path / "there")]
    assert alike(found) == alike([{n: v or None for n, v in row.items()} for row in read(tmp_path / "here")])


@pytest.mark.nightly
def test_five_million_rows_are_the_same_from_spark(tmp_path: Path) -> None:
    for number in range(4):
        duckdb.execute(
            "COPY (SELECT i AS event, md5(((i * i) % 20011)::VARCHAR) AS md5, TIMESTAMP '2026-01-01' + INTERVAL (i) "
            f"SECOND AS at, i / 7.0::DOUBLE AS score FROM range({number} * 1250000, ({number} + 1) * 1250000) t(i)) "
            f"TO '{tmp_path / f'{number}.parquet'}'"
        )

    with EdrServer(binaries(18_000)) as server:
        here = backfill(f"{tmp_path}/*.parquet", tmp_path / "here", server=server)
        there = by_spark(f"{tmp_path}/*.parquet", tmp_path / "there", server)

    assert (here.returncode, there.returncode) == (0, 0), here.stderr + there.stderr
    one, other = f"read_parquet('{tmp_path}/here/*.parquet')", f"read_parquet('{tmp_path}/there/*/*.parquet')"
    assert duckdb.execute(f"SELECT count(*), count(DISTINCT event) FROM {other}").fetchone() == (5_000_000,) * 2
    different = f"(FROM {one} EXCEPT ALL FROM {other}) UNION ALL (FROM {other} EXCEPT ALL FROM {one})"
    assert duckdb.execute(f"SELECT count(*) FROM ({different})").fetchone() == (0,)


@pytest.mark.nightly
def test_the_example_of_a_stream_writes_every_row_once_across_a_restart(tmp_path: Path) -> None:
    rows = events(900, 200)
    places = [str(tmp_path / name) for name in ("in", "out", "checkpoint")]
    python = Path(spark()).parent / "python"
    more = {"CBSIGNED_CACHE_FILE": str(tmp_path / "cache"), "PYSPARK_PYTHON": str(python)}
    found = []

    with EdrServer(binaries(150)) as server:
        for number in range(2):
            write(tmp_path / "in" / f"{number}.parquet", [{**r, "process_md5": r["md5"]} for r in rows[number::2]])
            done = subprocess.run(
                [str(python), str(PROJECT / "packaging" / "spark" / "stream.py"), *places], capture_output=True,
                text=True, timeout=300, check=False,
                env=environment(server, more),
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            found.append(read(tmp_path / "out"))

        asked = server.counts["binary"]
    assert (len(found[0]), len(found[1])) == (450, 900)
    assert statuses(found[1]) == expected_statuses(rows, 150)
    assert asked == 2
