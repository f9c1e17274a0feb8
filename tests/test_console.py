"""Lines on the terminal: beside progress bars, and for options that do not exist."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

_BAR = """
from factory.console import log, progress
from factory.entry import run_main
from factory.errors import UserError

def main():
    bar = progress(10, unit="image", description="scoring")
    bar.update(3)
    log("first")
    log("second")
    raise UserError("bad image")

run_main(main)
"""


def test_logs_and_errors_have_lines_of_their_own_beside_a_bar():
    done = subprocess.run([sys.executable, "-c", _BAR], cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 2
    lines = done.stderr.decode().split("\n")
    assert lines[0].startswith("\rscoring:")
    assert lines[1:3] == ["first", "second"]
    assert lines[3].startswith("\rscoring:  30%")
    assert lines[4:] == ["bad image", ""]
