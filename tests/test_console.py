"""Terminal output: log lines beside bars, unknown options, and commands that messages name."""

import argparse
import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from factory.command_line import completion
from factory.command_line.cli import COMMANDS, GROUPS
from factory.common import program
from factory.common.console import progress
from factory.common.errors import UserError
from factory.common.text import plural, size, suggest

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


def test_bars_inside_each_other_move_no_cursor_without_a_terminal(capsys):
    with progress(2, unit="row", description="outer") as outer:
        with progress(2, unit="image", description="inner") as inner:
            inner.update(2)
        outer.update(2)
    seen = capsys.readouterr().err
    assert "\x1b" not in seen
    assert [line.strip("\r")[:6] for line in seen.splitlines() if line] == [
        *["outer:", "inner:", "inner:", "outer:"]
    ]


@pytest.mark.parametrize(
    ("package", "words", "hint"),
    [
        (
            "train",
            "x --epochz 3",
            "unrecognized arguments: --epochz; did you mean --epochs?\n",
        ),
        ("train", "x -model=a --lrr 1", "--model instead of -model, --lr instead of --lrr?"),
        ("eval", "score run --reel x", "required: --real; did you mean --real instead of --reel?"),
        (
            "eval",
            "gap a --space logit",
            "--space logit: expected logits or features; did you mean logits?\n",
        ),
        ("eval", "scor run", "scor: unknown command; did you mean score?\n"),
        ("factory.command_line", "bild x y", "bild: unknown command; did you mean build?\n"),
        (
            "factory.command_line",
            "train x --epochz 3",
            "did you mean --epochs?\n",
        ),
        ("factory", "build a b --images_per-clas 3", "clas; did you mean --images-per-class?\n"),
        ("factory", "new a --class ''", "--class '': is empty; name a value\n"),
        (
            "eval",
            "gap a --real b --run c --model d --out e",
            "--model cannot be used with --run; remove one of them\n",
        ),
        ("factory", "build a b --batch-size 0", "--batch-size 0: expected 1 or more, or auto\n"),
        ("factory", "plan a --images-per-class 0", "--images-per-class 0: expected 1 or more\n"),
        ("factory", "recipes lst", "lst: unknown command; did you mean list?\n"),
        ("factory", "check a --zzzzz", "check: error: unrecognized arguments: --zzzzz\n"),
        ("train.generator", "fitt", "fitt: unknown command; did you mean fit?\n"),
    ],
)
def test_misspelt_words_get_the_nearest_known_one(package, words, hint, capsys, monkeypatch):
    home = "train.generator.cli" if package == "train.generator" else f"{package}.cli"
    module = import_module("factory.cli.main" if package == "factory" else home)
    monkeypatch.setattr(sys, "argv", [package, *shlex.split(words)])
    with pytest.raises(SystemExit, match="2"):
        module.main()
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--epochs x", "--epochs x: expected a whole number"),
        ("--lr x", "--lr x: expected a number"),
        ("--lr 0", "--lr 0: expected more than 0"),
        ("--epochs 0", "--epochs 0: expected 1 or more"),
        ("--threads 0", "--threads 0: expected 1 or more"),
        ("--hflip 2", "--hflip 2: expected 1 or less"),
        ("--scale 1", "--scale: expected 2 arguments"),
        ("--fit crp", "--fit crp: expected crop, pad or squash; did you mean crop?"),
        ("--device cda", "--device cda: expected auto, cpu, cuda, mps or xpu; did you mean cuda?"),
        ("--device cuda:abc", "--device cuda:abc: expected auto, cpu, cuda, mps or xpu, or one of"),
        ("--device auto:3", "--device auto:3: expected auto, cpu, cuda, mps or xpu, or one of"),
        ("--color-jitter 2", "--color-jitter 2: expected 1 or less"),
        ("--augment fill=zros", "--augment fill=zros: expected zeros, border or reflection; "),
        ("--torchcompile foo", "--torchcompile foo: expected no, eager, aot_eager, inductor,"),
    ],
)
def test_wrong_values_are_reported_in_one_form(words, message, tmp_path, capsys, monkeypatch):
    line = f"train {tmp_path} --model test_resnet --out {tmp_path / 'run'} {words}"
    monkeypatch.setattr(sys, "argv", line.split())
    with pytest.raises((SystemExit, UserError)) as caught:
        import_module("train.cli").main()
    shown = capsys.readouterr().err.splitlines()[-1:] or [str(caught.value)]
    last = str(caught.value) if isinstance(caught.value, UserError) else shown[0]
    assert last.startswith(message)
    assert "\n" not in last.strip()


def test_every_command_is_in_one_group_and_its_package_is_known():
    grouped = [name for commands in GROUPS.values() for name in commands]
    assert sorted(grouped) == sorted(COMMANDS)
    for name, command in COMMANDS.items():
        package = command.module.partition(".")[0]
        assert package == program.package_of(name)


def started(monkeypatch, folder, *, as_, on_path=()):
    """Let the program be started as a file in a folder, with an interpreter and scripts there."""
    scripts = folder / "bin"
    scripts.mkdir(exist_ok=True)
    for name in ("python", *on_path):
        (scripts / name).touch(0o755)
    monkeypatch.setattr(sys, "executable", str(scripts / "python"))
    monkeypatch.setattr(sys, "argv", [str(as_)])
    monkeypatch.setenv("PATH", str(scripts))


def test_commands_are_named_as_they_can_be_typed(tmp_path, monkeypatch):
    package = ROOT / "factory" / "__main__.py"
    started(monkeypatch, tmp_path, as_=package)
    assert program.command("score RUN") == "python -m eval score RUN"
    assert program.command("train X") == "python -m train X"
    assert program.launch("train X", processes=2) == (
        "python -m torch.distributed.run --nproc-per-node 2 -m train X"
    )
    monkeypatch.setenv("PATH", "")
    assert program.command("build") == f"{tmp_path}/bin/python -m factory build"
    monkeypatch.chdir(tmp_path)
    assert program.command("build") == "bin/python -m factory build"
    started(monkeypatch, tmp_path, as_=ROOT / "factory" / "command_line" / "__main__.py")
    assert program.command("train X") == "python -m factory.command_line train X"
    monkeypatch.chdir(ROOT)
    started(monkeypatch, tmp_path, as_="factory")
    assert program.command("score RUN") == "python eval score RUN"
    started(monkeypatch, tmp_path, as_="factory", on_path=["data-factory", "accelerate"])
    assert program.command("train X") == "data-factory train X"
    assert program.launch("score RUN", processes=2) == (
        "accelerate launch --multi_gpu --num_processes 2 eval score RUN"
    )


def test_a_script_that_is_not_on_the_path_is_named_by_its_place(tmp_path, monkeypatch):
    started(monkeypatch, tmp_path, as_=tmp_path / "bin" / "data-factory", on_path=["data-factory"])
    monkeypatch.setenv("PATH", "")
    assert program.command("train X") == f"{tmp_path}/bin/data-factory train X"


def test_no_text_names_a_command_by_itself():
    """Texts get their commands from `program`; the console script is for files that travel."""
    names = "|".join(COMMANDS)
    line = re.compile(rf"(?<!data-)\b(factory|eval) ({names})\b|accelerate launch (?!--cpu|with)")
    own = {"program.py", "launch.py"}
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value}"
        for package in ("factory", "train", "eval")
        for path in (ROOT / package).rglob("*.py")
        if path.name not in own
        for node in texts(ast.parse(path.read_text()))
        if line.search(node.value)
    ]
    assert found == []


def texts(tree):
    """Yield the texts of a module that are no docstrings."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node


def test_a_shell_completes_options_of_the_command_that_was_typed(tmp_path):
    pytest.importorskip("argcomplete")
    line = "data-factory build --images"
    environment = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "found"),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    subprocess.run(
        [sys.executable, "-m", "factory.command_line"], env=environment, cwd=ROOT, check=True
    )
    assert (tmp_path / "found").read_text().strip() == "--images-per-class"
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run(
            [sys.executable, "-m", "factory.command_line", "completion", shell],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "data-factory" in done.stdout


def test_help_of_completion_says_if_the_program_is_not_on_the_path(monkeypatch):
    for place, is_missing in ((None, True), ("/usr/bin/data-factory", False)):
        monkeypatch.setattr(shutil, "which", lambda name, place=place: place)
        parser = argparse.ArgumentParser()
        completion.add_arguments(parser)
        assert ("data-factory is not on the PATH" in parser.epilog) == is_missing


def test_a_slow_bar_shows_seconds_per_unit(capsys):
    with progress(4, unit="image", description="predicting") as bar:
        bar.start_t -= 20
        bar.update(2)
        bar.refresh()
    assert re.search(r" 2/4 .*[0-9]s/image\]", capsys.readouterr().err)


def test_up_to_three_names_that_contain_a_word_are_suggested():
    names = ["resnet18", "resnet34", "resnet50", "resnet101", "vit"]
    assert suggest("res", names) == "did you mean resnet18, resnet34 or resnet50?"
    assert suggest("restnet34", names) == "did you mean resnet34?"
    assert suggest("xyz", names[3:]) == "it has: resnet101, vit"


def test_nouns_and_units_fit_their_numbers():
    assert [plural(1, "image"), plural(2000, "image")] == ["1 image", "2,000 images"]
    assert [plural(number, "class", "classes") for number in (0, 1)] == ["0 classes", "1 class"]
    sizes = [size(number) for number in (0, 999, 12_288, 5_600_000, 7.4e12)]
    assert sizes == ["0 B", "999 B", "12.3 kB", "5.6 MB", "7,400.0 GB"]
