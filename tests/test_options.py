"""One meaning per option over all commands; old spellings work with a hint."""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eval.cli import COMMANDS as EVAL
from eval.cli import main as eval_main
from factory.builder.report import Part
from factory.cli.main import COMMANDS as FACTORY
from factory.cli.main import main as factory_main
from factory.common import console
from factory.common.commands import command_parsers
from factory.common.errors import UserError
from factory.common.options import add_quiet
from factory.common.stop_signals import Stopped
from factory.common.version import VERSION
from factory.models.inference import Cache
from train.generator.cli import _parser as generator_parser
from train.parser import build_parser

ROOT = Path(__file__).parent.parent

# Options whose meaning depends on the command, with the reason.
REASONS = {
    "--model": "each command runs another kind of model; all ids are written alike",
    "--out": "a file or a folder, which the metavar says",
    "--report": "a study writes its report, a push sends that of the dataset",
    "--real": "a study has several datasets and names the one that a real one belongs to",
}


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command that takes arguments, with its parser."""
    parsers = [
        *command_parsers(FACTORY, start="factory").values(),
        *command_parsers(EVAL, start="eval").values(),
        build_parser(),
        generator_parser(),
    ]
    for parser in parsers:
        yield from _walk(parser, parser.prog)


def _walk(
    parser: argparse.ArgumentParser, name: str
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not groups:
        yield name, parser
    for group in groups:
        for word, child in group.choices.items():
            yield from _walk(child, f"{name} {word}")


def options() -> dict[str, dict[str, argparse.Action]]:
    """Return the visible options of all commands: by option, by command."""
    found: dict[str, dict[str, argparse.Action]] = defaultdict(dict)
    for command, parser in commands():
        for action in parser._actions:
            if action.help != argparse.SUPPRESS:
                for option in action.option_strings:
                    found[option][command] = action
    return found


def meaning(action: argparse.Action) -> tuple[str | None, str]:
    """Return an option's metavar and its meaning, by default that of its help."""
    choices = action.choices and f"{{{','.join(map(str, action.choices))}}}"
    if getattr(action, "meaning", ""):
        return (str(action.metavar or choices), action.meaning)
    common = re.sub(r" *\(default[^)]*\)", "", action.help or "")
    return (str(action.metavar or choices), re.split("[:;]", common)[0])


def test_an_option_means_the_same_in_every_command() -> None:
    differing = {
        option
        for option, uses in options().items()
        if len({meaning(action) for action in uses.values()}) > 1
    }
    assert differing == set(REASONS)


def test_every_option_says_what_it_is() -> None:
    for option, uses in options().items():
        for command, action in uses.items():
            takes_value = action.nargs != 0
            assert action.help, f"{command} {option}"
            assert not takes_value or action.metavar or action.choices, f"{command} {option}"


def test_output_is_a_file_or_a_folder() -> None:
    words = {"FILE": "file to write: ", "DIR": "folder to write into: "}
    for command, action in options()["--out"].items():
        assert (action.help or "").startswith(words[str(action.metavar)]), command


def test_lists_are_repeated_and_ids_have_one_form() -> None:
    for uses in options().values():
        for action in uses.values():
            shown = f"{action.metavar} {action.help}"
            assert ",..." not in shown
            assert "[@REV]" not in shown
            assert "hf-hub:" not in shown
            if isinstance(action, argparse._AppendAction):
                assert "repeat" in (action.help or "")


def test_commands_that_report_numbers_have_json() -> None:
    quiet = {"factory card", "factory recipes pull", "factory recipes show", "factory new"} | {
        "factory preview",
        *(f"{generator_parser().prog} {word}" for word in ("fit", "export", "evaluate")),
        f"{generator_parser().prog} digits",
    }
    assert {command for command, _ in commands() if command not in options()["--json"]} == quiet


@pytest.mark.parametrize(
    "program",
    [factory_main, eval_main, build_parser().parse_args, generator_parser().parse_args],
)
def test_every_program_tells_its_version(
    program: Callable[[list[str]], object], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        program(["--version"])
    assert VERSION in capsys.readouterr().out


@pytest.mark.parametrize(
    ("program", "old", "new", "hint"),
    [
        (
            "factory",
            "push out me/set --message first",
            "push out me/set --commit-message first",
            "--message is now called --commit-message",
        ),
        (
            "factory",
            "recipes push a me/r --message=first",
            "recipes push a me/r --commit-message=first",
            "--message is now called --commit-message",
        ),
        (
            "factory",
            "new pets --classes 'cat, guinea pig'",
            "new pets --class cat --class 'guinea pig'",
            "--classes 'cat, guinea pig' is read as --class cat --class 'guinea pig'",
        ),
        (
            "factory",
            "new pets --class 'cat, guinea pig'",
            "new pets --class cat --class 'guinea pig'",
            "--class 'cat, guinea pig' is read as --class cat --class 'guinea pig'",
        ),
        (
            "factory",
            "gate out --unsafe-labels=a,b",
            "gate out --unsafe-label a --unsafe-label b",
            "--unsafe-labels a,b is read as --unsafe-label a --unsafe-label b",
        ),
        (
            "train",
            "set --model m --out r --batch-size 8",
            "set --model m --out r --total-batch-size 8",
            "--batch-size is now called --total-batch-size",
        ),
        (
            "train.generator",
            "fit --out r --config a.yaml",
            "fit --out r --settings a.yaml",
            "--config is now called --settings",
        ),
        (
            "train.generator",
            "export --run r --to p",
            "export --run r --out p",
            "--to is now called --out",
        ),
        (
            "eval",
            "score r --real d --tag x",
            "score r --real d --suffix x",
            "--tag is now called --suffix",
        ),
        *(
            (
                "eval",
                f"gap s --real d --model m --out o --{name} x",
                f"gap s --real d --model m --out o --real-{name} x",
                f"--{name} is now called --real-{name}",
            )
            for name in ("config", "split", "filter", "image-column", "label-column")
        ),
        (
            "eval",
            "label d o --classes a,b --columns text,more",
            "label d o --class a --class b --caption-column text --caption-column more",
            "--classes a,b is read as --class a --class b\n"
            "--columns text,more is read as --caption-column text --caption-column more",
        ),
        (
            "eval",
            "table s --order a,b --reference real=Real --rows run",
            "table s --order a --order b --reference-row real=Real --row-per run",
            "--order a,b is read as --order a --order b\n"
            "--reference is now called --reference-row\n"
            "--rows is now called --row-per",
        ),
        (
            "eval",
            "study s o --only a,b --models x,y --seeds 0,1",
            "study s o --only a --only b --model x --model y --seed 0 --seed 1",
            "--only a,b is read as --only a --only b\n"
            "--models x,y is read as --model x --model y\n"
            "--seeds 0,1 is read as --seed 0 --seed 1",
        ),
    ],
)
def test_old_spellings_give_a_hint_and_the_same_result(
    program: str, old: str, new: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def parsed(line: str) -> argparse.Namespace:
        words = shlex.split(line)
        if program == "train":
            return build_parser().parse_args(words)
        if program == "train.generator":
            return generator_parser().parse_args(words)
        commands = {"factory": FACTORY, "eval": EVAL}[program]
        return command_parsers(commands, start=program)[words[0]].parse_args(words[1:])

    plain = parsed(new)
    assert capsys.readouterr() == ("", "")
    assert parsed(old) == plain
    assert capsys.readouterr() == ("", f"{hint}\n")


def test_an_old_spelling_is_a_value_after_two_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    parser = console.Parser()
    parser.add_argument("--new")
    parser.add_argument("words", nargs="*")
    console.renamed(parser, "--old", "--new")
    assert parser.parse_args(["--", "--old"]).words == ["--old"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", ["--only", "--only --dry-run", "--seeds --dry-run"])
def test_an_old_list_needs_its_value(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command_parsers(EVAL, start="eval")["study"].parse_args(["s", "o", *words.split()])
    assert "expected one argument" in capsys.readouterr().err


def test_only_one_process_of_a_launch_gives_hints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    build_parser().parse_args(["--batch-size", "8"])
    assert capsys.readouterr().err == ""


def test_json_is_one_document_whatever_the_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_TOKEN", "a-secret-of-mine")
    values = ["\x9b31m", "\u202e", 'a://x:y"', "b@c", "a-secret-of-mine"]
    console.write_json({"values": values})
    text = capsys.readouterr().out
    assert json.loads(text)["values"] == [*values[:-1], "***"]
    assert "\x9b" not in text
    assert "\u202e" not in text


def test_quiet_hides_every_bar(capsys: pytest.CaptureFixture[str]) -> None:
    parser = console.Parser()
    add_quiet(parser)
    for words, bars in (["--quiet"], 0), ([], 1):
        parser.parse_args(words)
        with console.progress(2, unit="image", description="scoring") as bar:
            bar.update(2)
        assert capsys.readouterr().err.count("scoring: 100%") == bars


_TERMINAL = """
import pty, sys
sys.argv = ["factory", "plan", "quickstart"]
pty.spawn([sys.executable, "-c", '''
import fcntl, struct, sys, termios
fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
from factory.common.console import progress
from factory.common.entry import run_main
from factory.cli.main import main
sys.argv = ["factory", *sys.argv[1:]]
with progress(2, unit="image", description="scoring") as bar:
    bar.update(2)
run_main(main)
''', *sys.argv[1:]])
"""


@pytest.mark.parametrize("words", ["check quickstart", "--help", "build --nothing"])
def test_nothing_has_colours(words: str) -> None:
    code = _TERMINAL.replace('"plan", "quickstart"', ", ".join(map(repr, words.split())))
    environment = {**os.environ, "TERM": "xterm-256color", "FORCE_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, timeout=120
    )
    assert b"scoring: 100%" in done.stdout
    assert b"\x1b[3" not in done.stdout
    assert b"m\x1b" not in done.stdout


def test_exit_codes_are_proved() -> None:
    page = (ROOT / "docs/exit-codes.md").read_text()
    pointers = re.findall(r"`(tests/\w+\.py)::(\w+)`", page)
    rows = [line for line in page.splitlines() if line.startswith("| ")][1:]
    assert len(pointers) >= len(rows)
    for file, name in pointers:
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


def test_every_command_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    for program, commands_of in (factory_main, FACTORY), (eval_main, EVAL):
        for name in commands_of:
            with pytest.raises(SystemExit, match="0"):
                program([name, "--version"])
            assert VERSION in capsys.readouterr().out, name


@pytest.mark.parametrize(
    ("parse", "text", "said"),
    [
        (Part.parse, "3", "--part 3: expected I/N, e.g. 3/16 for the third of 16 parts"),
        (Part.parse, "4/3", "--part 4/3: expected 1/3 to 3/3"),
        (Part.parse, "1/0", "--part 1/0: expected 1 or more parts"),
        (
            Cache.parse,
            "frist-block:0.1",
            "--cache frist-block:0.1: expected first-block, first-block:THRESHOLD (above 0, "
            "default 0.05), taylorseer, taylorseer:STEPS (2 or more, default 5), cache-dit or "
            "cache-dit:THRESHOLD (above 0, below 1, default 0.08); did you mean first-block?",
        ),
    ],
)
def test_a_wrong_value_is_answered_with_what_is_expected(
    parse: Callable[[str], object], text: str, said: str
) -> None:
    with pytest.raises(UserError) as caught:
        parse(text)
    assert str(caught.value) == said


def test_a_push_that_is_interrupted_says_that_it_can_be_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("factory.sharing.push_dataset.push", interrupted)
    with pytest.raises(Stopped) as caught:
        factory_main(["push", "out", "org/name"])
    assert caught.value.remedy == "run the same command again; transferred data is kept"
