"""How often the joint query of 2017 is right, beside the binary record, on the real recordings.

    PYTHONPATH=tests python benchmarks/bench_joint.py

Needs `../shared/data` beside the project. Takes the three Carbon Black recordings into a store and asks for every
binary that has a record, once by its record and once by the joint query, twice over: for the process starts that were
recorded, by the name that ran; and in the query's favour, as if every file had been run under its own name.
"""

from __future__ import annotations

import re
import sqlite3
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from cbsigned import Deadline, Signature, SigningStatus, joint_statuses, signing_statuses
from cbsigned.observables import split_path
from cbsigned.store.ingest import ingest
from cbsigned.store.source import StoreSource
from support import PROJECT

FOLDERS = ("cb-response-splunk-app", "cb-event-forwarder/raw_data.tar.gz", "cb-integration")
HEADINGS = (
    "files",
    "records",
    "Signed",
    "Unsigned",
    "joint hits",
    "default right",
    "joint right",
    "joint of 2017 right",
)


def main() -> int:
    data = PROJECT.parent / "shared" / "data"
    if not data.is_dir():
        print(f"{data} is not here: nothing to measure with", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "real.db"
        ingest(path, [data / name for name in FOLDERS])
        started = _started(path)
        with StoreSource(path) as source:
            hashes = _column(path, "SELECT lower(hex(md5)) FROM binary WHERE md5 IS NOT NULL")
            records = {h: s for h, s in signing_statuses(source, hashes, Deadline(60)).items() if s.evidence}
            ran = {h: names for h, names in started.items() if h in records}
            joint = joint_statuses(source, ran, Deadline(60))
    print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
    _row("images of recorded process starts", records, set(ran), {h for h in ran if joint[h].status.signed})
    names = {h: {split_path(p) for p in s.paths} for h, s in records.items() if s.paths}
    hits = {h for h, own in names.items() if any(_has_words(records[h].program_name or "", name) for name in own)}
    executables = {h for h, own in names.items() if any(name.endswith(".exe") for name in own)}
    _row("executables, as if all had run", records, executables, hits & executables)
    _row("all named files, as if all had run", records, set(names), hits)
    return 0


def _row(label: str, records: dict[str, Signature], chosen: set[str], hits: set[str]) -> None:
    truth = {h: records[h].status for h in chosen}
    counts = Counter(truth.values())
    right = sum(truth[h] is SigningStatus.SIGNED for h in hits)
    reading = right + sum(truth[h] is SigningStatus.UNSIGNED for h in chosen - hits)
    shares = [f"{n} ({n / len(truth):.0%})" for n in (len(truth), right, reading)]
    signed, unsigned = counts[SigningStatus.SIGNED], counts[SigningStatus.UNSIGNED]
    print(f"| {' | '.join(map(str, [label, len(truth), signed, unsigned, len(hits), *shares]))} |")


def _started(path: Path) -> dict[str, set[str]]:
    """Return MD5 → names of the processes that were started from it."""
    names: dict[str, set[str]] = defaultdict(set)
    sql = (
        "SELECT lower(hex(b.md5)) || ' ' || n.value FROM process p JOIN binary b ON b.id = p.binary_id"
        " JOIN name n ON n.id = p.name_id WHERE b.md5 IS NOT NULL AND p.described & 1"
    )
    for text in _column(path, sql):
        md5, _space, name = text.partition(" ")
        names[md5].add(name)
    return names


def _column(path: Path, sql: str) -> list[str]:
    db = sqlite3.connect(path)
    try:
        return [row[0] for row in db.execute(sql)]
    finally:
        db.close()


def _has_words(text: str, name: str) -> bool:
    """Whether an EDR text field holds the words of a name one after the other (cb-edr-api §4.2)."""
    have, want = (f" {' '.join(re.findall(r'[a-z0-9]+', t.lower()))} " for t in (text, name))
    return bool(want.strip()) and want in have


if __name__ == "__main__":
    sys.exit(main())
