"""A study from sets to report, at toy size: every step real, nothing done twice, all measured."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from eval.cli import main
from eval.scores import read_scores
from eval.study.paper import TABLE_1
from eval.study.plan import REFERENCE
from eval.study.report import to_markdown, verdict
from eval.study.results import Results
from eval.study.spec import read_study
from eval.study.steps import Ledger, Step, run_all
from factory.embedded_model import embedded_revision
from factory.errors import Failure, UserError
from factory.open_data import open_dataset

ROOT = Path(__file__).parent.parent
TOY: dict[str, Any] = {
    "title": "A toy",
    "models": ["test_resnet"],
    "seeds": [0, 1],
    "preset": "digits",
    "epochs": 2,
    "keep_every": 1,
    "scorings": ["best-on-test"],
    "sets": {
        "digits": {
            "paper": "CIFAR-10",
            "recipes": ["quickstart/base-class", "quickstart/class-prompt"],
            "images_per_class": 4,
            "build": ["--set", "sampling.num_inference_steps=1"],
            "real": {"dataset": "", "filter": "label < 9"},
        }
    },
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    main(["digits", str(folder / "all")])
    rows = open_dataset(str(folder / "all"), preferred_split="test").dataset
    few = folder / "digits"
    few.mkdir()
    rows.select(range(150)).to_parquet(str(few / "test-00000-of-00001.parquet"))
    return few


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run each step's command in this process, as `python -m` would; return what was run."""
    import factory.cli
    import train.cli

    ran: list[str] = []

    def run(command: list[str], *, stdout: Any, check: bool, **_: Any) -> Any:
        package, *arguments = command[command.index("-m") + 1 :]
        ran.append(" ".join([package, *arguments[:1]]))
        try:
            if package == "train":
                monkeypatch.setattr(sys, "argv", ["train", *arguments])
                train.cli.main()
            else:
                (factory.cli.main if package == "factory" else main)(arguments)
        except UserError as error:
            stdout.write(f"{error}\n")
            return subprocess.CompletedProcess(command, 2)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("eval.study.steps.subprocess.run", run)
    return ran


def write_toy(folder: Path, real: Path, **changes: Any) -> Path:
    text = json.loads(json.dumps(TOY)) | changes
    text["sets"]["digits"]["real"]["dataset"] = str(real)
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(text))
    return path


@pytest.mark.slow
def test_a_study_measures_reports_and_repeats_nothing(
    real: Path, tmp_path: Path, in_process: list[str]
) -> None:
    toy, out = write_toy(tmp_path, real), tmp_path / "out"
    options = ["--reference", f"digits={real}"]
    main(["study", str(toy), str(out), *options])
    assert in_process.count("factory build") == 2
    assert sum(one.startswith("train ") for one in in_process) == 6
    assert in_process.count("eval gap") == 2
    assert sum(one.startswith("eval score") for one in in_process) == 8
    results = Results.model_validate_json((out / "study.json").read_text())
    one = results.sets["digits"]
    assert [row.name for row in one.rows] == ["base-class", "class-prompt", REFERENCE]
    base, prompt, reference = one.rows
    assert (base.images, prompt.images, reference.images) == (40, 40, 40)
    assert (base.drawn, reference.drawn, reference.build_seconds) == (40, 0, None)
    assert (base.paper, prompt.paper_difference) == (60.5, 1.82)
    cell = prompt.cells["test_resnet"]
    files = sorted((out / "runs/digits/class-prompt").glob("*/scores-study-honest.json"))
    assert sorted(cell.top1) == sorted(100 * read_scores(f).metrics.top1 for f in files)
    assert cell.difference == pytest.approx(cell.mean - base.cells["test_resnet"].mean)
    assert all(value is not None for value in prompt.reasons.values())
    assert set(one.scorings["best-on-test"]) == {"test_resnet"}
    assert one.scorings["best-on-test"]["test_resnet"] >= 0
    text = (out / "study.md").read_text()
    assert results.generator_revisions == [embedded_revision()]
    assert f"Pictures by `embedded` (revision {str(embedded_revision())[:12]})" in text
    assert f"| {cell.mean:.2f} ± {cell.std:.2f} ({cell.difference:+.2f})" in text
    assert "python -m eval study" in text and str(tmp_path / "out") not in text.split("OUT")[0]

    in_process.clear()
    first = (out / "study.md").read_text(), (out / "study.json").read_text()
    main(["study", str(toy), str(out), *options])
    assert in_process == []
    assert first == ((out / "study.md").read_text(), (out / "study.json").read_text())

    # A score that was lost is measured again, and it alone.
    files[0].unlink()
    main(["study", str(toy), str(out), *options])
    assert in_process == ["eval score"]
    assert first[1] == (out / "study.json").read_text() or "seconds" in first[1]

    # A larger set is grown, and gives other runs beside the old ones.
    in_process.clear()
    main(["study", str(toy), str(out), "--images-per-class", "5", "--seeds", "0"])
    assert in_process.count("factory build") == 2
    assert sum(one.startswith("train ") for one in in_process) == 2
    grown = json.loads((out / "study.json").read_text())["sets"]["digits"]["rows"]
    assert [row["images"] for row in grown] == [50, 50]
    assert "| real images" in (out / "study.md").read_text()
    assert "not measured" in (out / "study.md").read_text()


@pytest.mark.soak
def test_a_study_in_processes_of_its_own(real: Path, tmp_path: Path) -> None:
    toy = write_toy(tmp_path, real, seeds=[0], scorings=[])
    command = [sys.executable, "-m", "eval", "study", str(toy), str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--jobs", "2", "--processes", "2"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "study.md").is_file()


def step(folder: Path, name: str, code: str, **changes: Any) -> Step:
    values: dict[str, Any] = {
        "command": ("timeit", "-n", "1", "-r", "1", code),
        "inputs": (),
        "outputs": lambda: [folder / "made"],
    }
    return Step(name, **(values | changes))


def test_steps_are_known_by_what_goes_in_and_comes_out(tmp_path: Path) -> None:
    made = tmp_path / "made"
    code = f"open({str(made)!r}, 'a').write('x')"
    ledger, one = Ledger(tmp_path), step(tmp_path, "a/b", code)
    assert not ledger.is_done(one) and ledger.seconds(one) is None
    run_all(ledger, [one])
    first = made.read_text()
    assert ledger.is_done(one) and (ledger.seconds(one) or 0) > 0
    run_all(ledger, [one])
    assert made.read_text() == first
    assert not ledger.is_done(step(tmp_path, "a/b", code, inputs=("other",)))
    made.write_text("changed")
    assert not ledger.is_done(one)
    assert "timeit" in (tmp_path / "logs" / "a" / "b.log").read_text()


def test_a_step_that_fails_says_why_and_stops_the_rest(tmp_path: Path) -> None:
    bad = step(tmp_path, "bad", "import os; os._exit(2)")
    never = step(tmp_path, "never", f"open({str(tmp_path / 'made')!r}, 'w')")
    with pytest.raises(UserError, match=r"bad: exit status 2; all of it in .*bad\.log"):
        run_all(Ledger(tmp_path), [bad, never])
    assert not (tmp_path / "made").exists()
    silent = step(tmp_path, "silent", "pass")
    with pytest.raises(Failure, match="silent: left none of the files"):
        run_all(Ledger(tmp_path), [silent])
    crashed = step(tmp_path, "crashed", "1/0")
    with pytest.raises(Failure, match=r"(?s)exit status 1.*ZeroDivisionError"):
        run_all(Ledger(tmp_path), [crashed])


BAD: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda text: text.pop("models"), r"toy.yaml: models: Field required"),
    (lambda text: text.update(model_s=1), r"toy.yaml: model_s: Extra inputs"),
    (lambda text: text.update(seeds=[1, 1]), r"seeds: one of \[1, 1\] stands there twice"),
    (lambda text: text["sets"]["digits"].update(recipes=["a/x", "b/x.yaml"]), "make the row x"),
    (lambda text: text.update(seeds=[-1]), r"seeds.0: Input should be greater than or equal to 0"),
    (lambda text: text["sets"]["digits"].update(images_per_class=0), "greater than or equal to 1"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message[:20] for _, message in BAD])
def test_faults_of_a_study_file(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    text = json.loads(json.dumps(TOY))
    change(text)
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(text))
    with pytest.raises(UserError, match=message):
        read_study(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only", "cifar10"), "--only cifar10: the study has: digits"),
        (("--real", "digits"), "must be SET=DATASET"),
        (("--real", "other=x"), "has no set 'other'; it has: digits"),
        (("--seeds", "one"), "whole numbers"),
        (("--report", "no/where/x.md"), "folder no/where doesn't exist"),
    ],
)
def test_bad_arguments(real: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(["study", str(write_toy(tmp_path, real)), str(tmp_path / "out"), *options])
    assert not (tmp_path / "out").exists()


def test_the_study_of_the_repository_reads_and_names_recipes_that_are_there() -> None:
    spec = read_study(ROOT / "docs" / "study.yaml")
    assert list(spec.sets) == ["cifar10", "eurosat"]
    for one in spec.sets.values():
        assert one.rows[0] == "base-class" and one.paper in TABLE_1
        assert {"multi-domain", "random-guidance", "all-combined"} < set(one.rows)
        assert "all-combined-equal-size" in one.rows
        for recipe in one.recipes:
            assert (ROOT / "recipes" / f"{recipe}.yaml").is_file(), recipe


def test_the_papers_table_is_the_papers() -> None:
    cifar10 = {"base-class": 60.5, "anti-aliased": 63.84, "class-prompt": 62.32}
    cifar10 |= {"multi-domain": 67.97, "random-guidance": 72.93, "all-combined": 81}
    assert TABLE_1["CIFAR-10"] == {**cifar10, "best-tricks": 81}
    assert TABLE_1["EuroSAT"]["random-guidance"] == 40.18
    assert TABLE_1["EuroSAT"]["best-tricks"] == 42.59
    assert "class-prompt" not in TABLE_1["EuroSAT"]


def results_of(differences: dict[str, tuple[float, tuple[float, float] | None]]) -> Results:
    """Return made-up results: the report's words are under test, not a measurement."""

    def row(name: str, paper: float | None, found: Any) -> dict[str, Any]:
        difference, interval = found or (None, None)
        cell = {
            "top1": [50.0],
            "mean": 50.0,
            "std": None,
            "difference": difference,
            "difference_interval": interval,
            "train_seconds": None,
        }
        return {
            **{"name": name, "images": 10, "drawn": 10, "build_seconds": 60.0, "commands": []},
            **{"paper": 1.0, "paper_difference": paper, "cells": {"net": cell}},
            "reasons": {"two_sample": None, "spread": None, "fidelity": None},
        }

    rows = [row("base-class", None, None)]
    rows += [row(name, paper_sign(name), found) for name, found in differences.items()]
    one = {
        **{"paper": "CIFAR-10", "real": "real", "real_images": 5, "real_fingerprint": "f" * 64},
        **{"floor": None, "rows": rows, "scorings": {}},
        "correlations": {"net": {"two_sample": None, "spread": (0.5, 0.1), "fidelity": None}},
    }
    return Results.model_validate(
        {
            **{"title": "T", "generator": "embedded", "models": ["net"], "seeds": [0]},
            "generator_revisions": ["a" * 40],
            **{"preset": "quick", "epochs": None, "features": {"s": "run"}, "reasons": ""},
            **{"versions": {"torch": "2"}, "sets": {"s": one}},
        }
    )


def test_each_set_names_the_features_it_was_told_by() -> None:
    text = results_of({}).model_dump()
    one = text["sets"]["s"]
    one["rows"][0]["reasons"]["spread"] = 0.5
    text |= {"sets": {"a": one, "b": one}, "features": {"a": "runs/of-a", "b": "runs/of-b"}}
    report = to_markdown(Results.model_validate(text), command="eval study")
    assert report.count("Features of `runs/of-a`") == 1
    assert report.count("Features of `runs/of-b`") == 1


def paper_sign(name: str) -> float:
    return -2.0 if name == "worse-there" else 2.0


@pytest.mark.parametrize(
    ("name", "interval", "expected"),
    [
        ("better-there", (1.0, 3.0), "reproduced"),
        ("better-there", (-3.0, -1.0), "opposite"),
        ("better-there", (-1.0, 3.0), "not told from 0"),
        ("worse-there", (-3.0, -1.0), "reproduced"),
        ("better-there", None, "one seed tells nothing"),
    ],
)
def test_verdicts_follow_from_the_interval(
    name: str, interval: tuple[float, float] | None, expected: str
) -> None:
    results = results_of({name: (1.0, interval)})
    row = results.sets["s"].rows[1]
    assert verdict(row, row.cells["net"]) == expected
    text = to_markdown(results, command="eval study")
    assert f"| {expected}" in text.replace("  ", " ") or expected in text
    assert "No reason beyond these figures has been tested yet." in text
