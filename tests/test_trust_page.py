"""docs/trust.md names existing tests."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

from eval.cli import COMMANDS as EVAL
from factory.cli.main import COMMANDS
from factory.common.commands import command_parsers

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "trust.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(test_\w+\.py)`|`(test_\w+)`", PAGE)
    assert len(named) > 30
    file = ""
    for file_name, test in named:
        file = file_name or file
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in text, f"{file} has no {test}"


def test_each_line_on_data_from_others_names_its_test() -> None:
    section = PAGE.partition("## Rules for data from other people\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\d+\. .*$", section, re.MULTILINE)
    assert [line.partition(".")[0] for line in lines] == [str(number) for number in range(1, 18)]
    assert not [line for line in lines if not re.search(r"`test_\w+\.py`: `test_\w+`", line)]


def test_the_switches_it_shows_are_there() -> None:
    parsers = [command_parsers(one, start="factory").values() for one in (COMMANDS, EVAL)]
    known = {option for parser in chain(*parsers) for option in parser._option_string_actions}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) <= known
