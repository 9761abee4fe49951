"""Jobs as Cortex starts them: a folder with the input, a program, a report."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from cbsigned_playbooks.cortex import analyzer
from cbsigned_playbooks.cortex_job import Job, run
from support import PROJECT

PACKAGING = PROJECT / "packaging" / "cortex"
BUILD = PACKAGING / "build.py"


@dataclass(frozen=True)
class Done:
    """What came of one job.

    Attributes:
        printed: What the program wrote to standard output and error; Cortex logs it.
    """

    code: int
    report: Any
    printed: str = ""


def given(service: str, data_type: str, data: Any, config: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return a job as Cortex writes it: every setting is there, null where the administrator left it empty."""
    settings = {
        "service": service, "check_tlp": True, "max_tlp": 2, "check_pap": True, "max_pap": 2, "jobCache": 10,
        "jobTimeout": 30, "auto_extract_artifacts": True, "proxy_http": None, "proxy_https": None, "cacerts": None,
        "ca_file": "", "tls_hostname": None, "verify_tls": True, "timeout_s": 30, **config,
    }  # fmt: skip
    base = {"dataType": data_type, "data": data, "tlp": 2, "pap": 2, "message": "", "parameters": {}}
    return {**base, "config": settings, **more}


def job_folder(folder: Path, job: Any, files: Optional[Mapping[str, bytes]] = None) -> Path:
    """Make a job's folder, as Cortex does."""
    (folder / "input").mkdir(parents=True)
    (folder / "output").mkdir()
    (folder / "input" / "input.json").write_text(job if isinstance(job, str) else json.dumps(job), "utf-8")
    for name, content in (files or {}).items():
        (folder / "input" / name).write_bytes(content)
    return folder


def done_here(folder: Path, job: Any, work: Callable[[Job], Any] = analyzer, **files: bytes) -> Done:
    """Do a job in this process."""
    out = io.StringIO()
    code = run(work, [str(job_folder(folder, job, files))], io.StringIO(), out)
    assert out.getvalue() == ""
    return Done(code, json.loads((folder / "output" / "output.json").read_text("utf-8")))


def done_by(program: Path, folder: Path, job: Any) -> Done:
    """Do a job as Cortex does: the program is started in the folder above its own, with the job's as its argument."""
    job_folder(folder, job)
    done = subprocess.run(
        [sys.executable, str(program), str(folder)], cwd=program.parent.parent, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    report = folder / "output" / "output.json"
    return Done(
        done.returncode, json.loads(report.read_text("utf-8")) if report.exists() else None, done.stdout + done.stderr
    )
