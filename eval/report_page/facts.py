"""Cost and versions, from the manifest and the runs' settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.report_page import text
from eval.report_page.commands import commands, has_stretches, lacks_overrides
from eval.report_page.dataset import Dataset
from eval.report_page.generation import Generation, read_generation
from eval.report_page.runs import Run, Runs
from eval.sampling import interval_text, quantity_text


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
    is_generated: bool


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
    generation: Generation
    training: list[TrainingCost]
    settings: dict[str, str]
    versions: list[dict[str, str]]
    scoring_versions: dict[str, str]
    commands: list[tuple[str, list[str]]]
    lacks_overrides: bool
    has_stretches: bool


def facts(dataset: Dataset, runs: Runs, *, order: Sequence[str], own_command: str) -> Facts:
    """Return the facts; commands are for another machine, where `data-factory` is installed."""
    manifest = dataset.manifest
    settings = {**manifest.settings, "device": manifest.device}
    scoring: dict[str, str] = {}
    for run in runs.scored:
        scoring |= run.scores.versions
    return Facts(
        configs=[_config(dataset, name) for name in dataset.names],
        generation=read_generation(dataset.out),
        training=_training(runs, order),
        settings={key: text.value(one) for key, one in settings.items() if one not in ("", None)},
        versions=manifest.versions,
        scoring_versions=scoring,
        commands=commands(dataset, runs, order, own_command),
        lacks_overrides=lacks_overrides(runs),
        has_stretches=has_stretches(runs),
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
        guidance=_quantity(sampling, "guidance_scale", interval_text(sampling)),
        steps=_quantity(sampling, "num_inference_steps"),
        scheduler=text.name(sampling.get("scheduler", "") or ""),
        size=f"{size[0]} \N{MULTIPLICATION SIGN} {size[1]}" if all(size) else "",
        fingerprint=text.name(entry.fingerprint),
        is_generated=entry.kind == "set",
    )


def _quantity(sampling: Mapping[str, Any], key: str, limit: str = "") -> str:
    found = sampling.get(key)
    return "" if found is None else text.name(quantity_text(found) + limit)


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
