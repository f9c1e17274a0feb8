"""Commands that generate the images, train and score again, for another machine."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from eval.report_page.command_words import LabelMaps, places, words
from eval.report_page.dataset import Dataset
from eval.report_page.runs import Run, Runs
from eval.report_page.score_command import score_command
from eval.report_page.train_command import stretches_of, train_command
from factory.common.redaction import one_line, redacted
from factory.models.inference import RECORDED_SETTINGS


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
    groups = [("Generate the images again, from the stored recipes", [_build(dataset)])]
    trained, maps = _one_per_row(runs, order), LabelMaps()
    if trained:
        folders = places([_place(run) for run in trained])
        trainings = [train_command(run, maps, out=folders[_place(run)]) for run in trained]
        scores = [
            score_command(run, maps, folder=folders[_place(run)])
            for run in runs.scored
            if _place(run) in folders
        ]
        title = "Train: the first run of each row; others differ in --seed, or in the dataset"
        written = [("Label maps of the commands below", lines)] if (lines := maps.lines()) else []
        groups += [*written, (title, trainings), ("Score", list(dict.fromkeys(scores)))]
    groups.append(("This report", [own_command]))
    return [(title, [one_line(redacted(line)) for line in lines]) for title, lines in groups]


def _build(dataset: Dataset) -> str:
    settings = dataset.manifest.settings
    options = {f"--{key.replace('_', '-')}": settings.get(key) for key in RECORDED_SETTINGS}
    return shlex.join(["data-factory", "build", "OUT/recipes", "NEW", *words(options)])


def _place(run: Run) -> Path:
    """Return the run folder; of a model from the Hub, its name."""
    is_hub = run.scores.model.commit is not None
    return Path(run.scores.run.partition("@")[0]) if is_hub else run.folder


def _one_per_row(runs: Runs, order: Sequence[str]) -> list[Run]:
    """Return the first trained run of each row and model."""
    first: dict[tuple[str, str], Run] = {}
    for run in sorted(runs.scored, key=lambda one: (one.source, one.seed)):
        if run.scores.training is not None:
            first.setdefault((run.row, run.scores.model.architecture), run)
    return [first[key] for key in sorted(first, key=lambda key: (order.index(key[0]), key[1]))]


def lacks_overrides(runs: Runs) -> bool:
    """Return whether a run of an earlier version did not record the values given."""
    trainings = [run.scores.training for run in runs.scored]
    return any(one is not None and not isinstance(one.get("overrides"), dict) for one in trainings)


def has_stretches(runs: Runs) -> bool:
    """Return whether a run was resumed with another device, precision, version or so."""
    return any(len(stretches_of(run.scores.training or {})) > 1 for run in runs.scored)
