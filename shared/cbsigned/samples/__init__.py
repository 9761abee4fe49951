"""Sample telemetry and alerts, our own invention; README.md beside this file tells what each alert shows."""

from __future__ import annotations

from pathlib import Path

__all__ = ["sample_path"]


def sample_path(name: str = ".") -> Path:
    """Return where a sample file lies, `alerts.jsonl` or `telemetry` for example; `.` is the folder of all.

    Args:
        name: File or folder below the samples.

    Raises:
        FileNotFoundError: There is no such sample; the text names those that there are.
    """
    folder = Path(__file__).resolve().parent
    path = (folder / name).resolve()
    if not (path == folder or folder in path.parents) or not path.exists() or path.suffix == ".py":
        raise FileNotFoundError(f'There is no sample "{name}". Samples are telemetry, alerts.jsonl and README.md.')
    return path
