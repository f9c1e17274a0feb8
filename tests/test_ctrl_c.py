"""Ctrl-C while a command starts: a real signal to a real process, after a module was imported."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENTRIES = ("factory.command_line", "factory", "train", "eval", "train.generator")


@pytest.mark.parametrize(
    ("entry", "imported"),
    [
        *((entry, "factory.common.errors") for entry in ENTRIES),
        ("factory.command_line", "argparse"),
        # Imported by the command, when `run_main` catches the signal.
        ("factory.command_line", "yaml"),
        ("factory.command_line", "numpy"),
    ],
)
def test_a_command_ends_without_a_traceback_while_it_starts(entry: str, imported: str) -> None:
    # It takes seconds, so the signal comes before its end on a busy machine too.
    plan = ["plan", "cifar100/all-combined", "--rows", "100000"]
    words = ["-X", "importtime", "-m", entry, *plan]
    with subprocess.Popen(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        # Python writes a line when a module has been imported.
        for line in process.stderr:
            if line.rpartition("| ")[2].strip() == imported:
                process.send_signal(signal.SIGINT)
                break
        rest = [line for line in process.stderr if not line.startswith("import time:")]
    assert process.returncode == 130
    assert rest in ([], ["stopped by Ctrl-C (SIGINT)\n"])


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    code = "import signal; from factory.common.early_stop import *; end_quietly(); catch_again()"
    shown = f"{code}; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    done = subprocess.run(
        ["bash", "-c", 'trap "" INT; exec "$0" -c "$1"', sys.executable, shown],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True\n"


def test_ctrl_c_in_code_made_of_text_ends_with_a_status(tmp_path: Path) -> None:
    """As while a dataclass is made: `python -m` would end by the signal."""
    code = (
        "import os, signal\n"
        "from factory.common.entry import run_main\n"
        "run_main(lambda: exec('os.kill(os.getpid(), signal.SIGINT)'))"
    )
    (tmp_path / "program.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "program"],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (130, "stopped by Ctrl-C (SIGINT)\n")
