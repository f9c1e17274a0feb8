"""Any recipe file gives a recipe or a message: no traceback, no hang, no code is run."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hostile_recipes
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from recipe_texts import BASE

from factory.common.errors import UserError
from factory.planner.plan import plan
from factory.recipe.library import load_recipe
from factory.recipe.lint import lint

MOST_CPU_S = 10.0
# What Python tells its auditors of when code is run, processes are started or files changed.
_CODE = ("exec", "compile", "os.system", "os.exec", "os.posix_spawn", "os.fork", "marshal.loads")
_FORBIDDEN = (*_CODE, "subprocess.Popen", "pickle.find_class", "socket.connect", "os.remove")
_watching: list[list[str]] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    writing = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if event in _FORBIDDEN or writing:
        _watching[-1].append(f"{event} {arguments[:1]}")


sys.addaudithook(_audit)


@contextmanager
def watched() -> Iterator[list[str]]:
    """Record actions in a block that reading data must never do."""
    events: list[str] = []
    _watching.append(events)
    try:
        yield events
    finally:
        _watching.pop()


def use(path: Path) -> str:
    """Do everything with a recipe that precedes generation; return its error, or nothing."""
    try:
        recipe = load_recipe(path)
    except UserError as error:
        assert error.faults
        assert len(str(error)) < 200_000
        str(error).encode()
        return str(error)
    planned = plan(recipe)
    for row in planned.rows(0, min(3, len(planned))):
        str(row.as_row()).encode()
    lint([recipe])
    recipe.to_yaml().encode()
    assert len(recipe.fingerprint) == 64
    return ""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a path for recipes; everything imported on first use is imported before."""
    found = tmp_path_factory.mktemp("fuzz") / "fuzzed.yaml"
    found.write_text(hostile_recipes.VALID)
    assert use(found) == ""
    found.write_text("x: [")
    assert use(found)
    return found


def one_file(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    before = time.process_time()
    with watched() as events:
        error = use(path)
    assert not events
    assert time.process_time() - before < MOST_CPU_S
    return error


def fuzz(path: Path, *, examples: int) -> None:
    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(hostile_recipes.recipe_files)
    def run(data: bytes) -> None:
        one_file(path, data)

    run()


def test_running_code_would_be_detected(tmp_path: Path) -> None:
    with watched() as events:
        eval(compile("1", "x", "eval"))
        (tmp_path / "x").write_text("x")
    assert {event.split()[0] for event in events} == {"compile", "exec", "open"}


def test_a_few_hundred_odd_files(path: Path) -> None:
    fuzz(path, examples=300)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_thousands_of_odd_files(path: Path) -> None:
    fuzz(path, examples=6_000)


def many(count: int, line: Callable[[int], str]) -> str:
    return "".join(line(number) for number in range(count))


CLASSES = "images_per_class: 2\nprompt: a {class}\nmodel: {id: embedded}\nclasses: ["
# Small files that would cost hours, all memory, or the terminal, where nothing bounded them.
ATTACKS: dict[str, tuple[str, str]] = {
    "unknown keys": (BASE + many(40_000, lambda i: f"k{i}: 1\n"), "and more; fix these 100 first"),
    "unknown labels": (
        CLASSES
        + many(15_000, lambda i: f"c{i},")
        + "]\nvariables: {v: {per_class: {"
        + many(15_000, lambda i: f"d{i}: x,")
        + "}}}",
        "there is no class 'd0'",
    ),
    "unknown members": (f"combine: [{many(50_000, lambda i: f'c{i},')}]", "there is no recipe"),
    "class fields": (
        CLASSES + many(9_000, lambda i: f"{{label: c{i}, f{i}: x}},") + "]",
        "9,000 variables and class fields; the limit is 500",
    ),
    "aliases of aliases": (
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + many(9, lambda i: f"{'bcdefghij'[i]}: &{'bcdefghij'[i]} [{f'*{chr(97 + i)},' * 10}]\n"),
        "contains more than 100,000 values",
    ),
    "a long text again and again": (
        f"s: &s {'x' * 19_000}\n" + BASE.replace('"a {class}"', f"[{'*s,' * 5_000}]"),
        "contains more than 5,000,000 characters",
    ),
    "a prompt that swells": (
        BASE.replace("a {class}", "{v}" * 6_000) + f"variables: {{v: {'x' * 19_000}}}\n",
        "can be 114,000,000 characters long; the limit is 50,000",
    ),
    "a long text": (
        BASE + f"name: {'x' * 900_000}\n",
        "a text of 900,000 characters; the limit is 20,000",
    ),
    "a long number": (BASE + f"sampling: {{seed: 0x{'f' * 19_000}}}\n", "sampling.seed: 0xffffff"),
    "too many bytes": ("#" * 1_000_001, "is larger than 1,000,000 bytes"),
    "a long path": (f"extends: {'x' * 9_000}", "there is no recipe 'xxx"),
    "a long model path": (
        BASE.replace("embedded", f"./{'x' * 9_000}"),
        r"model.id: cannot be read as a path \(File name too long\)",
    ),
    "no one's home": (BASE.replace("embedded", "~no-such-user/x"), "cannot be read as a path"),
    "a zero byte": (
        BASE.replace("a {class}", r"a \0"),
        r"contains the invisible character U\+0000",
    ),
    "a terminal's orders": (BASE.replace("dog", r'"\e[2J"'), r"invisible character U\+001B"),
    "text turned around": (BASE.replace("dog", "\u202egod"), r"invisible character U\+202E"),
    "a label of two lines": (
        BASE.replace("dog", r'"a\nb"'),
        "has leading or trailing space or a line",
    ),
    "a label written in two ways": (
        BASE.replace("cat, dog", "\u00e9, e\u0301"),
        "label 'e\u0301' occurs twice",
    ),
    "a name that is a path": (BASE + "name: ../x\n", "is not a valid name: it becomes a direc"),
    "a token": (BASE.replace("a {class}", "hf_" + "Ab1" * 11), "contains an access token"),
    "an unknown scheduler": (
        BASE.replace("embedded", "embedded, scheduler: DDIMSchedular"),
        "diffusers has no scheduler 'DDIMSchedular'; did you mean 'DDIMScheduler'",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gives_an_error_message(name: str, path: Path) -> None:
    text, message = ATTACKS[name]
    error = one_file(path, text.encode())
    assert re.search(message, error)
    assert "hf_" not in error


def test_a_recipe_read_from_a_device_or_pipe_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        (tmp_path / "r.yaml").write_text(f"extends: {name}\n")
        with pytest.raises(UserError, match=f"there is no recipe '{name}'"):
            load_recipe(tmp_path / "r.yaml")


def test_a_long_line_of_parents_ends(tmp_path: Path) -> None:
    (tmp_path / "r0.yaml").write_text(BASE)
    for number in range(1, 100):
        (tmp_path / f"r{number}.yaml").write_text(f"extends: r{number - 1}\n")
    assert load_recipe(tmp_path / "r49.yaml").name == "r49"
    with pytest.raises(
        UserError, match="more than 50 recipes extend one another in a row; merge some"
    ):
        load_recipe(tmp_path / "r99.yaml")


def test_all_faults_of_templates_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        BASE.replace("a {class}", "{} {clas} {label.x} {")
        + "variables: {unifrom: {x: 1}, v: [a]}\n"
    )
    with pytest.raises(UserError) as raised:
        load_recipe(tmp_path / "r.yaml")
    words = [fault.message for fault in raised.value.faults]
    assert words == [
        "{} has no name; write {class} or the name of a variable",
        "{label.x} is not a name; write {label}",
        "brace { is unmatched; write {{ for a literal brace",
        "there is no variable 'clas'; did you mean 'class'?",
        "unknown distribution 'x'; known: captions, choice, cycle, integers, linked, loguniform, "
        "normal, once, per_class, truncated_normal, uniform",
    ]
