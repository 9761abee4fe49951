#!/usr/bin/env python3
"""Cortex starts this with a job's folder; everything else is in `lib/`."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

from cbsigned_playbooks.cortex import analyzer
from cbsigned_playbooks.cortex_job import main

if __name__ == "__main__":
    sys.exit(main(analyzer))
