"""Writes the sample telemetry and alerts of `cbsigned.samples`; the same every time.

Run it after a change of the story: `PYTHONPATH=shared:tests python tests/shared/make_samples.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.sample_alerts import Sample, samples
from shared.sample_story import GIT_HR, GIT_MAC, PROCMON23, PROCMON64, binaries, documents, tell

__all__ = ["files"]

_README = """# The sample telemetry

An invented day, 14 June 2017, in an invented network of nine machines: {processes} processes, {events} sensor events,
{binaries} binary documents. Nothing was recorded anywhere and no program of these names was run; the shapes are those
of Carbon Black EDR 6.1 and its event forwarder. `make demo` builds a store of `telemetry/` and enriches
`alerts.jsonl`. Everything is written by `tests/shared/make_samples.py`.

| file | what |
|---|---|
| `telemetry/events.jsonl` | forwarder messages: starts, ends, children, loads, files, registry, network, binary info |
| `telemetry/binaries.json` | an answer of `/api/v1/binary`: what the server knows of each file and its signature |
| `telemetry/processes.json` | an answer of `/api/v1/process`: roots of the Mac and of Linux, two segments, a loop |
| `alerts.jsonl` | {alerts} alerts, one a line, in the order of the table below |

## The two stories

**SDL-DEV.** `explorer.exe` runs `procmon.exe`, which writes and starts `procmon64.exe` (MD5 `{procmon64}`). That one
writes the driver `procmon23.sys` (MD5 `{procmon23}`), `System` loads it, and the file is deleted. Drop, run, load a
driver, delete: the pattern of an attack, and the ordinary way in which a signed Sysinternals tool works. What tells
them apart is the signature of each file and the lineage. (The enrichment answers for the processes and files that an
alert names: that it was `procmon64.exe` that wrote the driver stands in the telemetry, in `filemod` events, and not in
an enrichment; an alert on the driver alone has no lineage.) Note the *program name* in the signatures, `Process
Monitor` and `procmon`: free text of the signer, equal to none of the file names. Asking for a file by MD5 *and*
program name, as was done in 2017, finds none of the three.

**host001.** On a developer's Mac `git` (MD5 `{git_mac}`) runs under `Code Helper`, under the main process of Visual
Studio Code, which is called `Electron`: signed, ordinary, every few seconds. On HR-LT-017 a `git.exe` (MD5
`{git_hr}`) comes out of the mail program, is unsigned, connects to the network and runs `whoami`. A rule that looks
for `git` finds both; the enrichment tells which one to open first. (That the sensor evaluated a signature on the Mac
is invented: many servers say `(Unknown)` for such files.)

## Which alert shows what

| line | shape | status | lineage ends | what it shows |
|---|---|---|---|---|
{table}

## The machines

| sensor | host | what it is for |
|---|---|---|
| 1 | SDL-DEV | the first story |
| 2 | host001 | the second story, its harmless half |
| 3 | HR-LT-017 | the second story, the other half |
| 4 | BUILD-01 | a build agent with eight children, one for each status word |
| 5 | FIN-WS-04 | ways of not knowing: strange word, not evaluated, no record, disagreement, contradiction |
| 6 | LAB-LNX-02 | Linux: twelve ancestors, and a file name that looks like HTML |
| 7 | KIOSK-03 | orphan, unknown parent, one pid for two processes, a parent younger than its child, a loop |
| 8 | SRV-DC-01 | an ordinary server; one service has two segments |
| 9 | INTL-WS-09 | right-to-left names and a command line of 4,000 characters |
"""


def files() -> dict[str, str]:
    """Return every file of the samples: path below `samples/` → text."""
    world = tell()
    known, alerts, held = binaries(world), samples(world), documents(world)
    readme = _README.format(
        processes=len(world.programs), events=len(world.events), binaries=len(known), alerts=len(alerts),
        table="\n".join(_table_row(at, sample) for at, sample in enumerate(alerts, 1)),
        procmon64=PROCMON64, procmon23=PROCMON23, git_mac=GIT_MAC, git_hr=GIT_HR,
    )  # fmt: skip
    return {
        "telemetry/events.jsonl": _lines(world.events),
        "telemetry/binaries.json": _answer(known),
        "telemetry/processes.json": _answer(held, tagged_pids={}, filtered={}),
        "alerts.jsonl": _lines([sample.record for sample in alerts]),
        "README.md": readme,
    }


def _table_row(line: int, sample: Sample) -> str:
    status = sample.status or "not readable"
    return f"| {line} | {sample.shape} | {status} | {sample.ended or '–'} | {sample.shows} |"


def _lines(records: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _answer(results: list[dict[str, Any]], **more: Any) -> str:
    """Return a search answer, one document a line."""
    head = {"terms": [], "elapsed": 0.0231, "total_results": len(results), "start": 0, "facets": {}, "highlights": []}
    rows = ",\n".join(json.dumps(result, ensure_ascii=False) for result in results)
    return json.dumps({**head, **more})[:-1] + ', "results": [\n' + rows + "\n]}\n"


if __name__ == "__main__":
    import cbsigned.samples

    folder = Path(cbsigned.samples.__file__).parent
    for name, text in files().items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
        print(f"{name}: {len(text):,} characters")
