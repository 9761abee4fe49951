"""Let Splunk's AppInspect examine the package: `python packaging/splunk/appinspect.py dist/cbsigned-0.1.0.spl`.

AppInspect ends with 0 even where checks fail, so its report is read. It needs many libraries and stands in a virtual
environment of its own, `.venvs/appinspect`, which `make appinspect` makes. Exit code 1 for more than warnings.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

PROJECT = Path(__file__).resolve().parent.parent.parent
PROGRAM = PROJECT / ".venvs" / "appinspect" / "bin" / "splunk-appinspect"
TAGS = ("cloud", "future", "private_victoria")
PASSED = ("success", "not_applicable", "skipped")


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        result: `failure`, `error`, `future_failure` or `warning`.
    """

    result: str
    check: str
    messages: tuple[str, ...]


def main() -> int:
    """Print every finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="the .spl")
    report = examined(parser.parse_args().package)
    found = list(findings(report))
    for finding in found:
        print(f"{finding.result}: {finding.check}", *finding.messages, sep="\n    ")
    print(json.dumps(report["summary"]))
    return 1 if any(finding.result != "warning" for finding in found) else 0


def examined(package: Path) -> dict[str, Any]:
    """Return AppInspect's report on a package."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "report.json"
        command = [str(PROGRAM), "inspect", str(package), "--mode", "precert", "--data-format", "json"]
        command += [part for tag in TAGS for part in ("--included-tags", tag)]
        done = subprocess.run(  # noqa: S603 (our own words)
            [*command, "--output-file", str(target)], capture_output=True, text=True, check=False
        )
        if not target.exists():
            sys.exit(f"AppInspect wrote no report on {package}: {(done.stderr or done.stdout)[-2000:]}")
        report: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
        return report


def findings(report: dict[str, Any]) -> Iterator[Finding]:
    """Yield what did not simply pass."""
    for part in report["reports"]:
        for check in (check for group in part["groups"] for check in group["checks"]):
            if check["result"] not in PASSED:
                yield Finding(check["result"], check["name"], tuple(m["message"] for m in check["messages"]))


if __name__ == "__main__":
    sys.exit(main())
