"""Back-fills start programs and engines, on one Python alone; what they are made of is tested on every one."""

from __future__ import annotations

import sys

import matrix

_NEWEST = max(matrix.interpreters(), key=lambda version: int(version.split(".")[1]))
if f"{sys.version_info[0]}.{sys.version_info[1]}" != _NEWEST:
    collect_ignore = ["test_backfill.py", "test_engines.py"]
