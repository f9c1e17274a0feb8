"""A small study from datasets to report: every step is real, and no step runs twice."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import yaml
from quick_python import python

from eval.cli import main
from eval.commands.study import _other_images, add_arguments
from eval.scores_io import read_scores
from eval.study.conclusions import check_texts, filled_in, interval, only
from eval.study.costs import costs_text
from eval.study.driver import check_labels
from eval.study.environments import all_devices, all_versions
from eval.study.paper import TABLE_1
from eval.study.plan import REFERENCE, Plan
from eval.study.report import to_markdown, verdict
from eval.study.result_fields import Results
from eval.study.settings import resolve
from eval.study.spec import StudySpec, read_study
from eval.study.statistics import (
    Estimate,
    Runs,
    difference,
    holm,
    spread_of_differences,
)
from eval.study.steps import Ledger, Step, content_of, run_all
from factory.common.console import Parser
from factory.common.errors import Failure, UserError
from factory.data.open import open_dataset
from factory.models.embedded import embedded_revision
from factory.renderer import pipelines

ROOT = Path(__file__).parent.parent
TOY: dict[str, Any] = {
    "title": "A toy",
    "models": ["test_resnet"],
    "seeds": [0, 1],
    "preset": "digits",
    "epochs": 2,
    "keep_every": 1,
    "scorings": ["best-on-test"],
    "set": {"sampling.num_inference_steps": 1},
    "limits": "A toy.",
    "sets": {
        "digits": {
            "paper": "CIFAR-10",
            "recipes": [
                "quickstart/base-class",
                {"recipe": "quickstart/class-prompt", "differs": ["prompt"], "image_seeds": [3]},
            ],
            "images_per_class": 3,
            "note": "Alone: {{ diff('digits', 'class-prompt', 'base-class') }}.",
            "image_seeds": [3, 4],
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
    rows.select(range(60)).to_parquet(str(few / "test-00000-of-00001.parquet"))
    return few


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run the command of each step in this process; return the commands."""
    import factory.cli.main
    import train.cli

    ran: list[str] = []

    def run(command: list[str], *, stdout: Any = None, **_: Any) -> Any:
        package, *arguments = command[command.index("-m") + 1 :]
        if stdout is None:
            # A question whose answer is read, not a step.
            answer = io.StringIO()
            with redirect_stdout(answer):
                factory.cli.main.main(arguments)
            return subprocess.CompletedProcess(command, 0, answer.getvalue())
        ran.append(" ".join([package, *arguments[:1]]))
        try:
            if package == "train":
                monkeypatch.setattr(sys, "argv", ["train", *arguments])
                train.cli.main()
            else:
                (factory.cli.main.main if package == "factory" else main)(arguments)
        except UserError as error:
            stdout.write(f"{error}\n")
            return subprocess.CompletedProcess(command, 2)
        return subprocess.CompletedProcess(command, 0)

    # Each build loads the model again otherwise; `Pipelines` shares it in the same way.
    loaded = cache(pipelines.load_pipeline)
    monkeypatch.setattr("factory.renderer.pipelines.load_pipeline", loaded)
    # Plots of `gap` take most of its time, and no study reads them.
    for plot in ("plot_sets", "plot_classes", "plot_coverage", "embed"):
        monkeypatch.setattr(f"eval.gap_steps.{plot}", lambda *_, **__: None)
    monkeypatch.setattr("eval.study.steps.subprocess.run", run)
    monkeypatch.setattr(
        "eval.study.steps.run_command",
        lambda command, output: run(command, stdout=output).returncode,
    )
    return ran


def write_toy(folder: Path, real: Path, **changes: Any) -> Path:
    text = json.loads(json.dumps(TOY)) | changes
    text["sets"]["digits"]["real"]["dataset"] = str(real)
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(text))
    return path


@pytest.mark.slow
def test_a_study_measures_reports_and_repeats_nothing(
    real: Path,
    tmp_path: Path,
    in_process: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    toy, out = write_toy(tmp_path, real), tmp_path / "out"
    spec = yaml.safe_load(toy.read_text())
    spec["sets"]["digits"]["reference"] = {"dataset": str(real)}
    toy.write_text(yaml.safe_dump(spec))
    main(["study", str(toy), str(out)])
    # Two image seeds of the base row, one of the other, one reference row, two seeds each.
    assert in_process.count("factory build") == 3
    assert sum(one.startswith("train ") for one in in_process) == 8
    assert in_process.count("eval gap") == 2
    # Standard scores of four groups, best-on-test of the first seeds' three, fidelity of two rows.
    assert in_process.count("eval score") == 4 + 3 + 2
    results = Results.model_validate_json((out / "study.json").read_text())
    one = results.sets["digits"]
    assert [row.name for row in one.rows] == ["base-class", "class-prompt", REFERENCE]
    base, prompt, reference = one.rows
    assert (base.images, prompt.images, reference.images) == (30, 30, 30)
    assert (base.generated, reference.generated, reference.build_seconds) == (30, 0, None)
    assert (base.image_seeds, prompt.image_seeds, reference.image_seeds) == ([3, 4], [3], [])
    assert base.settings is not None
    assert (base.settings.guidance(), base.settings.steps()) == ("7.5", "1")
    files = sorted((out / "runs/digits/class-prompt").glob("*/scores-study-standard.json"))
    cell = prompt.cells["test_resnet"]
    assert sorted(cell.top1) == sorted(100 * read_scores(f).metrics.top1 for f in files)
    assert cell.mean == pytest.approx(sum(cell.top1) / 2)
    (compared,) = one.comparisons
    shared = base.cells["test_resnet"].top1[:2]
    assert compared.estimate.value == pytest.approx((sum(cell.top1) - sum(shared)) / 2)
    assert (compared.paper, compared.differs) == (1.82, ["prompt"])
    assert base.gap is not None and base.gap.fidelity is not None
    assert one.scorings["best-on-test"]["test_resnet"] >= 0
    text = (out / "study.md").read_text()
    assert results.generator_revisions == [embedded_revision()]
    assert f"Images by `embedded` (revision {str(embedded_revision())[:12]})" in text
    assert text.index("## Limits") < text.index("Alone: ") < text.index("### Settings")
    assert f"Alone: {interval(compared.estimate)}." in text
    assert "data-factory study" in text and str(tmp_path / "out") not in text.split("OUT")[0]

    in_process.clear()
    first = (out / "study.md").read_text(), (out / "study.json").read_text()
    main(["study", str(toy), str(out)])
    assert in_process == []
    assert first == ((out / "study.md").read_text(), (out / "study.json").read_text())

    # Texts are about certain images and weights: on others they are left out.
    fingerprint = one.real_fingerprint
    for key, own, said in (
        ("real", fingerprint[:16], ""),
        ("real", "0" * 16, f"describe test images with fingerprint {'0' * 16}; {fingerprint[:16]}"),
        ("reference", "0" * 16, f"describe reference images with pixel hash {'0' * 16}; "),
        ("generator", "0" * 16, f"describe images of the generator's revision {'0' * 16}; "),
    ):
        spec["sets"]["digits"]["describes"] = {key: own}
        toy.write_text(yaml.safe_dump(spec))
        main(["study", str(toy), str(out)])
        report = (out / "study.md").read_text()
        assert ("A toy." in report, "Alone: " in report) == (not said, not said)
        assert said in report and report.count("are omitted") == (2 if said else 0)
    del spec["sets"]["digits"]["describes"]
    toy.write_text(yaml.safe_dump(spec))
    given = f"--reference digits={real}"
    main(["study", str(toy), str(out), *given.split()])
    report = (out / "study.md").read_text()
    assert f"Run with `{given}`, which differ" in report and "Alone: " not in report
    assert in_process == []

    # A lost score is measured again, and nothing else.
    files[0].unlink()
    main(["study", str(toy), str(out)])
    assert in_process == ["eval score"]
    assert first[1] == (out / "study.json").read_text() or "seconds" in first[1]

    # A larger dataset is grown, and gives other runs beside the old ones.
    in_process.clear()
    grow = ["study", str(toy), str(out), "--images-per-class", "4", "--seed", "0"]
    main(grow)
    assert in_process.count("factory build") == 3
    assert sum(one.startswith("train ") for one in in_process) == 4
    grown = json.loads((out / "study.json").read_text())["sets"]["digits"]["rows"]
    assert [row["images"] for row in grown] == [40, 40, 40]
    # The report never reads a score of images that a row no longer has.
    judged = {path.name: read_scores(path) for path in (out / "fidelity/digits").iterdir()}
    assert sorted(judged) == ["base-class.json", "class-prompt.json"]
    assert [scores.real.num_images for scores in judged.values()] == [40, 40]
    tops = [judged[f"{row['name']}.json"].metrics.top1 for row in grown[:2]]
    assert [row["gap"]["fidelity"] for row in grown[:2]] == tops
    report = (out / "study.md").read_text()
    assert "Run with `--images-per-class 4 --seed 0`" in report and "Alone: " not in report
    capsys.readouterr()
    main([*grow, "--json"])
    assert json.loads(capsys.readouterr().out) == json.loads((out / "study.json").read_text())


def test_labels_that_do_not_match_are_found_before_anything_is_built(
    real: Path, tmp_path: Path, in_process: list[str]
) -> None:
    rows = open_dataset(str(real), preferred_split="test").dataset
    names = [f"digit {name}" for name in rows.features["label"].names]
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    features = rows.features.copy()
    features["label"] = datasets.ClassLabel(names=names)
    rows.cast(features).to_parquet(str(renamed / "test-00000-of-00001.parquet"))
    toy, out = write_toy(tmp_path, renamed, models=["test_resnet"]), tmp_path / "out"
    with pytest.raises(
        UserError,
        match=r"sets.digits has no class for 'digit 0'.*map them in sets.digits.real.labels"
        r".* with sets.digits.real.filter",
    ):
        main(["study", str(toy), str(out)])
    assert in_process == [] and not out.exists()
    text = yaml.safe_load(toy.read_text())
    features["label"] = datasets.ClassLabel(names=["other", *names[1:]])
    zeros = rows.cast(features).filter(lambda row: row["label"] == 0)
    (tmp_path / "zeros").mkdir()
    zeros.to_parquet(str(tmp_path / "zeros" / "train-00000-of-00001.parquet"))
    training = {"dataset": str(tmp_path / "zeros"), "split": "train"}
    digits = text["sets"]["digits"] | {"real": None, "reference": training}
    spec = StudySpec.model_validate(text | {"sets": {"digits": digits}})
    advice = r"class names, or exclude .* with sets.digits.reference.filter \"label != 'other'\""
    with pytest.raises(UserError, match=advice):
        check_labels(Plan(spec, resolve(spec), out))
    digits["reference"] = training | {"filter": "colour > 1"}
    spec = StudySpec.model_validate(text | {"sets": {"digits": digits}})
    with pytest.raises(UserError, match=r"^sets.digits.reference.filter 'colour > 1': no column"):
        check_labels(Plan(spec, resolve(spec), out))
    text["sets"]["digits"]["real"]["labels"] = {name: name.split()[1] for name in names}
    toy.write_text(yaml.safe_dump(text))
    spec = read_study(toy)
    plan = Plan(spec, resolve(spec), out)
    check_labels(plan)
    assert plan.labels_path("digits") == out / "labels" / "digits.yaml"


def test_known_classes_only_names_the_classes_without_test_images(
    real: Path, tmp_path: Path, in_process: list[str]
) -> None:
    toy = write_toy(tmp_path, real)
    text = yaml.safe_load(toy.read_text())
    text["sets"]["digits"] |= {"known_classes_only": True}
    toy.write_text(yaml.safe_dump(text))
    with pytest.raises(UserError, match="known_classes_only finds no test image of 9; spell"):
        main(["study", str(toy), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ diff('digits', 'base-class', 'class-prompt') }}", "does not compare base-class with"),
        ("{{ score('digits', 'multi-domain') }}", "digits has no row multi-domain"),
        ("{{ score('digits', 'base-class', model='vit') }}", "the study does not train vit"),
        ("{{ gap('cifar10', 'base-class') }}", "cifar10 has no row base-class"),
        ("{{ scores('digits') }}", "'scores' is undefined"),
    ],
)
def test_figures_that_a_study_will_not_have_are_found_before_it_is_run(
    text: str, message: str
) -> None:
    with pytest.raises(UserError, match=f"text of the study: .*{message}"):
        check_texts(StudySpec.model_validate(TOY | {"limits": text}))


def test_a_part_of_a_study_keeps_the_texts_that_it_can_fill_in() -> None:
    toy = json.loads(json.dumps(TOY))
    toy["sets"]["more"] = toy["sets"]["digits"] | {"note": "{{ score('more', 'base-class') }}"}
    spec = StudySpec.model_validate(toy | {"limits": "{{ score('digits', 'base-class') }}"})
    part = only(spec, ["more"])
    assert part.sets["more"].note == spec.sets["more"].note
    assert part.limits.endswith("a text with values of other datasets than more is omitted.")
    assert only(spec, ["digits"]).limits == spec.limits
    with pytest.raises(UserError, match="has no row typo"):
        only(spec.model_copy(update={"limits": "{{ score('more', 'typo') }}"}), ["digits"])


@pytest.mark.parametrize(
    ("key", "options", "message"),
    [
        ("train", ["--preset", "paper"], "train: --preset is the dataset's `preset`; use that"),
        ("train", ["--epochs=3"], "train: --epochs is the study's `epochs`"),
        ("build", ["--set", "sampling.seed=1"], "build: --set is the dataset's or row's `set`"),
    ],
)
def test_options_that_are_keys_of_a_study_are_refused(
    tmp_path: Path, real: Path, key: str, options: list[str], message: str
) -> None:
    path = write_toy(tmp_path, real)
    text = yaml.safe_load(path.read_text())
    text["sets"]["digits"][key] = options
    path.write_text(yaml.safe_dump(text))
    with pytest.raises(UserError, match=f"sets.digits: {message}"):
        read_study(path)


def test_the_preset_of_the_command_line_is_that_of_every_dataset() -> None:
    path = ROOT / "docs" / "full-size.yaml"
    assert read_study(path).sets["eurosat"].preset == "paper-eurosat"
    spec = read_study(path, {"preset": "quick"})
    assert {one.preset or spec.preset for one in spec.sets.values()} == {"quick"}


def test_other_images_leave_out_texts_unless_their_hash_will_be_compared() -> None:
    parser = Parser()
    add_arguments(parser)
    given = ["--real", "digits=x", "--reference", "digits=y"]
    args = parser.parse_args(["study.yaml", "out", *given])
    assert _other_images(args, StudySpec.model_validate(TOY)) == given
    toy = json.loads(json.dumps(TOY))
    toy["sets"]["digits"]["describes"] = {"real": "0" * 16}
    assert _other_images(args, StudySpec.model_validate(toy)) == given[2:]


def test_versions_and_devices_of_every_step_are_listed() -> None:
    def scored(versions: dict[str, str], *environments: dict[str, Any]) -> Any:
        training = {"environments": [*environments]}
        return SimpleNamespace(training=training, versions=versions, settings={"device": "cpu"})

    old, new = {"torch": "2", "timm": "1"}, {"torch": "3", "timm": "1"}
    here = {"device": "cpu", "device_name": "a CPU"}
    manifests = [{"versions": [{"diffusers": "0"}, {"diffusers": "1"}], "device": "a GPU"}]
    # The first run was trained before an upgrade, the second resumed after it.
    runs = [scored(old, here | {"versions": old}), scored(new, here, {"versions": new})]
    expected = {"diffusers": ["0", "1"], "timm": ["1"], "torch": ["2", "3"]}
    assert all_versions(runs, manifests) == expected
    runs.append(scored(new, {"device": "cuda", "device_name": "a GPU"}))
    assert all_devices(runs, manifests) == {
        "generating": ["a GPU"],
        "training": ["a CPU", "a GPU"],
        "scoring": ["cpu"],
    }


def test_a_config_that_several_rows_use_costs_once(tmp_path: Path, in_process: list[str]) -> None:
    text = json.loads(json.dumps(TOY))
    text["sets"]["digits"] |= {
        "recipes": ["quickstart/base-class", "quickstart/all-combined"],
        "image_seeds": [0],
        "comparisons": [],
        "note": "",
    }
    text["sets"]["digits"]["recipes"][1] = {
        "recipe": "quickstart/all-combined",
        "differs": ["prompt", "guidance_scale", "images"],
    }
    spec = StudySpec.model_validate(text)
    plan = Plan(spec, resolve(spec), tmp_path)
    members = plan.settings["digits"]["all-combined"].parts
    assert "base-class" in members and len(members) > 1
    assert f"digits: {sum(one.images for one in members.values()):,} images" in costs_text(plan)


@pytest.mark.soak
def test_a_study_in_processes_of_its_own(real: Path, tmp_path: Path) -> None:
    toy = write_toy(tmp_path, real, seeds=[0], scorings=[])
    command = [python(), "-m", "eval", "study", str(toy), str(tmp_path / "out")]
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


def test_steps_are_identified_by_inputs_and_outputs(tmp_path: Path) -> None:
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


def test_a_signal_ends_the_command_that_a_study_runs(tmp_path: Path) -> None:
    began = tmp_path / "began"
    code = f"import os, time; open({str(began)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    script = (
        "from eval.study.steps import Ledger, Step, run_all\n"
        "from pathlib import Path\n"
        f"one = Step('a', ('timeit', '-n', '1', '-r', '1', {code!r}), (), list)\n"
        f"run_all(Ledger(Path({str(tmp_path)!r})), [one])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL, text=True
    )
    while not (began.exists() and began.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) != 0
    assert not Path(f"/proc/{began.read_text()}").exists()


def test_scores_under_another_label_map_are_measured_again() -> None:
    real = {"dataset": "none/such", "labels": {"automobile": "car"}}
    plans = [
        Plan(
            StudySpec.model_validate(
                TOY | {"sets": {"digits": TOY["sets"]["digits"] | {"real": real | {"labels": one}}}}
            ),
            {},
            Path("out"),
        )
        for one in ({"automobile": "car"}, {"automobile": "truck"}, {"automobile": "car"})
    ]
    first, other, same = (plan._real_inputs("digits") for plan in plans)
    assert first == same != other


def test_a_step_that_fails_says_why_and_stops_the_rest(tmp_path: Path) -> None:
    bad = step(tmp_path, "bad", "import os; os._exit(2)")
    never = step(tmp_path, "never", f"open({str(tmp_path / 'made')!r}, 'w')")
    with pytest.raises(UserError, match=r"bad: exit status 2; full log in .*bad\.log"):
        run_all(Ledger(tmp_path), [bad, never])
    assert not (tmp_path / "made").exists()
    silent = step(tmp_path, "silent", "pass")
    with pytest.raises(Failure, match="silent: wrote no output files"):
        run_all(Ledger(tmp_path), [silent])
    crashed = step(tmp_path, "crashed", "1/0")
    with pytest.raises(Failure, match=r"(?s)exit status 1.*ZeroDivisionError"):
        run_all(Ledger(tmp_path), [crashed])


BAD: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda text: text.pop("models"), r"toy.yaml: models: Field required"),
    (lambda text: text.update(model_s=1), r"toy.yaml: model_s: Extra inputs"),
    (lambda text: text.update(seeds=[1, 1]), r"seeds: values must be distinct, found \[1, 1\]"),
    (
        lambda text: text["sets"]["digits"].update(recipes=["a/x", "b/x.yaml"]),
        "two rows are named x",
    ),
    (
        lambda text: text["sets"]["digits"].update(
            comparisons=[{"row": "class-prompt", "to": "x", "differs": []}]
        ),
        "there is no row x",
    ),
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


def test_the_old_name_of_image_seeds_is_read_with_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "toy.yaml"
    text = yaml.safe_dump(TOY).replace("image_seeds", "draws")
    path.write_text(text)
    assert read_study(path) == StudySpec.model_validate(TOY)
    assert capsys.readouterr().err == f"{path}: draws is now called image_seeds\n"
    path.write_text(text.replace("images_per_class", "image_seeds: [1]\n    images_per_class"))
    with pytest.raises(UserError, match=r"sets\.digits\.draws: Extra inputs"):
        read_study(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--only", "cifar10"), "--only cifar10: expected digits"),
        (("--real", "digits"), "--real digits: expected SET=DATASET"),
        (("--real", "other=x"), "has no dataset 'other'; it has: digits"),
        (("--report", "docs"), "--report docs: is a folder; name a file"),
    ],
)
def test_bad_arguments(real: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(["study", str(write_toy(tmp_path, real)), str(tmp_path / "out"), *options])
    assert not (tmp_path / "out").exists()


def test_rows_that_differ_in_more_than_the_comparison_names_are_refused(
    tmp_path: Path, in_process: list[str]
) -> None:
    text = json.loads(json.dumps(TOY))
    text["sets"]["digits"]["recipes"][1] = {
        "recipe": "quickstart/random-guidance",
        "set": {"sampling.num_inference_steps": 2},
        "differs": ["guidance_scale", "prompt"],
    }
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(text))
    with pytest.raises(UserError) as caught:
        resolve(read_study(path))
    more, not_there = str(caught.value).splitlines()
    assert "random-guidance against base-class: they also differ in num_inference_steps" in more
    assert "`differs` names prompt, but both have" in not_there
    # This is how guidance 3 was once compared with guidance from 1 to 5, as if it were 7.5.
    text["sets"]["digits"]["recipes"][1] = {
        "recipe": "quickstart/random-guidance",
        "set": {"sampling.guidance_scale": 7.5},
        "differs": ["guidance_scale"],
    }
    path.write_text(yaml.safe_dump(text))
    with pytest.raises(UserError, match="names guidance_scale, but both have"):
        resolve(read_study(path))


def test_rows_may_differ_in_the_guided_part_of_the_steps(
    tmp_path: Path, in_process: list[str]
) -> None:
    text = json.loads(json.dumps(TOY))
    row = {
        "recipe": "quickstart/base-class",
        "name": "part",
        "set": {"sampling.guidance_interval": [0.5, 1]},
    }
    text["sets"]["digits"] |= {"note": "", "set": {"sampling.num_inference_steps": 2}}
    text["sets"]["digits"]["recipes"][1] = row
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(text))
    with pytest.raises(
        UserError, match=r"they also differ in guidance_interval \(\[\[0.5, 1\]\]; "
    ):
        resolve(read_study(path))
    row["differs"] = ["guidance_interval"]
    path.write_text(yaml.safe_dump(text))
    rows = resolve(read_study(path))["digits"]
    shown = {name: one.guidance() for name, one in rows.items()}
    assert shown == {"base-class": "7.5", "part": "7.5 (interval [0.5, 1])"}
    assert rows["base-class"].parts["base-class"].calls == 3 * 10 * 4
    assert rows["part"].parts["base-class"].calls == 3 * 10 * 3


@pytest.mark.parametrize("size", [32, 64, 128])
def test_outputs_differ_only_if_the_filter_changes_pixels(
    tmp_path: Path, in_process: list[str], size: int
) -> None:
    text = json.loads(json.dumps(TOY))
    plain = {"output.antialias": False}
    row = {"recipe": "quickstart/base-class", "name": "plain", "set": plain, "differs": ["output"]}
    text["sets"]["digits"] |= {"set": {"output.size": size}, "note": ""}
    text["sets"]["digits"]["recipes"][1] = row
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(text))
    if size == 32:
        rows = resolve(read_study(path))["digits"].values()
        assert [row.output() for row in rows] == ["32 px, anti-aliased", "32 px"]
        return
    # The generator makes 64 px: these images are kept or enlarged, and never filtered.
    with pytest.raises(UserError, match="`differs` names output, but both have"):
        resolve(read_study(path))
    del row["differs"]
    path.write_text(yaml.safe_dump(text))
    rows = resolve(read_study(path))["digits"].values()
    assert [row.output() for row in rows] == [f"{size} px"] * 2


def test_the_packaged_studies_compare_the_named_settings(
    in_process: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["study", str(ROOT / "docs" / "full-size.yaml"), "nowhere", "--dry-run"])
    *commands, cifar10, cifar100, eurosat = capsys.readouterr().out.splitlines()
    assert len(commands) == 19
    assert "cifar10: 250,000 images, 20,000,000 network calls, about 88.4 hours on one A100" in (
        cifar10
    )
    assert cifar100.endswith("35 trainings") and eurosat.endswith("30 trainings")
    main(["study", str(ROOT / "docs" / "full-size.yaml"), "nowhere", "--dry-run", "--json"])
    planned = json.loads(capsys.readouterr().out)
    assert planned["commands"] == commands
    assert [one["trainings"] for one in planned["costs"]][1:] == [35, 30]
    spec = read_study(ROOT / "docs" / "study.yaml")
    assert list(spec.sets) == ["cifar10", "eurosat", "cifar100"]
    settings = resolve(spec)
    for key, one in spec.sets.items():
        assert one.rows[0] == "base-class" and one.paper in TABLE_1
        assert settings[key]["base-class"].guidance() == "7.5"
        assert settings[key]["random-guidance"].guidance() == "1 to 5"
        assert settings[key]["constant-guidance"].guidance() == "3"


def test_the_papers_table_is_as_published() -> None:
    cifar10 = {"base-class": 60.5, "anti-aliased": 63.84, "class-prompt": 62.32}
    cifar10 |= {"multi-domain": 67.97, "random-guidance": 72.93, "all-combined": 81}
    assert TABLE_1["CIFAR-10"] == {**cifar10, "best-tricks": 81}
    assert TABLE_1["EuroSAT"]["random-guidance"] == 40.18
    assert TABLE_1["EuroSAT"]["best-tricks"] == 42.59
    assert "class-prompt" not in TABLE_1["EuroSAT"]


def results_of(paper: float | None, estimate: Estimate, p: float | None) -> Results:
    """Return invented results: the report's text is tested, not a measurement."""
    cell = {"top1": [50.0], "mean": 50.0, "std": None, "train_seconds": None}
    row = {
        **{"name": "base-class", "images": 10, "generated": 10, "image_seeds": [0], "paper": 1.0},
        **{"settings": None, "build_seconds": 60.0, "cells": {"net": cell}},
        **{"gap": None, "commands": []},
    }
    compared = {
        **{"row": "better", "to": "base-class", "differs": [], "model": "net", "paper": paper},
        **{"estimate": estimate, "adjusted_p": p},
    }
    one = {
        **{"paper": "CIFAR-10", "real": "real", "real_images": 5, "real_fingerprint": "f" * 64},
        **{
            "preset": "paper",
            "train": ["--augment", "a=1,2"],
            "note": "",
            "floor": None,
            "rows": [row],
            "comparisons": [compared],
        },
        **{"scorings": {}, "zero_shot": {"clip, paper": 40.0}},
    }
    return Results.model_validate(
        {
            **{"title": "T", "generator": "embedded", "models": ["net"], "seeds": [0]},
            **{"generator_revisions": ["a" * 40], "preset": "quick", "epochs": 3},
            **{"features": {"s": "run"}, "limits": ""},
            **{"versions": {"torch": ["2", "3"]}, "sets": {"s": one}},
            "devices": {"generating": ["a GPU"], "training": ["a GPU", "a CPU"]},
        }
    )


@pytest.mark.parametrize(
    ("paper", "value", "p", "expected"),
    [
        (5.0, 2.0, 0.01, "same sign, 0.4 of the paper's effect; the interval excludes it"),
        (5.0, -2.0, 0.01, "opposite sign, -0.4 of the paper's effect"),
        (5.0, 2.0, 0.2, "not significant; the interval excludes the paper's effect"),
        (2.5, 2.0, 0.2, "not significant; the interval contains the paper's effect"),
        (None, 2.0, 0.01, "significant"),
        (5.0, 2.0, None, "not tested: one run per row"),
        (None, 2.0, 0.2, "not significant"),
    ],
)
def test_a_verdict_gives_sign_and_size(
    paper: float | None, value: float, p: float | None, expected: str
) -> None:
    estimate = Estimate(value, value - 1, value + 1, p, 6, "training seeds")
    results = results_of(paper, estimate, p)
    assert verdict(results.sets["s"].comparisons[0]).startswith(expected)
    text = to_markdown(results, command="eval study")
    assert expected in text and "| clip, paper" in text
    assert "Trained with preset `paper`, 3 epochs, options `--augment a=1,2`. Scored on 5" in text
    assert "Versions: torch 2 and 3." in text
    assert "Devices: generating a GPU; training a GPU and a CPU." in text


def test_a_text_that_names_a_missing_figure_is_refused() -> None:
    results = results_of(5.0, Estimate(2.0, 1.0, 3.0, 0.01, 6, ""), 0.01)
    assert filled_in("{{ score('s', 'base-class') }}", results) == "50.00"
    assert filled_in("{{ diff('s', 'better', 'base-class') }}", results) == "+2.00 [+1.00, +3.00]"
    assert filled_in("{{ p('s', 'better', 'base-class') }}", results) == "p = 0.010"
    results = results_of(5.0, Estimate(2.0, 1.0, 3.0, 0.01, 6, ""), 0.0001)
    assert filled_in("{{ p('s', 'better', 'base-class') }}", results) == "p < 0.001"
    results = results_of(5.0, Estimate(2.0, 1.0, 3.0, None, 1, ""), None)
    assert filled_in("{{ p('s', 'better', 'base-class') }}", results) == "not tested"
    for text in (
        "{{ score('s', 'other') }}",
        "{{ p('s', 'a', 'b') }}",
        "{{ diff('s', 'a', 'b') }}",
        "{{ nothing }}",
        "{{",
    ):
        with pytest.raises(UserError, match="text of the study: "):
            filled_in(text, results)


def simulated(
    rng: np.random.Generator, *, effect: float, by_images: float, by_training: float
) -> list[Runs]:
    """Return eight rows of two image seeds and three training seeds; `effect` is the last one's."""
    images = rng.uniform(0.2, 0.8, 400)
    common = rng.normal(0, 0.03, (2, 3))
    rows: list[Runs] = []
    for row in range(8):
        image, training = rng.normal(0, by_images, 2), rng.normal(0, by_training, 3)
        right = {}
        for other in range(2):
            for seed in range(3):
                noise = image[other] + training[seed] + common[other, seed] + rng.normal(0, 0.01)
                better = images + noise + (effect if row == 7 else 0)
                right[other, seed] = (rng.uniform(size=400) < better).astype(np.float64)
        rows.append(right)
    return rows


@pytest.mark.parametrize(("by_images", "by_training"), [(0.03, 0.0), (0.0, 0.03), (0.02, 0.02)])
def test_intervals_of_differences_cover_the_truth_and_tests_hold_their_level(
    by_images: float, by_training: float
) -> None:
    rng = np.random.default_rng(0)
    covered, false = 0, 0
    for _ in range(300):
        rows = simulated(rng, effect=0.08, by_images=by_images, by_training=by_training)
        spread = spread_of_differences(rows)
        assert spread.covers == "training seeds and image seeds"
        one = difference(rows[7], rows[0], spread)
        assert one.sources == "test images, training seeds and image seeds"
        covered += one.low <= 8 <= one.high
        same = difference(rows[1], rows[0], spread)
        assert same.p is not None
        false += same.p < 0.05
    # 95 % of 300 is 285, with a standard deviation of 3.8.
    assert covered >= 274
    assert false <= 27


def test_common_effects_cancel_in_differences() -> None:
    rows = simulated(np.random.default_rng(1), effect=0.0, by_images=0.03, by_training=0.03)
    shared = [{run: right + 0.2 * run[1] + run[0] for run, right in row.items()} for row in rows]
    assert spread_of_differences(shared).mean_square == pytest.approx(
        spread_of_differences(rows).mean_square
    )
    one_seed = [{cell: right for cell, right in row.items() if cell[0] == 0} for row in rows]
    assert spread_of_differences(one_seed).covers == "training seeds"


def test_rows_without_repeats_are_not_tested() -> None:
    one = {(0, 0): np.array([1.0, 0.0, 1.0, 1.0])}
    other = {(0, 0): np.array([0.0, 0.0, 1.0, 0.0])}
    spread = spread_of_differences([one, other])
    found = difference(one, other, spread)
    assert (spread.degrees, found.covers, found.value, found.p) == (0, "", 50.0, None)
    # t with 3 degrees of freedom; the standard error of (1, 0, 0, 1) is sqrt(1/3/4).
    assert found.high - found.value == pytest.approx(100 * 3.18245 * (1 / 12) ** 0.5, rel=1e-4)
    # One row alone has nothing to be compared within.
    two = {(0, 0): one[0, 0], (1, 0): one[0, 0]}
    assert spread_of_differences([two, one]).covers == ""


def test_holms_correction_is_the_published_one() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_steps_keep_the_keys_they_had_under_older_names_of_options() -> None:
    def key(*command: str) -> str:
        return Step("gap", command, ("input",), list).key

    now = ("eval", "gap", "set", "--syn-config", "a", "--real", "b", "--real-split", "test")
    then = tuple("--split" if word == "--real-split" else word for word in now)
    text = json.dumps([then, ["input"]])
    assert key(*now) == key(*then) == hashlib.sha256(text.encode()).hexdigest()


def test_a_table_changes_with_the_images_beside_it(tmp_path: Path) -> None:
    table, image = tmp_path / "test.csv", tmp_path / "a.png"
    table.write_text("path,label\na.png,cat\n")
    image.write_bytes(b"1")
    found = [content_of(str(table))]
    image.write_bytes(b"2")
    found.append(content_of(str(table)))
    table.write_text("path,label\na.png,dog\n")
    found.append(content_of(str(table)))
    assert len({*found, str(table)}) == 4
