"""What a back-fill costs beside the join alone; prints Markdown.

    python benchmarks/bench_backfill.py                   50,000,000 events, ten minutes on 2 cores, 15 GB of disk
    python benchmarks/bench_backfill.py --small           seconds, for trying the benchmark itself

`cbsigned backfill` runs as a process of its own on Parquet files, its memory bound to 1 GB for DuckDB. *The join alone*
is the same statement on the same files with the verdict table there, in a process of its own too. Both run in turns,
because others may use the machine. Whatever takes memory is a process of its own: Linux counts the most that a parent
ever had as its children's peak. Exit code 1 where a bound is missed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT / name) for name in ("tests", "shared")]

import duckdb  # noqa: E402
from reporting import bold, parser_of, written  # noqa: E402

from cbsigned.backfill.answers import SIGNING  # noqa: E402
from cbsigned.backfill.duckdb_engine import DuckDbEngine  # noqa: E402
from cbsigned.backfill.inputs import Columns  # noqa: E402
from cbsigned.backfill.work import Shape, Tables  # noqa: E402

HEAD = """# Back-fill of history beside the join alone

Written by `make bench-backfill` (`{command}`). This run: Python {python}, DuckDB {duckdb}, {cores} cores,
{system}; others may have been using the machine: read the ratios. {events:,} generated
events in {files} Parquet files ({size:.1f} GB), {hashes:,}
distinct hashes, some of them very frequent. Two bounds of issue 7 are here: at least half the speed
of the join alone, and less than 2 GB of memory for the whole process.
"""
MEMORY_BYTES = 2**30
PROGRAM = [sys.executable, "-m", "cbsigned.cli"]
STEP = [sys.executable, __file__, "--step"]
ROUNDS = 3
STATUSES = ("Signed", "Signed", "Signed", "Unsigned", "Expired", "Bad Signature")
SHAPE = Shape(
    "parquet", Columns((("process_md5",),), None), tuple((f"cbsigned_{name}", name) for name in SIGNING)
)  # fmt: skip


@dataclass(frozen=True)
class Took:
    """One process: how long, of its own and the system's work for it, and the most memory it had."""

    seconds: float
    cpu_s: float
    peak_mb: float
    output: str


def md5_of(number: int) -> str:
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


def make_events(folder: Path, events: int, hashes: int, files: int) -> None:
    """Write events in which every hash occurs, and low numbers far more often."""
    folder.mkdir()
    db = duckdb.connect(config={"memory_limit": "2GB", "temp_directory": str(folder.parent / "spill")})
    db.execute("SELECT setseed(0.5)")
    each = events // files
    for number in range(files):
        first = number * each
        which = f"CASE WHEN i < {hashes} THEN i ELSE (pow(random(), 3) * {hashes})::BIGINT % {hashes} END"
        db.execute(
            f"COPY (SELECT i AS event, TIMESTAMP '2026-01-01' + INTERVAL (i) MILLISECOND AS at, 'host-' || (i % 5000) "
            f"AS host, (i % 30000)::INTEGER AS pid, md5(({which})::VARCHAR) AS process_md5, "
            f"'c:\\windows\\system32\\tool' || (i % 900) || '.exe' AS path FROM range({first}, {first + each}) t(i)) "
            f"TO '{folder / f'{number:03d}.parquet'}' (COMPRESSION zstd)"
        )
    db.close()


def make_documents(path: Path, hashes: int) -> None:
    """Write a binary document for nine of ten hashes."""
    documents = [
        {
            "md5": md5_of(n).upper(),
            "digsig_result": STATUSES[n % len(STATUSES)],
            "digsig_publisher": f"Publisher {n % 500}",
            "digsig_issuer": f"Issuer {n % 20}",
            "digsig_sign_time": "2020-03-04T05:06:07Z",
            "server_added_timestamp": "2020-04-01T00:00:00Z",
            "observed_filename": [f"c:\\windows\\system32\\tool{n}.exe"],
        }
        for n in range(hashes)
        if n % 10
    ]
    path.write_text(json.dumps(documents), encoding="utf-8")


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CBSIGNED_")}
    return {**kept, "PYTHONPATH": str(PROJECT / "shared"), "XDG_CONFIG_HOME": "/nowhere", **more}


def run(command: Sequence[object], **more: str) -> Took:
    """Run a process to its end and return what it took."""
    began = time.perf_counter()
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environment(**more)) as child:
        output = child.stdout.read() if child.stdout else ""
        _pid, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command} ended with {child.returncode}")
    return Took(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output)


def join_alone(answers: Path, events: Path, target: Path) -> None:
    """Join and do nothing else."""
    scratch = target / "scratch"
    scratch.mkdir(parents=True)
    engine = DuckDbEngine(MEMORY_BYTES, scratch, "cbsigned_")
    engine.load(SHAPE, Tables(sorted(answers.glob("hash-*.ndjson"))))
    for part in engine.parts(sorted(events.iterdir()), SHAPE):
        engine.join(part, SHAPE, target / f"{part.name}.parquet", lambda _share: None)
    engine.close()


def killed(command: Sequence[object], done: Path, parts: int, **more: str) -> float:
    """Run a back-fill, end it with kill -9 when half of its parts are there, and return the seconds until then."""
    began = time.perf_counter()
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, env=environment(**more)) as child:
        while not done.is_dir() or len(list(done.iterdir())) < parts // 2:
            if child.poll() is not None:
                raise SystemExit("the back-fill ended before it could be killed")
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    return time.perf_counter() - began


def content(folder: Path) -> tuple[int, ...]:
    """Return what `--step content` prints; see `told`."""
    return tuple(json.loads(run([*STEP, "content", folder]).output))


def told(folder: Path) -> tuple[int, ...]:
    """Return numbers that tell whether the rows are the same, in any order, each once."""
    duckdb.execute(f"SET memory_limit = '3GB'; SET temp_directory = '{folder.parent}/spill'")
    found = duckdb.execute(
        "SELECT count(*), count(DISTINCT event), sum(hash(event, process_md5, cbsigned_status, cbsigned_why)), "
        f"count(cbsigned_publisher) FROM read_parquet('{folder}/*.parquet')"
    ).fetchone()
    return tuple(map(int, found or ()))


def report(folder: Path, command: str, *, small: bool) -> str:
    events, hashes, files = (500_000, 5_000, 4) if small else (50_000_000, 200_000, 10)
    run([*STEP, "events", folder / "events", events, hashes, files])
    run([*STEP, "documents", folder / "binaries.json", hashes])
    store = folder / "lab.db"
    run([*PROGRAM, "store", "ingest", "--store", store, folder / "binaries.json"])
    size = sum(path.stat().st_size for path in (folder / "events").iterdir()) / 1e9

    def backfill(out: Path) -> list[object]:
        return [*PROGRAM, "backfill", "--store", store, folder / "events", out]

    whole, alone, load = [], [], []
    expected: tuple[int, ...] = ()
    for number in range(ROUNDS):
        out, join = folder / f"whole{number}", folder / f"alone{number}"
        load.append(os.getloadavg()[0])
        whole.append(run(backfill(out)))
        load.append(os.getloadavg()[0])
        alone.append(run([*STEP, "join", out / "_cbsigned" / "answers", folder / "events", join]))
        expected = content(out)
        if content(join) != expected:
            raise SystemExit("the join alone gave other rows")
        subprocess.run(["rm", "-r", str(out), str(join)], check=True)
    summary = json.loads(whole[0].output)
    first = killed(backfill(folder / "half"), folder / "half" / "_cbsigned" / "done", files)
    second = run(backfill(folder / "half"))
    same = content(folder / "half") == expected
    subprocess.run(["rm", "-r", str(folder / "half")], check=True)
    edr = by_edr(folder, hashes)
    peak = max(took.peak_mb for took in [*whole, second])
    best, done = min(took.seconds for took in alone), min(took.seconds for took in whole)
    ratio = best / done
    work = min(took.cpu_s for took in alone) / min(took.cpu_s for took in whole)
    text = HEAD.format(
        command=command, python=platform.python_version(), duckdb=duckdb.__version__, cores=os.cpu_count(),
        system=platform.system(), events=events, files=files, size=size, hashes=hashes,
    )  # fmt: skip
    rows = [
        "",
        "| | seconds, each round | CPU seconds, each round | events a second, best | peak memory, MB |",
        "|---|---|---|---|---|",
        f"| back-fill from a store: distinct, look-ups, join | {each(whole)} | {cpu(whole)} | {events / done:,.0f} | "
        f"{bold(round(peak), small or peak < 2048)} |",
        f"| the join alone | {each(alone)} | {cpu(alone)} | {events / best:,.0f} | "
        f"{max(took.peak_mb for took in alone):.0f} |",
        f"| killed with kill -9 at half of the parts, and the same command again | {first:.1f} + {second.seconds:.1f} "
        f"| | | {second.peak_mb:.0f} |",
        "",
        f"Speed of the back-fill, of that of the join alone, best rounds: {bold(ratio, small or ratio >= 0.5)} (at "
        f"least 0.5); by CPU seconds, which others disturb less, {work:.2f}. "
        "The machine's load at the beginning of each run, in turns: "
        f"{', '.join(f'{value:.1f}' for value in load)}. The back-fill does the join too, so more than 1 would be the "
        "load's doing.",
        "",
        f"{expected[0]:,} rows came out, {expected[1]:,} different events. After the kill: "
        f"{'the same rows, each once' if same else 'other rows (missed)'}. Statuses: "
        + ", ".join(f"{count:,} {name}" for name, count in summary["statuses"].items())
        + ".",
        "",
        edr,
    ]
    return text + "\n".join(rows) + "\n"


def by_edr(folder: Path, hashes: int) -> str:
    """Return a sentence on the look-ups over REST: the EDR stand-in as a process, the first file's events."""
    begin = [sys.executable, PROJECT / "tests" / "edr_server.py", "--binaries", folder / "binaries.json"]
    with subprocess.Popen(
        list(map(str, [*begin, "--latency", "0.05"])), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        url = server.stdout.readline().strip() if server.stdout else ""
        from edr_server import TOKEN

        more = {"CBSIGNED_EDR_URL": url, "CBSIGNED_EDR_TOKEN": TOKEN}
        source = folder / "events" / "000.parquet"
        command = [*PROGRAM, "backfill", "--rate", "50", "--output", "json", source, folder / "edr"]
        took = run(command, **more)
        told = json.loads(run([*command[:-1], folder / "edr"], **more).output)
        output, _errors = server.communicate()
    counts = json.loads(output)["counts"]
    requests = json.loads(took.output)["requests"]
    subprocess.run(["rm", "-r", str(folder / "edr")], check=True)
    return (
        "From an EDR server over REST (the stand-in, 50 ms for each answer, `--rate 50`), the "
        f"{told['events']:,} events of the first file: {took.seconds:.1f} s, {counts['binary']:,} requests for "
        f"{hashes:,} hashes; the command counts {requests:,}."
        f" At the default rate of 5 a second the look-ups take {requests / 5:.0f} s, whatever the events."
    )


def each(rounds: Sequence[Took]) -> str:
    return ", ".join(f"{took.seconds:.1f}" for took in rounds)


def cpu(rounds: Sequence[Took]) -> str:
    return ", ".join(f"{took.cpu_s:.1f}" for took in rounds)


def step(name: str, folder: str, *more: str) -> int:
    """Do one of the things that take memory."""
    if name == "join":
        join_alone(Path(folder), *map(Path, more))
    elif name == "events":
        make_events(Path(folder), *map(int, more))
    elif name == "documents":
        make_documents(Path(folder), int(more[0]))
    else:
        print(json.dumps(told(Path(folder))))
    return 0


def main() -> int:
    if sys.argv[1:2] == ["--step"]:
        return step(*sys.argv[2:])
    options = parser_of(__doc__).parse_args()
    command = "python benchmarks/bench_backfill.py" + (" --small" if options.small else "")
    return written(lambda folder: report(folder, command, small=options.small), options.output)


if __name__ == "__main__":
    sys.exit(main())
