"""Run every benchmark and write what they print into benchmarks/README.md, each with its command.

    python benchmarks/run.py            about three minutes on 2 cores; some parts need ../shared/data
    python benchmarks/run.py --only enrich

Ratios are within one run on one machine; seconds are not to be compared across machines.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PARTS = {
    "enrich": ("bench_enrich.py", "What enrichment costs"),
    "joint": ("bench_joint.py", "How often the joint query of 2017 is right"),
    "ingest": ("bench_ingest.py", "How fast the store takes telemetry in"),
}
HEAD = """# Measurements

Written by `make bench`; each part names its own command. Read the ratios: both sides ran on the same machine, in the
same run. Other parts are measured apart, each in a page of its own: `make bench-store` writes `store.md`, the store
at five million processes, `make bench-splunk` `splunk.md`, the Splunk commands beside the stock SDK,
`make bench-webhook` `webhook.md`, the responder beside a bare handler, `make bench-clickhouse` `clickhouse.md`,
`make bench-shared` `shared.md`, cache and jobs on Redis and RabbitMQ, and `make bench-backfill` `backfill.md`, the
back-fill of 50 million events.
This run: {python}, SQLite {sqlite}, {cores} cores, {system}.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(PARTS), help="one part, to standard output")
    options = parser.parse_args()
    if options.only:
        print(_part(options.only))
        return 0
    head = HEAD.format(
        python=f"Python {platform.python_version()}", sqlite=sqlite3.sqlite_version, cores=os.cpu_count(),
        system=platform.system(),
    )  # fmt: skip
    text = "\n".join([head, *(_part(name) for name in PARTS)])
    (HERE / "README.md").write_text(text, encoding="utf-8")
    return 0


def _part(name: str) -> str:
    script, title = PARTS[name]
    print(f"running {script}", file=sys.stderr, flush=True)
    path = os.pathsep.join([str(HERE.parent / "tests"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE / script)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True, check=True
    )
    return f"## {title}\n\n`make bench`, or `PYTHONPATH=tests python benchmarks/{script}`\n\n{done.stdout}"


if __name__ == "__main__":
    sys.exit(main())
