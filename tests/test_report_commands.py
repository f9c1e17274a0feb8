"""The commands that a report prints: parsed, they are the options of the recorded results."""

from __future__ import annotations

import argparse
import math
import shlex
import subprocess
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from test_train import make_set
from test_train_mixed import make_photos

from eval.cli import COMMANDS as EVAL
from eval.cli import main as eval_main
from eval.report_page.command_words import places, reference
from eval.report_page.commands import commands
from eval.report_page.runs import Run, Runs, find_runs
from eval.scores_file import RealSet, Visit
from factory.cli.main import COMMANDS as FACTORY
from factory.common.commands import command_parsers
from factory.common.preset_options import GROUPS, PresetOption
from factory.data.row_subsets import DataSource, MixedSource
from factory.shards.settings import FixedSettings
from train.arguments import options_of
from train.config import Environment, RunConfig
from train.parser import build_parser
from train.run import train
from train.settings import Hyperparameters

COMMIT = "0123456789abcdef0123456789abcdef01234567"
EVERY_SETTING = FixedSettings(
    batch_size=7,
    shard_size=21,
    dtype="bfloat16",
    threads=3,
    device="cpu",
    attempts=2,
    guidance_interval="0.1,0.6",
    cache="first-block:0.1",
    quantize="int8",
    compile="blocks",
    vae_slicing=True,
    fuse_adapters=True,
)
# Options that the printed commands lack, with the reason.
_NO_RESULT = "changes what is printed or published, not the result"
_STORED = "is in the stored recipes, which the command builds"
_SAME_BYTES = "changes no byte, so every machine has its own"
NOT_PRINTED = {
    **dict.fromkeys(("--help", "--version", "--json", "--quiet"), _NO_RESULT),
    **dict.fromkeys(("build --model", "build --sampling", "build --set"), _STORED),
    "build --images-per-class": _STORED,
    **dict.fromkeys(("--processes", "--part", "--offload"), _SAME_BYTES),
    "--allow-failed": "changes the exit status only",
    "--allow-cut-prompts": "the build stops and names it; the page says so",
    "--allow-pickle": "is a decision about trust; the build stops and names it, the page says so",
    **dict.fromkeys(
        ("--push", "--private", "--revision", "--commit-message", "--tag", "--replace-card"),
        _NO_RESULT,
    ),
    "--suggest-labels": "writes a file to start from, nothing reads it",
    "--workers": "reads images in other processes, with the same crops",
    "--recovery-interval": "writes checkpoints more often",
    "--log-with": "copies the metrics elsewhere",
    "--list-presets": "trains nothing",
    "--no-flip": "is printed as --hflip 0.0 --vflip 0.0",
    **dict.fromkeys(("score --out", "--suffix", "--predictions", "--plot"), "names other files"),
    "--as-code": "is printed as the three options that it stands for",
}


def page(runs: list[Run], settings: dict[str, Any] | None = None) -> dict[str, list[str]]:
    """Return the lines of each group of commands by the first word of its title."""
    dataset = cast(Any, SimpleNamespace(manifest=SimpleNamespace(settings=settings or {})))
    order = list(dict.fromkeys(run.row for run in runs))
    found = commands(dataset, Runs(runs), order, "data-factory report OUT")
    return {title.split()[0].rstrip(":"): lines for title, lines in found}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], list[str]]:
    """A run trained and scored with many options; its folder and the arguments of both."""
    folder = tmp_path_factory.mktemp("commands")
    photos = make_photos(folder / "photos", ["Blue", "Red"], count=6)
    (photos / "Red").rename(photos / "it's reds")
    (photos / "Blue" / "broken.png").write_bytes(b"no image")
    (folder / "map.yaml").write_text("it's reds: red\n")
    colours = make_set(folder / "colours", num_images=60)
    options = [
        *(str(colours), "--real-train", str(photos), "--mix", "0.75,0.25"),
        *("--labels", str(folder / "map.yaml"), "--filter", "guidance_scale < 5"),
        *("--images-per-class", "9", "--skip-unreadable"),
        *("--model", "test_resnet", "--model-arg", "drop_rate=0.1", "--seed", "5"),
        *("--threads", "2", "--device", "cpu", "--mixed-precision", "bf16"),
        *("--pixel-memory", "0"),
        *("--preset", "digits", "--epochs", "1", "--total-batch-size", "8"),
        *("--image-size", "32", "--augment", "rotation=3", "--no-flip"),
        *("--val-images", "8", "--out", str(folder / "run")),
    ]
    found = options_of(build_parser().parse_args(options))
    assert found is not None
    train(found)
    scoring = [
        *(str(folder / "run"), "--real", str(photos), "--real-name", "mine", "--skip-unreadable"),
        *("--labels", str(folder / "map.yaml"), "--fit", "pad", "--batch-size", "4"),
        *("--threads", "2", "--device", "cpu", "--dropout", "--save-predictions"),
    ]
    assert eval_main(["score", *scoring]) in (0, None)
    return folder, options, scoring


def test_a_real_run_gives_the_options_that_it_was_started_with(
    trained: tuple[Path, list[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, given, scoring = trained
    lines = page(find_runs([folder / "run"]).scored)
    # The label map is written by a command of the page.
    monkeypatch.chdir(tmp_path)
    for line in lines["Label"]:
        subprocess.run(["bash", "-c", line], check=True)
    ((program, _, *words),) = map(shlex.split, lines["Train"])
    assert program == "data-factory"
    parser = build_parser()
    before, printed = (options_of(parser.parse_args(one)) for one in (given, words))
    assert before is not None and printed is not None
    assert before.label_map is not None and printed.label_map is not None
    assert printed.label_map.pairs == before.label_map.pairs == {"it's reds": "red"}
    differing = {
        one.name
        for one in fields(before)
        if getattr(before, one.name) != getattr(printed, one.name)
    }
    assert differing == {"out", "label_map"}
    assert printed.out == Path("runs/run")
    ((_, _, *words),) = map(shlex.split, lines["Score"])
    score = command_parsers(EVAL, start="eval")["score"]
    before_score, printed_score = (vars(score.parse_args(one)) for one in (scoring, words))
    changed = {key for key, value in before_score.items() if value != printed_score[key]}
    # Names that are found without the option are not given.
    assert changed == {"runs", "labels"}
    assert printed_score["runs"] == ["runs/run"]


def of_option(option: PresetOption) -> dict[str, Any]:
    """Return a value of each field of an option."""
    value: Any = {bool: True, int: 3, float: 0.5, str: "word"}[option.kind]
    return dict.fromkeys(option.fields or (option.name,), [value] * 2 if option.count else value)


def everything(run: Run, **changes: Any) -> Run:
    """Return a run that records every option, also those that exclude each other."""
    options = [option for group in GROUPS.values() for option in group]
    overrides: dict[str, Any] = {}
    augmentation: dict[str, Any] = {"rotation": 3}
    for option in options:
        (augmentation if option.augments else overrides).update(of_option(option))
    source = {"reference": "ORG/SET", "config_name": "one", "commit": COMMIT}
    data = DataSource(
        **source,
        split="all",
        row_filter="-index < 3",
        images_per_class=4,
        image_column="photo",
        label_column="breed",
        label_names=("a", "b"),
        num_images=2_000_000,
        num_unreadable=1,
        pixels_sha256="f",
        class_counts={"a": 1, "b": 0},
        label_map={"x": "a"},
        sources=(
            MixedSource(**source, num_images=1),
            MixedSource(reference="mine", real=True, num_images=1),
        ),
    )
    config = RunConfig(
        model="resnet18",
        pretrained=True,
        head_only=True,
        teacher="runs/large",
        model_args={"drop_rate": 0.1},
        preset="finetune",
        overrides={**overrides, "augmentation": augmentation},
        seed=3,
        mix=(0.5, 0.5),
        pixels=changes.pop("pixels", "stream"),
        shuffle_buffer=8,
        data=data,
        hyperparameters=Hyperparameters(epochs=1, batch_size=8, lr=0.1, image_size=224),
        **changes,
    )
    environment = Environment(
        device="cuda", precision="float16", threads=2, processes=4, compiled="inductor"
    )
    training = config.model_dump(mode="json") | {"environments": [environment.model_dump()]}
    scores = run.scores
    real = RealSet(
        **scores.real.model_dump()
        | {"config_name": "c", "row_filter": "f", "image_column": "i", "label_column": "l"}
        | {"split": "s", "commit": COMMIT, "reference": "hf://datasets/ORG/REAL/sub"},
    )
    facts = scores.model.model_copy(update={"batch_norm": "test-batch", "dropout": True})
    update = {"training": training, "real": real, "model": facts}
    update["visits"] = [Visit(epoch=1, top1=0.5)]
    return Run(run.file, scores.model_copy(update=update), run.row)


def test_every_option_is_printed_or_has_a_reason(
    trained: tuple[Path, list[str], list[str]],
) -> None:
    (run,) = find_runs([trained[0] / "run"]).scored
    records = [
        everything(run),
        everything(run, pixels="memory", weights="own.safetensors"),
    ]
    parsers: dict[str, argparse.ArgumentParser] = {
        "build": command_parsers(FACTORY, start="factory")["build"],
        "train": build_parser(),
        "score": command_parsers(EVAL, start="eval")["score"],
    }
    printed: dict[str, set[str]] = {name: set() for name in parsers}
    for record in records:
        lines = page([record], EVERY_SETTING.as_dict())
        for name, title in zip(parsers, ("Generate", "Train", "Score"), strict=True):
            (line,) = lines[title]
            printed[name] |= {word.partition("=")[0] for word in shlex.split(line)}
    missing, known = set(), set()
    for name, parser in parsers.items():
        for action in parser._actions:
            names = {one for one in action.option_strings if one.startswith("--")}
            if not names or action.help == argparse.SUPPRESS:
                continue
            reasons = NOT_PRINTED.keys() & (names | {f"{name} {one}" for one in names})
            known |= reasons
            if bool(names & printed[name]) == bool(reasons):
                missing.add((name, *sorted(names)))
    assert not missing, "neither printed nor in the list, or both"
    assert known == NOT_PRINTED.keys()


def test_the_settings_of_a_dataset_are_options_of_its_build() -> None:
    (line,) = page([], EVERY_SETTING.as_dict())["Generate"]
    parser = command_parsers(FACTORY, start="factory")["build"]
    parsed = vars(parser.parse_args(shlex.split(line)[2:]))
    assert {key: parsed[key] for key in EVERY_SETTING.as_dict()} == EVERY_SETTING.as_dict()


def test_several_processes_memory_and_commits_are_in_the_commands(
    trained: tuple[Path, list[str], list[str]],
) -> None:
    (run,) = find_runs([trained[0] / "run"]).scored
    lines = page([everything(run, pixels="memory")])
    (line,) = lines["Train"]
    start, line = line.split(" -m train ")
    assert start == "accelerate launch --multi_gpu --num_processes 4"
    parsed = build_parser().parse_args(shlex.split(line))
    assert parsed.datasets == [f"ORG/SET@{COMMIT}"]
    assert parsed.filter == "-index < 3", "a value that begins like an option"
    assert parsed.pixel_memory == 301.1, "as much as was needed: 2,000,000 images of 224 px"
    (line,) = page([everything(run, pixels="stream")])["Train"]
    parsed = build_parser().parse_args(shlex.split(line.partition(" -m train ")[2]))
    assert (parsed.stream, parsed.shuffle_buffer, parsed.pixel_memory) == (True, 8, None)
    (scored,) = lines["Score"]
    assert f"--real hf://datasets/ORG/REAL@{COMMIT}/sub" in scored


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("ORG/SET@v1", f"ORG/SET@{COMMIT}"),
        ("hf://datasets/ORG/SET@refs/pr/1", "hf://datasets/ORG/SET@refs/pr/1"),
        ("-local", "./-local"),
        (None, "DATASET"),
    ],
)
def test_a_reference_is_that_of_the_commit_where_it_can_be(given: Any, shown: str) -> None:
    commit = COMMIT if given and "/" in given else None
    assert reference(given, commit, otherwise="DATASET") == shown


def test_no_two_runs_get_the_same_folder_and_each_real_dataset_its_score(
    trained: tuple[Path, list[str], list[str]], tmp_path: Path
) -> None:
    folders = [Path("a/seed-0"), Path("b/seed-0"), Path("b/seed-1")]
    assert places(folders[1:]) == {folders[1]: "runs/seed-0", folders[2]: "runs/seed-1"}
    assert places(folders)[folders[0]] == "runs/a/seed-0"
    rng = np.random.default_rng(0)
    for name in ("red", "blue"):
        (tmp_path / "other" / name).mkdir(parents=True)
        pixels = rng.integers(256, size=(32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "other" / name / "1.png")
    out = tmp_path / "scores-other.json"
    run = str(trained[0] / "run")
    eval_main(["score", run, "--real", str(tmp_path / "other"), "--out", str(out), "--threads=1"])
    (first,) = find_runs([trained[0] / "run"]).scored
    (other,) = find_runs([out]).scored
    beside = Run(first.file.with_name(out.name), other.scores, other.row)
    assert len(page([first, beside])["Score"]) == 2


@pytest.mark.parametrize("images", ["abc", [1], math.inf, math.nan])
def test_a_number_of_images_that_is_none_is_not_printed(
    images: Any, trained: tuple[Path, list[str], list[str]]
) -> None:
    (run,) = find_runs([trained[0] / "run"]).scored
    strange = everything(run, pixels="memory")
    assert strange.scores.training is not None
    strange.scores.training["data"] |= {"num_images": images, "sources": images}
    (line,) = page([strange])["Train"]
    assert "--pixel-memory" not in line
    strange.scores.training["data"] = images
    assert page([strange])["Train"]
