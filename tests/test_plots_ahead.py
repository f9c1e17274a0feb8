"""A build plots its card in another process; the card has the same bytes if that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from build_parts import SETTINGS, FakeRenderer, recipe

from factory.builder.build import BuildOptions, Part, build
from factory.card import images, plots_ahead
from factory.card.plots import draw
from factory.card.spreads import spreads
from factory.common.stop_signals import Stopped
from factory.recipe.resolved import ResolvedRecipe

ROOT = Path(__file__).parent.parent
PLOTS = "card/distributions.png"
# With a child that keeps the pipes open when its parent is killed.
SLEEPS = "import subprocess, time; subprocess.Popen(['sleep', '20']); time.sleep(600)"


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots_ahead, "cores_per_process", lambda: 2)
    monkeypatch.setattr(images, "plot_distributions", plots_ahead.plot_distributions)


@pytest.fixture
def plotted_here(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One item for every plot of this process."""
    found: list[int] = []

    def counted(*arguments: Any) -> bytes:
        found.append(1)
        return draw(*arguments)

    monkeypatch.setattr(plots_ahead, "draw", counted)
    return found


def generate(recipes: Any, out: Path, **options: Any) -> None:
    build(
        recipes,
        out,
        settings=SETTINGS,
        options=BuildOptions(**options),
        show_progress=False,
        renderer_factory=FakeRenderer,
    )


def children() -> list[psutil.Process]:
    return psutil.Process().children()


@pytest.mark.parametrize(
    ("code", "here"),
    [
        (None, 0),
        ("raise SystemExit(1)", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 1),
        ("print('no image')", 1),
        # As a log line about a character that no font has.
        (f"import sys; sys.stderr.write('!'); {plots_ahead._CODE}", 1),
        (f"print('!'); {plots_ahead._CODE}", 1),
    ],
    ids=["plotted", "fails", "killed", "no image", "warns", "prints"],
)
def test_the_card_has_the_same_plots(
    code: str | None,
    here: int,
    tmp_path: Path,
    plotted_here: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Plots of another process, or those of this one if it fails."""
    before = children()
    if code is not None:
        monkeypatch.setattr(plots_ahead, "_CODE", code)
    one = recipe(tmp_path, "b")
    two = recipe(tmp_path, "a", prompt="{d} {class}", variables={"d": ["ü", "$a"]})
    generate([one, two], tmp_path / "out")
    assert len(plotted_here) == here
    assert (tmp_path / "out" / PLOTS).read_bytes() == draw(*spreads([two, one]))
    assert children() == before


def test_without_another_process_a_build_plots_itself(
    tmp_path: Path, plotted_here: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    generate(recipe(tmp_path, "base"), tmp_path / "out")
    assert len(plotted_here) == 1


def test_a_stopped_build_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()
    monkeypatch.setattr(plots_ahead, "_CODE", SLEEPS)

    class _Stopped(FakeRenderer):
        def __init__(self, recipe: ResolvedRecipe) -> None:
            assert len(children()) == len(before) + 1
            raise Stopped(2)

    with pytest.raises(Stopped):
        build(recipe(tmp_path, "base"), tmp_path / "out", renderer_factory=_Stopped)
    assert children() == before


def test_a_process_starts_where_its_plots_will_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by one of several parts, beside configs of other builds, or without images to make."""
    started: list[list[str]] = []

    def recorded(found: Any) -> Any:
        started.append([one.configs[0] for one in found[0][0][1]])
        raise OSError

    monkeypatch.setattr(plots_ahead, "_Process", recorded)
    base, more = recipe(tmp_path, "base"), recipe(tmp_path, "more")
    out = tmp_path / "out"
    generate(base, tmp_path / "part", part=Part(1, 2))
    assert not started
    generate([more, base], out)
    generate([more, base], out)
    generate(recipe(tmp_path, "third"), out)
    assert started == [["base", "more"]]
    monkeypatch.setattr(plots_ahead, "cores_per_process", lambda: 1)
    generate(base, tmp_path / "other")
    assert len(started) == 1


def test_plots_of_other_recipes_are_not_taken(tmp_path: Path, plotted_here: list[int]) -> None:
    ahead, other = (recipe(tmp_path, name) for name in ("ahead", "other"))
    with plots_ahead.plotting_ahead([ahead]):
        assert plots_ahead.plot_distributions([other]) == draw(*spreads([other]))
        assert len(plotted_here) == 1
        assert plots_ahead.plot_distributions([ahead]) == draw(*spreads([ahead]))
        assert len(plotted_here) == 1


def test_the_process_imports_no_recipes() -> None:
    """They would take as long as the plots."""
    code = "import sys, factory.card.plots; print(*sys.modules)"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"pydantic", "factory.recipe"} & {*done.stdout.split()}
