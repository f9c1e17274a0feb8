"""Every command and Python block of the documentation runs, with small counts."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import yaml
from doc_pages import Block, Shell, blocks, commands, is_run, make_programs, pages
from doc_rules import FILES, GIVEN, NOT_RUN, STATUS, tiny
from hub_parts import client_env
from localhub import LocalHub
from localhub_repos import Repo

from factory.command_line.cli import COMMANDS
from factory.common.commands import command_parsers

TOUR = Path(__file__).parent.parent / "docs/tour.ipynb"
SCRIPTS = (
    *("tests/overlap.py", "tests/view_speed.py", "tests/model_speed.py"),
    *("docs/compare_training.py", "docs/measure_intervals.py", "docs/measure_rounds.py"),
    *("docs/measure_filter.py", "docs/measure_few_steps.py", "docs/distill_embedded.py"),
    *("docs/measure_png.py", "docs/measure_caches.py", "tests.benchmarks.network_variants"),
)
# Words of a shell that its commands replace by arguments.
_SHELL_WORDS = {"$CLASSES": "--class cat", "$SEED": "0", '"${@:2}"': ""}


def entry(table: dict[str, dict[str, object]], block: Block) -> str | None:
    """Return the key of a table that a block of its page begins with."""
    return next((one for one in table.get(block.page, {}) if block.text.startswith(one)), None)


@pytest.mark.parametrize("table", [NOT_RUN, STATUS, FILES], ids=["not run", "status", "files"])
def test_the_tables_fit_the_pages(table: dict[str, dict[str, object]]) -> None:
    used = {(one.page, entry(table, one)) for page in pages() for one in blocks(page)}
    assert {(page, key) for page, keys in table.items() for key in keys} - used == set()
    assert set(table) | set(GIVEN) <= set(pages())


@pytest.mark.parametrize("page", pages())
def test_data_and_commands_of_a_page_parse(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            yaml.safe_load(block.text)
        if not is_run(block):
            continue
        runs = entry(NOT_RUN, block) is None
        text = tiny(block.text) if runs else block.text
        for word, arguments in _SHELL_WORDS.items():
            text = text.replace(word, arguments)
        found = commands(text)
        if not runs:
            assert found or any(one in text for one in SCRIPTS), f"{block}: no command"
        for line in found:
            parse(line)
    assert "is now called" not in capsys.readouterr().err


def parse(line: str) -> argparse.Namespace:
    """Parse a command line with the parser of its program."""
    from train.generator.cli import _parser as generator_parser
    from train.parser import build_parser

    program, *words = shlex.split(line, comments=True)
    if program == "train.generator":
        return generator_parser().parse_args(words)
    if program == "train":
        return build_parser().parse_args(words)
    return command_parsers(COMMANDS, start="x")[words[0]].parse_args(words[1:])


@pytest.fixture(scope="module")
def hub_of_pages() -> Iterator[LocalHub]:
    """A Hub that knows the names of the pages."""
    with LocalHub(user="YOUR_NAME", orgs=("ORG", "uoft-cs", "openai")) as hub:
        yield hub


@pytest.fixture(scope="module")
def environment(hub_of_pages: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a user of that Hub, with a token."""
    return client_env(hub_of_pages, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def programs(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_programs(tmp_path_factory.mktemp("programs"), environment)


@pytest.fixture(scope="module")
def generator(
    hub_of_pages: LocalHub,
    environment: dict[str, str],
    programs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[tuple[str, str], Repo]:
    """A repository with a generator with random weights, by its key on the Hub."""
    shell = Shell(tmp_path_factory.mktemp("generator"), programs, environment)
    shell.run(Block("", 0, "", "prepare generator tiny --hub ORG/tiny"))
    return dict(hub_of_pages.repos)


@pytest.fixture
def shell(
    hub_of_pages: LocalHub,
    generator: dict[tuple[str, str], Repo],
    environment: dict[str, str],
    programs: Path,
    tmp_path: Path,
) -> Shell:
    """An empty folder, and a Hub that has nothing but the generator."""
    # Its storage stays: clients remember what they have uploaded.
    hub_of_pages.repos.clear()
    hub_of_pages.repos.update(generator)
    return Shell(tmp_path, programs, environment)


# Pages whose commands are mostly those of the others, with other options; all are parsed above. The
# options of training are in test_train_*.py.
IN_SOAK = (
    *("cifar10", "cookbook", "gallery", "gates", "multi-node", "paper", "report", "sharing"),
    *("train", "trust", "zero-shot"),
)
RUN = [
    pytest.param(page, marks=pytest.mark.soak if Path(page).stem in IN_SOAK else pytest.mark.slow)
    for page in pages()
    if any(map(is_run, blocks(page)))
]


@pytest.mark.parametrize("page", RUN)
def test_the_blocks_of_a_page_run(page: str, shell: Shell) -> None:
    shell.run(Block(page, 0, "", tiny(GIVEN.get(page, ""))))
    for block in blocks(page):
        if file := entry(FILES, block):
            small = block.text.replace("images_per_class: ", "images_per_class: 2 # ")
            (shell.folder / FILES[page][file]).write_text(small)
    for block in blocks(page):
        if is_run(block) and entry(NOT_RUN, block) is None:
            status = STATUS.get(page, {}).get(entry(STATUS, block) or "", 0)
            shell.run(replace(block, text=tiny(block.text)), status=status)


# In a process of its own: the client of the kernel leaves sockets to the end of its process.
_RUN_TOUR = """
import sys, nbformat
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from run_tour import run
run(nbformat.read("tiny.ipynb", as_version=4), Path.cwd())
"""


@pytest.mark.slow
def test_the_tour_runs(shell: Shell, programs: Path, environment: dict[str, str]) -> None:
    notebook = nbformat.read(TOUR, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert all(cell.outputs for cell in notebook.cells if cell.source.startswith("%%bash"))
    assert [one for one in outputs if one.output_type == "error"] == []
    assert TOUR.stat().st_size < 300_000
    for cell in notebook.cells:
        cell.source = tiny(cell.source)
    nbformat.write(notebook, shell.folder / "tiny.ipynb")
    done = subprocess.run(
        [sys.executable, "-c", _RUN_TOUR, str(TOUR.parent)],
        cwd=shell.folder,
        env={**environment, "PATH": f"{programs}:{environment['PATH']}"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (shell.folder / "again.png").is_file()
    assert (shell.folder / "answers.png").is_file()
