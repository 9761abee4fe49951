"""What the Splunk commands cost beside the stock SDK and a bare interpreter; prints Markdown.

    python benchmarks/bench_splunk.py                     three minutes on 2 cores
    python benchmarks/bench_splunk.py --small             seconds, for trying the benchmark itself

The packaged command, unpacked from the built `.spl`, is started by a stand-in splunkd (`tests/splunkd`) and spoken to
in lock step. Beside it runs `tests/splunkd/sdk_command.py`: the same fields from the same handler, on splunklib's
StreamingCommand. Both sides of a row ran in turns in the same run; the best of each counts. Exit code 1 where a bound
is missed.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT / name) for name in ("tests", "shared", "connectors")]

from reporting import bold, parser_of, written  # noqa: E402

from connectors.splunk.hostile import binaries, md5_of  # noqa: E402
from edr_server import TOKEN, EdrServer  # noqa: E402
from splunkd.command import Command  # noqa: E402
from splunkd.frames import Table, body_of  # noqa: E402
from splunkd.instance import PYTHON, Splunkd  # noqa: E402
from splunkd.packages import build, unpack  # noqa: E402
from splunkd.rest import User  # noqa: E402

HEAD = """# The Splunk commands beside the stock SDK

Written by `make bench-splunk` (`{command}`). This run: Python {python}, {cores} cores, {system}. Both
sides of a row ran in turns in one run, the best of each counts, and others may have been using the machine: read the
ratios. The SDK's side is `tests/splunkd/sdk_command.py`; *CPU* is that of the command's own process.
"""
KEYS = (b"process_md5", b"md5", b"process_hash")
FILES = 1000
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    chunks: tuple[int, int, int]
    rounds: int
    starts: int
    memory_rows: int
    cold: tuple[int, int]


FULL = Size(chunks=(160, 40, 20), rounds=5, starts=25, memory_rows=50_000, cold=(1_000_000, 30_000))
SMALL = Size(chunks=(8, 4, 2), rounds=2, starts=4, memory_rows=5_000, cold=(60_000, 3_000))


def main() -> int:
    options = parser_of(__doc__).parse_args()
    size = SMALL if options.small else FULL
    return written(lambda folder: report(folder, size, options.small), options.output)


def report(folder: Path, size: Size, small: bool) -> str:
    """Return everything that is measured, as Markdown."""
    app = unpack(build(folder / "dist"), folder)
    head = HEAD.format(
        command="benchmarks/bench_splunk.py" + (" --small" if small else ""), python=platform.python_version(),
        cores=os.cpu_count(), system=platform.system(),
    )  # fmt: skip
    with track(folder / "warm", app, FILES) as (runners, _edr):
        text = [head, *rates(runners, size), *starts(runners, size.starts), *memory(runners, size.memory_rows)]
    return "\n".join([*text, *cold(folder / "cold", app, *size.cold), ""])


class Runners:
    """Starts the two commands in one splunkd."""

    def __init__(self, splunkd: Splunkd, user: User) -> None:
        self.splunkd, self.user = splunkd, user
        sdk = splunkd.app / "bin" / "sdk_cbsigned.py"
        shutil.copy(PROJECT / "tests" / "splunkd" / "sdk_command.py", sdk)
        self.scripts = {"cbsigned": None, "SDK": sdk}

    @contextmanager
    def running(self, name: str) -> Iterator[Command]:
        """Start a command and have its getinfo answered."""
        with self.splunkd.command("cbsigned", maxwait_s=300, script=self.scripts[name]) as command:
            info = self.splunkd.searchinfo("cbsigned", [], self.user)
            command.ask({
                "action": "getinfo", "preview": False, "streaming_command_will_restart": False, "searchinfo": info,
            })  # fmt: skip
            yield command


@contextmanager
def track(folder: Path, app: Path, files: int) -> Iterator[tuple[Runners, EdrServer]]:
    """An EDR server that knows `files` files, and a splunkd whose app asks it."""
    folder.mkdir()
    with EdrServer(binaries=binaries(files), token=TOKEN) as edr, Splunkd(folder, app) as splunkd:
        splunkd.configure(TOKEN, edr={"url": edr.url})
        yield Runners(splunkd, splunkd.user("analyst", roles=("cbsigned_user",))), edr


def rates(runners: Runners, size: Size) -> list[str]:
    """Measure events per second with a warm cache, in three widths of events."""
    lines = [
        "## Events per second, warm cache", "",
        "| what splunkd sends, chunks of 2,500 | SDK | cbsigned | × | at least | CPU µs per event: SDK | cbsigned |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    widths = (("key field only", 0, 6), ("15 fields", 15, 4), ("40 fields", 40, 0))
    for (title, fields, floor), chunks in zip(widths, size.chunks):
        bodies = [body_of(events(2500, fields, number)) for number in range(chunks)]
        best = {name: (float("inf"), float("inf")) for name in runners.scripts}
        for _ in range(size.rounds):
            for name in best:
                wall_s, used_s = timed(runners, name, bodies)
                best[name] = min(best[name][0], wall_s), min(best[name][1], used_s)
        count = 2500 * chunks
        (sdk_s, sdk_cpu_s), (own_s, own_cpu_s) = best["SDK"], best["cbsigned"]
        lines.append(
            f"| {title} ({len(bodies[0]) // 2500} bytes) | {count / sdk_s:,.0f} | {count / own_s:,.0f} "
            f"| {bold(sdk_s / own_s, sdk_s / own_s >= floor)} | {floor or ''} "
            f"| {1e6 * sdk_cpu_s / count:.2f} | {1e6 * own_cpu_s / count:.2f} |"
        )
    return [*lines, ""]


def timed(runners: Runners, name: str, bodies: list[bytes]) -> tuple[float, float]:
    """Return wall and processor seconds for all chunks, after one that has every hash."""
    with runners.running(name) as command:
        reply, first = command.ask({"action": "execute", "finished": False}, bodies[0])
        assert b"Expired" in first, reply  # a command without answers would be quick
        began, used = time.perf_counter(), cpu_s(command)
        for body in bodies:
            command.ask({"action": "execute", "finished": False}, body)
        found = time.perf_counter() - began, cpu_s(command) - used
        command.ask({"action": "execute", "finished": True}, bodies[0].partition(b"\n")[0] + b"\n")
        command.finish()
    return found


def starts(runners: Runners, times: int) -> list[str]:
    """Measure the time from the start of the process to the answer to getinfo."""
    bare, best = float("inf"), {name: float("inf") for name in runners.scripts}
    for _ in range(times):
        bare = min(bare, bare_s(runners.splunkd.env))
        for name in best:
            began = time.perf_counter()
            with runners.running(name):
                best[name] = min(best[name], time.perf_counter() - began)
    lines = ["## Start to the answer to getinfo", "", "| | ms | × bare | at most |", "|---|---|---|---|"]
    lines.append(f"| bare interpreter, to a byte that it writes | {1e3 * bare:.1f} | 1.00 | |")
    ratio = best["cbsigned"] / bare
    lines.append(f"| cbsigned | {1e3 * best['cbsigned']:.1f} | {bold(ratio, ratio <= 1.8)} | 1.8 |")
    lines.append(f"| SDK | {1e3 * best['SDK']:.1f} | {best['SDK'] / bare:.2f} | |")
    return [*lines, ""]


def bare_s(env: dict[str, str]) -> float:
    """Return the seconds from the start of an interpreter to the first thing that it does."""
    began = time.perf_counter()
    argv = [PYTHON, "-c", "import os; os.write(1, b'x')"]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        return time.perf_counter() - began


def memory(runners: Runners, rows: int) -> list[str]:
    """Measure the peak memory that one large chunk costs."""
    body = body_of(events(rows, 40, 0))
    peaks = {}
    for name in runners.scripts:
        with runners.running(name) as command:
            command.ask({"action": "execute", "finished": True}, body)
            peaks[name] = command.peak_kib()
            command.finish()
    ratio = peaks["cbsigned"] / peaks["SDK"]
    lines = [
        f"## Peak memory of a chunk of {rows:,} rows with 40 fields ({len(body) / 1e6:.0f} MB)", "",
        "| | MB | × SDK | at most |", "|---|---|---|---|", f"| SDK | {peaks['SDK'] / 1024:.0f} | 1.00 | |",
        f"| cbsigned | {peaks['cbsigned'] / 1024:.0f} | {bold(ratio, ratio <= 0.5)} | 0.5 |",
    ]  # fmt: skip
    return [*lines, ""]


def cold(folder: Path, app: Path, rows: int, files: int) -> list[str]:
    """Count the EDR's requests for events whose hashes nobody has asked for yet, then for the same again."""
    counts, seconds = [], []
    chunks = [
        Table((*KEYS, b"_chunked_idx"), [
            (b"", md5_of(number * files // rows).encode(), b"", b"%d" % (number - start))
            for number in range(start, min(rows, start + 12_500))
        ])
        for start in range(0, rows, 12_500)
    ]  # fmt: skip
    with track(folder, app, files) as (runners, edr):
        for _ in range(2):
            began = time.perf_counter()
            with runners.running("cbsigned") as command:
                for table in chunks:
                    reply, _body = command.ask({"action": "execute", "finished": False}, body_of(table))
                    assert "inspector" not in reply, reply
                command.ask({"action": "execute", "finished": True}, body_of(Table(chunks[0].names, [])))
                command.finish()
            counts.append(sum(edr.counts.values()))
            seconds.append(time.perf_counter() - began)
    most = files // 200 + len(chunks)
    return [
        f"## Requests to the EDR for {rows:,} events with {files:,} distinct hashes in {len(chunks)} chunks", "",
        "| | requests | at most | s |", "|---|---|---|---|",
        f"| cold | {bold(counts[0], counts[0] <= most)} | {most} | {seconds[0]:.1f} |",
        f"| the same search again | {counts[1] - counts[0]} | 0 | {seconds[1]:.1f} |",
        f"| one request per event | {rows:,} | | |", f"| one request per distinct hash | {files:,} | | |",
    ]  # fmt: skip


def events(rows: int, fields: int, chunk: int) -> Table:
    """Return events as splunkd sends them: the key fields and the row's number, or `fields` fields with a raw event."""
    keys = [md5_of((number + 7 * chunk) % FILES).encode() for number in range(rows)]
    if not fields:
        return Table((*KEYS, b"_chunked_idx"), [(b"", key, b"", b"%d" % n) for n, key in enumerate(keys)])
    names = (b"_raw", b"_time", b"md5", b"host", *(b"field_%d" % n for n in range(fields - 4)))
    rest = tuple(b"value-%d of %d" % (n, chunk) for n in range(fields - 4))
    raw = b'{"type":"ingress.event.procstart","cmdline":"C:\\\\Windows\\\\svchost.exe -k %d","md5":"%s","pad":"%s"}'
    return Table(names, [
        (raw % (n, key, b"x" * 380), b"1497431643.%03d" % (n % 1000), key, b"host-%d" % (n % 50), *rest)
        for n, key in enumerate(keys)
    ])  # fmt: skip


def cpu_s(command: Command) -> float:
    """Return the processor seconds that a running command has used."""
    words = Path(f"/proc/{command.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) * _TICK_S


if __name__ == "__main__":
    sys.exit(main())
