"""Benchmarks: this project and the usual alternatives, measured in turn in one run.

`make bench` and `make bench-gpu` run them and write docs/performance.md; see `__main__` for single
ones. A measured time is never an assertion of a test.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# Helpers of the tests; started as `python -m tests.benchmarks`, only the root is on the path.
if str(ROOT / "tests") not in sys.path:
    sys.path.append(str(ROOT / "tests"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")
