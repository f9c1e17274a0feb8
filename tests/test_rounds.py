"""Rounds of `grow`: what is chosen, and that the choice is a recipe like any other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from build_parts import LABELS, SETTINGS, FakeRenderer, combination, recipe, tree
from scipy.special import softmax
from test_eval_score import write_run

from factory.builder.build import build
from factory.command_line import grow
from factory.command_line.cli import main
from factory.common.errors import Failure, UserError
from factory.gates.choice import Wanted
from factory.gates.judge import ENTROPY, MARGIN, Judge, entropies, margins
from factory.gates.rounds import Round, add_round
from factory.inspection.replay import replay
from factory.inspection.verify import verify_set
from factory.planner.plan import plan
from factory.recipe.library import load_recipe, load_recipes
from factory.shards.directory import stored_recipe
from factory.shards.manifest import read_manifest

WANTED = Wanted(candidates=6, keep=2)


def generate(recipes: Any, out: Path) -> None:
    build(recipes, out, settings=SETTINGS, show_progress=False, renderer_factory=FakeRenderer)


def by_colour(images: Sequence[Any]) -> np.ndarray:
    """Return probabilities that depend on the mean colour of each image."""
    return softmax([np.asarray(image).mean(axis=(0, 1)) / 5 for image in images], axis=1)


def by_corner(images: Sequence[Any]) -> np.ndarray:
    """Return probabilities that depend on one pixel of each image."""
    return softmax([np.asarray(image)[0, 0] / 50 for image in images], axis=1)


JUDGE = Judge(by_colour, model="run", revision="a" * 64)


def add(out: Path, config: str = "base", judge: Judge = JUDGE, wanted: Wanted = WANTED) -> Round:
    return add_round(
        out,
        config,
        judge,
        wanted,
        generate=lambda path: generate([load_recipe(path)], out),
        show_progress=False,
    )


def rows_of(out: Path, config: str) -> list[dict[str, Any]]:
    manifest = read_manifest(out)
    assert manifest is not None
    files = [shard.file for shard in manifest.configs[config].shards]
    return [row for file in files for row in pq.read_table(out / file).to_pylist()]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    generate([recipe(tmp_path, "base")], tmp_path / "out")
    return tmp_path / "out"


def test_entropy_and_margin() -> None:
    found = np.array([[0.5, 0.5, 0.0], [0.2, 0.7, 0.1]])
    expected = [np.log(2), -(0.2 * np.log(0.2) + 0.7 * np.log(0.7) + 0.1 * np.log(0.1))]
    np.testing.assert_allclose(entropies(found), expected)
    np.testing.assert_allclose(margins(found, [0, 0]), [0.0, -0.5])
    np.testing.assert_allclose(margins(found, [2, 1]), [-0.5, 0.5])


@pytest.mark.parametrize("by", ["entropy", "margin"])
def test_the_candidates_that_the_judge_is_least_sure_of_are_kept(out: Path, by: Any) -> None:
    before = rows_of(out, "base")
    done = add(out, wanted=Wanted(candidates=6, keep=2, by=by))
    assert (done.config, done.candidates) == ("base-round-1", "base-candidates-1")
    assert (done.images, done.generated) == (21, 18)
    rows, candidates = rows_of(out, "base-round-1"), rows_of(out, "base-candidates-1")
    own = [row for row in rows if row["recipe"] == "base"]
    assert [row["image"] for row in own] == [row["image"] for row in before]
    kept = [row["index"] for row in rows if row["recipe"] == "base-candidates-1"]
    best = lambda row: -row[ENTROPY] if by == "entropy" else abs(row[MARGIN])  # noqa: E731
    expected = []
    for label in range(3):
        of_class = sorted((one for one in candidates if one["label"] == label), key=best)
        expected += [one["index"] for one in of_class[:2]]
    assert sorted(kept) == sorted(expected)
    # Every class has the same number, in turn, as in every config.
    assert [row["label"] for row in rows] == [index % 3 for index in range(21)]
    assert {name: one.kept for name, one in done.classes.items()} == dict.fromkeys(LABELS, 2)
    for label, name in enumerate(LABELS):
        of_class = [one for one in candidates if one["label"] == label]
        wrong = sum(one[MARGIN] < 0 for one in of_class)
        assert (done.classes[name].candidates, done.classes[name].assigned_to_others) == (6, wrong)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a round; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("grown")
    generate([recipe(folder, "base")], folder / "out")
    add(folder / "out")
    return folder / "out"


def test_a_round_is_a_recipe_that_verifies_and_replays(grown: Path, tmp_path: Path) -> None:
    out = grown
    assert verify_set(out).whole
    chosen = stored_recipe(out, "base-round-1")
    assert "6 candidates per class, the 2 with the highest entropy by classifier run" in (
        chosen.source
    )
    assert "a" * 64 in chosen.source
    manifest = read_manifest(out)
    assert manifest is not None
    assert manifest.gates["judge"].revision == "a" * 64
    planned = plan(chosen).rows(0, 21)
    stored = rows_of(out, "base-round-1")
    assert [(one.recipe, one.index, one.seed) for one in planned] == [
        (row["recipe"], row["index"], row["seed"]) for row in stored
    ]
    place = next(i for i, row in enumerate(stored) if row["recipe"] == "base-candidates-1")
    again = replay(out, config="base-round-1", index=place, renderer_factory=FakeRenderer)
    assert again.config == "base-candidates-1"
    assert again.regenerated.describe() == "identical bytes"
    # Built elsewhere from its recipes alone, without the judge, it has the same images.
    generate(load_recipes(out / "recipes"), tmp_path / "elsewhere")
    elsewhere = rows_of(tmp_path / "elsewhere", "base-round-1")
    assert [row["image"] for row in elsewhere] == [row["image"] for row in stored]


def test_candidates_share_no_noise_with_the_config(tmp_path: Path) -> None:
    shared = {"noise": "shared", "num_inference_steps": 2}
    generate([recipe(tmp_path, "base", sampling=shared)], tmp_path / "out")
    add(tmp_path / "out")
    seeds = {
        name: {row["seed"] for row in rows_of(tmp_path / "out", name)}
        for name in ("base", "base-candidates-1")
    }
    assert not seeds["base"] & seeds["base-candidates-1"]
    assert len(seeds["base-candidates-1"]) == 6


def test_the_same_command_again_changes_nothing(grown: Path) -> None:
    first, calls = tree(grown), FakeRenderer.calls
    add(grown)
    assert tree(grown) == first
    assert FakeRenderer.calls == calls


def test_an_interrupted_round_is_completed(out: Path, grown: Path) -> None:
    def stop(path: Path) -> None:
        half = load_recipe(path, images_per_class=3)
        generate([half], out)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_round(out, "base", JUDGE, WANTED, generate=stop, show_progress=False)
    add(out)
    assert verify_set(out).whole
    assert rows_of(out, "base-round-1") == rows_of(grown, "base-round-1")


def test_a_second_round_grows_the_first(out: Path) -> None:
    add(out)
    done = add(out, "base-round-1", judge=Judge(by_corner, model="next", revision="b" * 64))
    assert (done.config, done.candidates, done.images) == ("base-round-2", "base-candidates-2", 27)
    first, second = stored_recipe(out, "base-round-1"), stored_recipe(out, "base-round-2")
    assert dict(list(second.rows.items())[:2]) == first.rows
    assert verify_set(out).whole
    costs = json.loads((out / "rounds.json").read_text())
    assert [costs[name]["weights_sha256"][0] for name in ("base-round-1", "base-round-2")] == [
        "a",
        "b",
    ]
    assert costs["base-round-2"]["generated"] == 18
    assert costs["base-round-2"]["generation_seconds"] >= 0


def test_a_round_is_not_replaced_by_another_choice(grown: Path) -> None:
    out = grown
    before = tree(out)
    message = (
        r"base-round-1 exists with other images \(data-factory grow: of 6 candidates .* a{64}\)"
    )
    for judge, wanted in (
        (Judge(by_corner, model="run", revision="c" * 64), WANTED),
        (JUDGE, Wanted(candidates=6, keep=1)),
        (JUDGE, Wanted(candidates=6, keep=2, by="margin")),
    ):
        with pytest.raises(UserError, match=message):
            add(out, judge=judge, wanted=wanted)
    assert tree(out) == before


def test_what_no_round_can_grow_is_refused(out: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--keep 7 is more than --candidates 6; lower it"):
        add(out, wanted=Wanted(candidates=6, keep=7))
    with pytest.raises(UserError, match="no config 'bse'; it has: base"):
        add(out, "bse")
    recipe(tmp_path, "word", prompt="the {class}")
    generate([combination(tmp_path, "both", ["base", "word"])], out)
    calls = FakeRenderer.calls
    with pytest.raises(UserError, match="both is a combination; name a config with its own images"):
        add(out, "both")
    assert FakeRenderer.calls == calls


class Flawed(FakeRenderer):
    """Every second cat of the candidates fails."""

    def render(self, rows: Sequence[Any], *, batch_size: int) -> Any:
        images = super().render(rows, batch_size=batch_size)
        is_flawed = [row.recipe != "base" and row.index % 6 == 0 for row in rows]
        return [
            np.zeros_like(image) if flawed else image
            for image, flawed in zip(images, is_flawed, strict=True)
        ]


def test_failed_candidates_are_not_chosen(out: Path) -> None:
    def flawed(path: Path) -> None:
        build([load_recipe(path)], out, show_progress=False, renderer_factory=Flawed)

    with pytest.raises(UserError, match=r"class cat has 3 candidates .* --keep is 4; lower it"):
        add_round(out, "base", JUDGE, Wanted(6, 4), generate=flawed, show_progress=False)
    done = add_round(out, "base", JUDGE, Wanted(6, 3), generate=flawed, show_progress=False)
    assert (done.generated, done.classes["cat"].candidates) == (15, 3)
    assert verify_set(out).whole


def test_the_command_asks_a_run_and_reports_the_cost(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", names=["ship", "cat", "dog"])
    started: list[list[str]] = []

    class Process:
        def __init__(self, words: list[str], stdout: int) -> None:
            started.append(words)

        def __enter__(self) -> Process:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def wait(self) -> int:
            if "--allow-pickle" in started[-1]:
                return 2
            at = started[-1].index("build") + 1
            fault = load_recipe(started[-1][at]).without_file().fault("is odd", "prompt")
            assert str(fault) == "base-candidates-1: prompt: is odd", "no temporary file is named"
            generate([load_recipe(started[-1][at])], out)
            return 0

    monkeypatch.setattr(grow.subprocess, "Popen", Process)
    words = ["grow", str(out), "--judge", str(run), "--candidates", "6", "--keep", "2"]
    with pytest.raises(Failure, match="base-candidates-1 was not generated, for the reason above"):
        main([*words, "--allow-pickle"])
    main([*words, "--json", "--processes", "2"])
    assert started[-1][-5:] == ["--device", "cpu", "--for-round", "--processes", "2"]
    answer = json.loads(capsys.readouterr().out)
    assert answer["config"] == "base-round-1"
    # Columns are those of the dataset's classes, whatever the order in the run.
    from eval.classifier import load_classifier

    rows = rows_of(out, "base-candidates-1")
    (probabilities,) = load_classifier(run)([image_of(rows[0])], top_k=3)
    scores = {one["label"]: one["score"] for one in probabilities}
    own = scores.pop(LABELS[rows[0]["label"]])
    assert rows[0][MARGIN] == pytest.approx(own - max(scores.values()), abs=1e-5)
    main([*words, "--config", "base"])
    shown = capsys.readouterr().out
    assert "base-round-1 has 21 images: those of base, and 6 of 18 candidates" in shown
    assert "18 images generated in" in shown
    assert "train " in shown.splitlines()[-1]
    main(words)
    assert "base-round-1 has 21 images" in capsys.readouterr().out, "nothing is added again"
    assert len(read_manifest(out).configs) == 3
    other = write_run(tmp_path / "other", names=["cat", "dog", "emu"])
    with pytest.raises(UserError, match=r"its classes are not those of .*only one of them has"):
        main(["grow", str(out), "--config", "base", "--judge", str(other), *words[4:]])


def image_of(row: dict[str, Any]) -> Any:
    from factory.gates.base import image_of as opened

    return opened(row)
