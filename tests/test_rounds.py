"""Rounds of `grow`: what is chosen, and that the choice is a recipe like any other."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_models
from build_parts import LABELS, SETTINGS, FakeRenderer, combination, recipe, tree
from quick_python import python
from scipy.special import softmax
from test_eval_score import write_run

from factory.builder.build import build
from factory.command_line import grow
from factory.command_line.cli import main
from factory.common.entry import run_main
from factory.common.errors import Failure, UserError
from factory.common.process_messages import FOLDER, LastWords
from factory.common.program import command
from factory.common.stop_signals import Stopped
from factory.gates import round_costs
from factory.gates.choice import Wanted, quotas
from factory.gates.judge import ENTROPY, MARGIN, WEIGHTS, Judge, entropies, margins
from factory.gates.rounds import Round, add_round
from factory.inspection.replay import replay
from factory.inspection.verify import verify_set
from factory.planner.plan import plan
from factory.recipe.library import load_recipe, load_recipes
from factory.recipe.lint import lint
from factory.shards.directory import stored_recipe
from factory.shards.manifest import read_manifest
from factory.shards.settings import BuildSettings

ROOT = Path(__file__).parent.parent
WANTED = Wanted(candidates=6, keep=2)


def generate(recipes: Any, out: Path, renderer: type[FakeRenderer] = FakeRenderer) -> None:
    build(recipes, out, settings=SETTINGS, show_progress=False, renderer_factory=renderer)


def by_colour(images: Sequence[Any]) -> np.ndarray:
    """Return probabilities that depend on the mean colour of each image."""
    return softmax([np.asarray(image).mean(axis=(0, 1)) / 5 for image in images], axis=1)


def by_corner(images: Sequence[Any]) -> np.ndarray:
    """Return probabilities that depend on one pixel of each image."""
    return softmax([np.asarray(image)[0, 0] / 50 for image in images], axis=1)


JUDGE = Judge(by_colour, model="run", revision="a" * 64)


class Counting:
    """A classifier that counts the images it is asked about."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, images: Sequence[Any]) -> np.ndarray:
        self.images += len(images)
        return by_corner(images)


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


@pytest.fixture
def copied(grown: Path, tmp_path: Path) -> Path:
    """A copy of the dataset with a round."""
    return shutil.copytree(grown, tmp_path / "copied")


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
    assert {row[WEIGHTS] for name in manifest.configs for row in rows_of(out, name)} == {"a" * 64}
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
    """The rest of their sampling is that of the config."""
    shared = {"noise": "shared", "num_inference_steps": 2, "guidance_interval": [0.5, 1]}
    generate([recipe(tmp_path, "base", sampling=shared)], tmp_path / "out")
    add(tmp_path / "out")
    seeds = {
        name: {row["seed"] for row in rows_of(tmp_path / "out", name)}
        for name in ("base", "base-candidates-1")
    }
    assert not seeds["base"] & seeds["base-candidates-1"]
    assert len(seeds["base-candidates-1"]) == 6
    own, other = (stored_recipe(tmp_path / "out", name).sampling for name in seeds)
    assert own == other.model_copy(update={"seed": own.seed})


def test_the_same_command_again_changes_nothing(grown: Path) -> None:
    first, calls = tree(grown), FakeRenderer.calls
    add(grown)
    assert tree(grown) == first
    assert FakeRenderer.calls == calls


def stop(*args: Any, **options: Any) -> None:
    raise KeyboardInterrupt


def test_a_round_that_was_stopped_twice_is_completed_and_its_seconds_are_added(
    out: Path, grown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(round_costs, "time", SimpleNamespace(monotonic=lambda: now))

    def launch(*, images: int, seconds: float, stops: bool) -> Round:
        def part(path: Path) -> None:
            nonlocal now
            generate([load_recipe(path, images_per_class=images)], out)
            now += seconds
            if stops:
                raise KeyboardInterrupt

        def classify(images: Sequence[Any]) -> np.ndarray:
            nonlocal now
            now += 1
            return by_colour(images)

        judge = Judge(classify, model="run", revision="a" * 64)
        return add_round(out, "base", judge, WANTED, generate=part, show_progress=False)

    with pytest.raises(KeyboardInterrupt):
        launch(images=3, seconds=40, stops=True)
    known = json.loads((out / "rounds.json").read_text())
    begun = {"unfinished": True, "generation_seconds": 40.0, "judging_seconds": 0.0}
    assert known == {"base-round-1": begun}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("factory.builder.row_maker.copy_rows", stop)
        launch(images=6, seconds=20, stops=False)
    assert not read_manifest(out).configs["base-round-1"].complete
    done = launch(images=6, seconds=3, stops=False)
    assert verify_set(out).whole
    assert rows_of(out, "base-round-1") == rows_of(grown, "base-round-1")
    # Five shards: two of the config, three of the candidates.
    assert (done.generation_seconds, done.judging_seconds) == (63.0, 5.0)
    known = (out / "rounds.json").read_text()
    assert json.loads(known)["base-round-1"]["generation_seconds"] == 63.0
    assert launch(images=6, seconds=20, stops=False) == done
    assert (out / "rounds.json").read_text() == known
    # A damaged record is reported before anything is done.
    (out / "rounds.json").write_text('{"base-round-1": {"judging_seconds": "5"}}')
    with pytest.raises(UserError, match=r"rounds\.json: is not a record of rounds"):
        add(out)


def test_a_second_judge_measures_only_the_new_candidates(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copied
    first = rows_of(out, "base-round-1")
    second = Counting()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("factory.gates.rounds.build", stop)
        add(out, "base-round-1", judge=Judge(second, model="next", revision="b" * 64))
    assert second.images == 18
    assert rows_of(out, "base-round-1") == first
    # The choice of another judge is its own, also among candidates that were judged before.
    third = Counting()
    done = add(out, "base-round-1", judge=Judge(third, model="third", revision="c" * 64))
    assert third.images == 18
    assert (done.config, done.candidates, done.images) == ("base-round-2", "base-candidates-2", 27)
    assert dict(list(stored_recipe(out, "base-round-2").rows.items())[:2]) == (
        stored_recipe(out, "base-round-1").rows
    )
    assert {row[WEIGHTS] for row in rows_of(out, "base-candidates-2")} == {"c" * 64}
    assert {row[WEIGHTS] for row in rows_of(out, "base-round-2")} == {"a" * 64, "c" * 64}
    again = Counting()
    add(out, judge=Judge(again, model="run", revision="a" * 64))
    assert again.images == 0
    assert verify_set(out).whole
    costs = json.loads((out / "rounds.json").read_text())
    judges = {name: one["weights_sha256"][0] for name, one in costs.items()}
    assert judges == {"base-round-1": "a", "base-round-2": "c"}


class Labelled(FakeRenderer):
    """Generates noise with the label in one pixel."""

    def render(self, rows: Sequence[Any], *, batch_size: int) -> Any:
        images = super().render(rows, batch_size=batch_size)
        for row, image in zip(rows, images, strict=True):
            image[0, 0] = row.label
        return images


def blind_to_ships(images: Sequence[Any]) -> np.ndarray:
    """Return probabilities of a judge that takes every ship for a dog."""
    pixels = np.array([np.asarray(image) for image in images])
    seen = np.minimum(pixels[:, 0, 0, 0], 1)
    return softmax(np.eye(3)[seen] * (1 + pixels[:, 1, 1, :1] / 255), axis=1)


def test_quotas_by_deficit_add_most_of_a_class_that_the_judge_cannot_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    generate([recipe(tmp_path, "base")], out, Labelled)

    def add_more(wanted: Wanted) -> Round:
        judge = Judge(blind_to_ships, model="run", revision="a" * 64)
        return add_round(
            out,
            "base",
            judge,
            wanted,
            generate=lambda path: generate([load_recipe(path)], out, Labelled),
            show_progress=False,
        )

    done = add_more(Wanted(6, 2, quota="deficit"))
    assert {name: one.kept for name, one in done.classes.items()} == {"cat": 1, "dog": 1, "ship": 4}
    # (errors + 1) / (candidates + 2)
    assert [one.deficit for one in done.classes.values()] == [0.125, 0.125, 0.875]
    recorded = json.loads((out / "rounds.json").read_text())["base-round-1"]
    assert (recorded["quota"], recorded["classes"]["ship"]["kept"]) == ("deficit", 4)
    rows = rows_of(out, "base-round-1")
    assert [row["label"] for row in rows] == [*range(3)] * 6 + [2] * 3
    ships = [row for row in rows_of(out, "base-candidates-1") if row["label"] == 2]
    unsure = sorted(ships, key=lambda row: -row[ENTROPY])[:4]
    kept = [row["seed"] for row in rows if row["recipe"] != "base" and row["label"] == 2]
    assert sorted(kept) == sorted(row["seed"] for row in unsure)
    # The recipe alone plans these rows, and says how they were chosen.
    assert verify_set(out).whole
    chosen = stored_recipe(out, "base-round-1")
    assert "on average 2 (in proportion to 1 - recall) with the highest entropy" in chosen.source
    assert replay(out, config="base-round-1", index=20, renderer_factory=Labelled)
    assert "| `base-round-1` | 21 | 6 to 9 |" in (out / "README.md").read_text()
    main(["plan", str(out / "recipes")])
    assert "6 to 9" in capsys.readouterr().out
    (warning,) = lint([chosen])
    assert "lists 6 images of class 'cat' and 9 of 'ship'" in warning.message
    before = tree(out)
    assert add_more(Wanted(6, 2, quota="deficit")) == done
    with pytest.raises(UserError, match="base-round-1 exists with other images"):
        add_more(Wanted(6, 2))
    assert tree(out) == before


def test_quotas_are_limited_by_the_candidates_of_a_class() -> None:
    labels = np.repeat([0, 1, 2], [4, 4, 1])
    measured = {"label": labels, "index": np.arange(9), MARGIN: np.where(labels == 2, -1.0, 1.0)}
    wanted = Wanted(candidates=4, keep=2, quota="deficit")
    assert quotas(measured, wanted, labels=LABELS) == [3, 2, 1]
    with pytest.raises(UserError, match=r"there are 9 candidates .*--keep 4 takes 12; lower it"):
        quotas(measured, Wanted(candidates=4, keep=4, quota="deficit"), labels=LABELS)


def test_a_judge_without_finite_probabilities_is_named(grown: Path) -> None:
    broken = Judge(lambda images: np.full((len(images), 3), np.nan), model="bad", revision="d" * 64)
    row = rows_of(grown, "base")[0] | {WEIGHTS: None}
    with pytest.raises(UserError, match="--judge bad: gives probabilities that are not finite"):
        broken.measure([row])


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


def test_candidates_are_generated_with_the_recorded_offload(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(out)
    settings = replace(manifest.settings, device="cuda")
    used = manifest.model_copy(update={"settings": settings, "offload": ("model", "group")})
    started: list[list[str]] = []

    def start(words: list[str], **_: Any) -> None:
        started.append(words)
        raise Stopped(signal.SIGINT)

    monkeypatch.setattr(grow.subprocess, "Popen", start)
    given = argparse.Namespace(
        out=out, allow_cut_prompts=False, allow_pickle=False, quiet=False, processes=None
    )
    for found, expected in ((used, ["--offload", "group"]), (manifest, [])):
        with pytest.raises(Stopped):
            grow._generate(Path("r.yaml"), given, found)
        assert started[-1][started[-1].index("--for-round") + 1 :] == expected


def test_the_command_asks_a_run_and_reports_the_cost(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", names=["ship", "cat", "dog"])
    started: list[list[str]] = []

    class Process:
        def __init__(self, words: list[str], stdout: int, env: dict[str, str]) -> None:
            started.append(words)
            self.messages = Path(env[FOLDER])

        def __enter__(self) -> Process:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def terminate(self) -> None:
            pass

        def wait(self) -> int:
            if "--allow-pickle" in started[-1]:
                last = asdict(LastWords(2, "no such weights"))
                (self.messages / "1.json").write_text(json.dumps(last))
                return 2
            at = started[-1].index("build") + 1
            fault = load_recipe(started[-1][at]).without_file().fault("is odd", "prompt")
            assert str(fault) == "base-candidates-1: prompt: is odd", "no temporary file is named"
            if "--allow-cut-prompts" in started[-1]:
                raise Stopped(signal.SIGINT)
            generate([load_recipe(started[-1][at])], out)
            return 0

    monkeypatch.setattr(grow.subprocess, "Popen", Process)
    words = ["grow", str(out), "--judge", str(run), "--candidates", "6", "--keep", "2"]
    with pytest.raises(Failure, match=r"base-candidates-1 was not generated: no such weights$"):
        main([*words, "--allow-pickle"])
    line = [*words, "--allow-cut-prompts"]
    monkeypatch.setattr(sys, "argv", ["data-factory", *line])
    with pytest.raises(SystemExit) as ended:
        run_main(main)
    assert ended.value.code == 130
    (shown,) = capsys.readouterr().err.splitlines()
    assert shown == (
        "stopped by Ctrl-C (SIGINT); 0 of 18 images of base-candidates-1 are finished and kept; "
        "continue with: "
        f"{command(shlex.join(line))}"
    )
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
    assert "kept per class (--quota equal):" in shown
    named = f"train {out} --config base-round-1 --model test_resnet --out RUN"
    assert shown.splitlines()[-1] == f"next: {command(named)}"
    main(words)
    assert "base-round-1 has 21 images" in capsys.readouterr().out, "nothing is added again"
    assert len(read_manifest(out).configs) == 3
    other = write_run(tmp_path / "other", names=["cat", "dog", "emu"])
    with pytest.raises(UserError, match=r"its classes are not those of .*only one of them has"):
        main(["grow", str(out), "--config", "base", "--judge", str(other), *words[4:]])


def test_measurements_resume_where_their_scripts_wrote_before(tmp_path: Path) -> None:
    import measure_filter
    import measure_rounds

    table = pa.table({"correct": [True, False, True]})
    args = SimpleNamespace(out=tmp_path)
    pq.write_table(table.slice(1), tmp_path / "compared.parquet")
    assert measure_rounds.scored(tmp_path, "no-images", []).tolist() == [0, 1]
    (tmp_path / "base/draw-1").mkdir(parents=True)
    folders = [measure_filter._folder(args, "base", number).name for number in (0, 1)]
    assert folders == ["dataset-0", "draw-1"]


def test_the_measurement_counts_what_a_row_chose_of_each_class(tmp_path: Path) -> None:
    import measure_rounds

    file = tmp_path / "seed-3/highest-entropy-quota-by-deficit/data/train.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.table({"label": [0, 0, 1, 1, 1, 1, 2, 2, 2]}), file)
    args = SimpleNamespace(out=tmp_path, first=2)
    found = measure_rounds._chosen_per_class(args, 3, "highest entropy, quota by deficit")
    assert found.tolist() == [0, 2, 1]


def image_of(row: dict[str, Any]) -> Any:
    from factory.gates.base import image_of as opened

    return opened(row)


@pytest.mark.slow
def test_a_command_stopped_by_a_signal_counts_the_candidates_and_is_resumed(tmp_path: Path) -> None:
    model = tiny_models.save_stable_diffusion(tmp_path / "sd")
    file, out = tmp_path / "tiny.yaml", tmp_path / "out"
    file.write_text(
        "classes: [cat, dog, ship]\nimages_per_class: 4\nprompt: a {class}\n"
        f"sampling: {{num_inference_steps: 8}}\nmodel: {{id: {model}}}\noutput: {{size: 8}}\n"
    )
    settings = BuildSettings(batch_size=4, shard_size=8)
    build([load_recipe(file)], out, settings=settings, show_progress=False)
    run = write_run(tmp_path / "run", names=LABELS)
    words = ["grow", str(out), "--judge", str(run), "--candidates", "16", "--keep", "2"]
    words += ["--processes", "1", "--allow-local-model", "--quiet"]
    start = [python(), "-m", "factory.command_line"]
    where: dict[str, Any] = {"cwd": ROOT, "text": True, "stderr": subprocess.PIPE}
    with subprocess.Popen([*start, *words], stdout=subprocess.PIPE, **where) as process:
        while process.poll() is None and not list(out.glob("data/tiny-candidates-1/train-*")):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == 143, errors
    last = errors.splitlines()[-1]
    found = re.fullmatch(
        r"stopped by SIGTERM; (\d+) of 48 images of tiny-candidates-1 are finished and kept; "
        r"continue with: (.*)",
        last,
    )
    assert found and 8 <= int(found[1]) < 48, errors
    assert shlex.split(found[2])[-len(words) :] == words
    assert errors.count("are finished and kept") == 1
    again = subprocess.run([*start, *words], stdout=subprocess.PIPE, check=False, **where)
    assert again.returncode == 0, again.stderr
    assert "and 6 of 48 candidates" in again.stdout
