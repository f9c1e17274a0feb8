"""Cost, versions and commands, from the manifest and the runs' settings."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eval.report_page import text
from eval.report_page.dataset import Dataset
from eval.report_page.runs import Run, Runs
from factory.common.redaction import one_line, redacted


@dataclass(frozen=True)
class ConfigFacts:
    """How a config was generated; texts."""

    name: str
    kind: str
    rows: int
    failed: int
    again: int
    model: str
    guidance: str
    steps: str
    scheduler: str
    size: str
    fingerprint: str


@dataclass(frozen=True)
class TrainingCost:
    """Mean time of training a row's runs."""

    row: str
    architecture: str
    parameters: int
    runs: int
    seconds: float | None
    total: float | None


@dataclass(frozen=True)
class Facts:
    """Everything that is needed to repeat the results."""

    configs: list[ConfigFacts]
    training: list[TrainingCost]
    settings: dict[str, str]
    versions: list[dict[str, str]]
    scoring_versions: dict[str, str]
    commands: list[tuple[str, list[str]]]


def facts(dataset: Dataset, runs: Runs, *, order: Sequence[str], own_command: str) -> Facts:
    """Return the facts; commands are for another machine, where `data-factory` is installed."""
    manifest = dataset.manifest
    settings = {**manifest.settings, "device": manifest.device}
    scoring: dict[str, str] = {}
    for run in runs.scored:
        scoring |= run.scores.versions
    return Facts(
        configs=[_config(dataset, name) for name in dataset.names],
        training=_training(runs, order),
        settings={key: text.value(one) for key, one in settings.items() if one not in ("", None)},
        versions=manifest.versions,
        scoring_versions=scoring,
        commands=_commands(dataset, runs, order, own_command),
    )


def _config(dataset: Dataset, name: str) -> ConfigFacts:
    entry = dataset.manifest.configs[name]
    sampling = entry.sampling or {}
    attempts = dataset.values(name, "attempt") if entry.shards else []
    size = [sampling.get(side) for side in ("width", "height")]
    of = f" of {', '.join(map(text.name, entry.members))}" if entry.members else ""
    return ConfigFacts(
        name=name,
        kind={"set": "own images", "share": "equal share", "union": "all images"}.get(
            entry.kind, entry.kind
        )
        + of,
        rows=dataset.rows(name),
        failed=len(entry.failed),
        again=sum(isinstance(one, int) and one > 0 for one in attempts),
        model=text.name(entry.model or ""),
        guidance=_quantity(sampling.get("guidance_scale", "")),
        steps=_quantity(sampling.get("num_inference_steps", "")),
        scheduler=text.name(sampling.get("scheduler", "") or ""),
        size=f"{size[0]} \N{MULTIPLICATION SIGN} {size[1]}" if all(size) else "",
        fingerprint=text.name(entry.fingerprint),
    )


def _quantity(found: Any) -> str:
    """Return a setting as text: `7.5`, `uniform 1 to 5`."""
    if isinstance(found, dict) and len(found) == 1:
        ((kind, values),) = found.items()
        if isinstance(values, list) and len(values) == 2:
            return text.name(f"{kind} {values[0]} to {values[1]}")
    return text.name(found)


def _training(runs: Runs, order: Sequence[str]) -> list[TrainingCost]:
    found = []
    for architecture in runs.architectures:
        by_row: dict[str, dict[str, Run]] = {}
        for run in runs.scored:
            if run.scores.model.architecture == architecture and run.scores.training is not None:
                unique = by_row.setdefault(run.row, {})
                unique[run.scores.model.weights_sha256] = run
        for row in [one for one in order if one in by_row]:
            own = list(by_row[row].values())
            times = [one for run in own if (one := run.scores.model.train_seconds) is not None]
            total = math.fsum(times) if times and len(times) == len(own) else None
            found.append(
                TrainingCost(
                    *(row, architecture, own[0].scores.model.num_parameters, len(own)),
                    seconds=None if total is None else total / len(own),
                    total=total,
                )
            )
    return found


def _commands(
    dataset: Dataset, runs: Runs, order: Sequence[str], own_command: str
) -> list[tuple[str, list[str]]]:
    settings = dataset.manifest.settings
    flags = ("batch_size", "shard_size", "dtype", "threads", "attempts")
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
    data = run.data
    sources = data.get("sources") or [data]
    words = ["data-factory", "train", *(str(one.get("reference", "DATASET")) for one in sources)]
    options = {
        "--config": None if len(sources) > 1 else data.get("config_name"),
        "--filter": data.get("row_filter"),
        "--images-per-class": data.get("images_per_class"),
        "--model": training.get("model"),
        "--preset": training.get("preset"),
        "--epochs": (training.get("hyperparameters") or {}).get("epochs"),
        "--seed": training.get("seed"),
        "--out": f"runs/{run.folder.name}",
    }
    for flag in ("pretrained", "head_only"):
        if training.get(flag) is True:
            words.append(f"--{flag.replace('_', '-')}")
    given = {key: one for key, one in options.items() if one not in (None, "default")}
    return shlex.join([*words, *(str(word) for pair in given.items() for word in pair)])


def _score(run: Run) -> str:
    real = run.scores.real
    words = ["data-factory", "score", f"runs/{run.folder.name}", "--real", real.reference]
    options = {"--split": real.split, "--filter": real.row_filter, "--real-name": real.name}
    given = {key: one for key, one in options.items() if one is not None}
    flat = [str(word) for pair in given.items() for word in pair]
    return shlex.join([*words, *flat, "--save-predictions"])
