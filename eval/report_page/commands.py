"""Commands that generate the images, train and score again, for another machine."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from eval.report_page.dataset import Dataset
from eval.report_page.runs import Run, Runs
from factory.common.preset_options import option_words
from factory.common.redaction import one_line, redacted

# Options of `build` that trade exactness for speed; recorded where they were used.
_INFERENCE = ("guidance_interval", "cache", "quantize")


def commands(
    dataset: Dataset, runs: Runs, order: Sequence[str], own_command: str
) -> list[tuple[str, list[str]]]:
    """Return groups of command lines with their titles.

    Args:
        dataset: The generated dataset.
        runs: Runs of the report.
        order: Rows in the order of the page.
        own_command: The command line of the report.
    """
    settings = dataset.manifest.settings
    flags = ("batch_size", "shard_size", "dtype", "threads", "attempts", *_INFERENCE)
    fixed = [
        f"--{key.replace('_', '-')} {shlex.quote(str(settings[key]))}"
        for key in flags
        if key in settings
    ]
    build = " ".join(["data-factory build OUT/recipes NEW", *fixed])
    groups = [("Generate the images again, from the stored recipes", [build])]
    trained = _one_per_row(runs, order)
    if trained:
        groups.append(
            (
                "Train: the first run of each row; others differ in --seed, or in the dataset",
                [_train(run) for run in trained],
            )
        )
        groups.append(("Score", list(dict.fromkeys(_score(run) for run in trained))))
    groups.append(("This report", [own_command]))
    return [(title, [one_line(redacted(line)) for line in lines]) for title, lines in groups]


def _one_per_row(runs: Runs, order: Sequence[str]) -> list[Run]:
    first: dict[tuple[str, str], Run] = {}
    for run in sorted(runs.scored, key=lambda one: (one.source, one.seed)):
        if run.scores.training is not None:
            first.setdefault((run.row, run.scores.model.architecture), run)
    return [first[key] for key in sorted(first, key=lambda key: (order.index(key[0]), key[1]))]


def _train(run: Run) -> str:
    """Return the command of a training, from the settings that the run recorded."""
    training: dict[str, Any] = run.scores.training or {}
    sources = [one for one in run.data.get("sources") or [run.data] if isinstance(one, dict)]
    words = [
        *("data-factory", "train"),
        *(str(one.get("reference", "DATASET")) for one in sources if not one.get("real")),
    ]
    for key, value in {**_data_options(run.data, sources), **_model_options(training)}.items():
        words += [key] if value is True else [key, str(value)]
    for key, value in _mapping(training.get("model_args")).items():
        words += ["--model-arg", f"{key}={json.dumps(value)}"]
    words += _preset_words(training)
    return shlex.join([*words, "--out", f"runs/{run.folder.name}"])


def _preset_words(training: Mapping[str, Any]) -> list[str]:
    """Return the options of the values given for the preset's; of an earlier run, `--epochs`."""
    given = training.get("overrides")
    if not isinstance(given, dict):
        epochs = _mapping(training.get("hyperparameters")).get("epochs")
        return [] if epochs is None else ["--epochs", str(epochs)]
    return option_words(given, _mapping(given.get("augmentation")))


def lacks_overrides(runs: Runs) -> bool:
    """Return whether a run of an earlier version did not record the values given."""
    trainings = [run.scores.training for run in runs.scored]
    return any(one is not None and not isinstance(one.get("overrides"), dict) for one in trainings)


def _data_options(data: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the options of the rows; names that `train` finds by itself are left out."""
    configs = {str(one.get("config_name") or "default") for one in sources if not one.get("real")}
    found = {
        "--config": configs.pop() if len(configs) == 1 else None,
        "--split": data.get("split"),
        "--filter": data.get("row_filter"),
        "--image-column": data.get("image_column"),
        "--label-column": data.get("label_column"),
        "--images-per-class": data.get("images_per_class"),
        "--real-train": next((one.get("reference") for one in sources if one.get("real")), None),
        "--skip-unreadable": bool(data.get("num_unreadable")) or None,
    }
    usual = {
        "--config": "default",
        "--split": "train",
        "--image-column": "image",
        "--label-column": "label",
    }
    return {key: one for key, one in found.items() if one not in (None, usual.get(key))}


def _model_options(training: Mapping[str, Any]) -> dict[str, Any]:
    mix, weights = training.get("mix"), training.get("weights")
    found = {
        "--mix": ",".join(map(str, mix)) if isinstance(mix, list | tuple) else None,
        "--model": training.get("model"),
        "--pretrained": (training.get("pretrained") is True and weights is None) or None,
        "--weights": weights,
        "--head-only": training.get("head_only") is True or None,
        "--teacher": training.get("teacher"),
        "--preset": training.get("preset"),
        "--seed": training.get("seed"),
    }
    return {key: one for key, one in found.items() if one is not None}


def _mapping(value: Any) -> dict[str, Any]:
    """Return a mapping of a stranger's file; empty if it is none."""
    return value if isinstance(value, dict) else {}


def _score(run: Run) -> str:
    real = run.scores.real
    words = ["data-factory", "score", f"runs/{run.folder.name}", "--real", real.reference]
    options = {"--split": real.split, "--filter": real.row_filter, "--real-name": real.name}
    given = {key: one for key, one in options.items() if one is not None}
    flat = [str(word) for pair in given.items() for word in pair]
    if real.unreadable:
        flat.append("--skip-unreadable")
    return shlex.join([*words, *flat, "--save-predictions"])
