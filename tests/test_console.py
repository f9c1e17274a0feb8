"""Terminal output: log lines beside progress bars, and messages about unknown options."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

_BAR = """
from factory.common.console import log, progress
from factory.common.entry import run_main
from factory.common.errors import UserError

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


@pytest.mark.parametrize(
    ("package", "words", "hint"),
    [
        (
            "train",
            "x --epochz 3",
            "unrecognized arguments: --epochz; did you mean --epochs ins",
        ),
        ("train", "x -model=a --lrr 1", "--model instead of -model, --lr instead of --lrr?"),
        ("eval", "score run --reel x", "required: --real; did you mean --real instead of --reel?"),
        ("eval", "gap a --space logit", "'features'); did you mean logits instead of logit?"),
        ("eval", "scor run", "'digits'); did you mean score instead of scor?"),
        ("factory", "build a b --images_per-clas 3", "mean --images-per-class instead of"),
        ("factory", "recipes lst", "did you mean list instead of lst?"),
        ("factory", "check a --zzzzz", "check: error: unrecognized arguments: --zzzzz\n"),
        ("train.generator", "fitt", "did you mean fit instead of fitt?"),
    ],
)
def test_misspelt_words_get_the_nearest_known_one(package, words, hint, capsys):
    parser = {
        "factory": "factory.cli.main",
        "train": "train.arguments",
        "train.generator": "train.generator.cli",
    }.get(package, f"{package}.cli")
    module = import_module(parser)
    make = getattr(module, "build_parser", None) or module._parser
    with pytest.raises(SystemExit, match="2"):
        make().parse_args(words.split())
    assert hint in capsys.readouterr().err
