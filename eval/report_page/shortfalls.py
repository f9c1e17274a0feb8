"""What fell short: facts that limit what the report shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from eval.report_page import text
from eval.report_page.dataset import Dataset
from eval.report_page.duplicates import Duplicates
from eval.report_page.facts import Facts
from eval.report_page.headline import Line, Table
from eval.report_page.margins import ISSUE, QUALITY, SCORE
from eval.report_page.runs import Runs
from eval.report_page.text import count

FEW_IMAGES = 1000
"""Test images below which an accuracy is uncertain by more than three points."""


@dataclass(frozen=True)
class Shortfall:
    """One fact, and a command that helps, if there is one."""

    topic: str
    fact: str
    command: str = ""


def shortfalls(
    dataset: Dataset,
    runs: Runs,
    *,
    tables: Sequence[Table],
    facts: Facts,
    found: Sequence[Duplicates],
) -> list[Shortfall]:
    """Return all facts, those about the images first."""
    return [
        *_images(dataset, facts),
        *_times(facts),
        *_gates(dataset, found),
        *_scores(runs),
        *_labels(runs),
        *_places(runs),
        *(one for table in tables for one in _table(table)),
    ]


def _images(dataset: Dataset, facts: Facts) -> Iterator[Shortfall]:
    unfinished = [
        text.name(name) for name in dataset.names if not dataset.manifest.configs[name].complete
    ]
    if unfinished:
        yield Shortfall(
            "Images",
            f"Unfinished configs, which are not shown: {', '.join(unfinished)}.",
            "data-factory build RECIPES OUT",
        )
    for one in facts.configs:
        name = text.name(one.name)
        if one.failed:
            reasons = Counter(
                text.name(failed.reason) for failed in dataset.manifest.configs[one.name].failed
            )
            shown = ", ".join(f"{reason}: {number}" for reason, number in reasons.most_common(4))
            yield Shortfall(
                "Images",
                f"{count(one.failed, 'image')} of {name} failed, without a row ({shown}).",
            )
        if one.again:
            yield Shortfall(
                "Images",
                f"{count(one.again, 'image')} of {name} came out flawed and were generated again.",
            )


def _times(facts: Facts) -> Iterator[Shortfall]:
    """Yield what is unknown about the time of generation."""
    known = facts.generation
    if not known.processes:
        yield Shortfall(
            "Cost",
            "The time of generation is unknown: builds record it in the dataset's directory, and "
            "it is not published. Write the report where the images were generated, with this "
            "version or a later one.",
        )
        return
    for one in facts.configs:
        there = known.images.get(one.name, 0)
        if one.is_generated and there < one.rows:
            yield Shortfall(
                "Cost",
                f"The time of generation is known of {there:,} of {count(one.rows, 'image')} of "
                f"{text.name(one.name)}: processes that were killed, and earlier versions, record "
                "none.",
            )
    if known.unread:
        yield Shortfall("Cost", f"{count(known.unread, 'record')} of a process cannot be read.")


def _gates(dataset: Dataset, found: Sequence[Duplicates]) -> Iterator[Shortfall]:
    columns = {name for gate in dataset.manifest.gates.values() for name in gate.columns}
    if not found:
        yield Shortfall(
            "Quality",
            "Near-duplicates were not measured.",
            "data-factory gate OUT --near-duplicates",
        )
    if not any(name in (SCORE, QUALITY) or name.endswith("margin") for name in columns):
        yield Shortfall(
            "Quality",
            "No gate has measured whether images show their class.",
            "data-factory gate OUT --clip-score MODEL",
        )
    for one in found:
        if one.across:
            yield Shortfall(
                "Quality",
                f"By their {one.compares}, {count(one.across, 'image')} nearly repeat an image of "
                "another class: one of the two labels may be wrong.",
            )
    if issues := sum(dataset.values(name, ISSUE).count(True) for name in dataset.generated):
        yield Shortfall(
            "Quality",
            f"{count(issues, 'label')} may be wrong, by cross-validation.",
            f'data-factory train OUT --filter "not {ISSUE}"',
        )


def _scores(runs: Runs) -> Iterator[Shortfall]:
    if not runs.scored:
        yield Shortfall(
            "Scores",
            "No scores were given, so nothing is known about real images.",
            "data-factory report OUT --runs RUNS --real REAL",
        )
    for folder in runs.unscored[:20]:
        yield Shortfall(
            "Scores",
            f"The run {text.name(folder.name)} has no scores.",
            "data-factory score RUN --real REAL --save-predictions",
        )
    if len(runs.unscored) > 20:
        yield Shortfall("Scores", f"{len(runs.unscored) - 20} more runs have no scores.")
    without = sum(run.predictions is None for run in runs.scored)
    if without:
        yield Shortfall(
            "Scores",
            f"{count(without, 'score')} of {len(runs.scored)} came without saved predictions: "
            "differences are not paired by image, and calibration and confused images are unknown.",
            "data-factory score RUN --real REAL --save-predictions",
        )
    for note in runs.notes[:20]:
        yield Shortfall("Scores", f"{note[:300].rstrip('.')}.")
    unfinished = Counter(
        f"{run.row}: {one}" for run in runs.scored if (one := run.scores.model.unfinished)
    )
    for what, number in unfinished.items():
        yield Shortfall("Scores", f"Training of {count(number, 'run')} is unfinished ({what}).")


def _places(runs: Runs) -> Iterator[Shortfall]:
    """Yield rows whose runs were trained on datasets of other places than those of most rows."""
    by_row: dict[str, set[str]] = {}
    for run in runs.scored:
        by_row.setdefault(run.row, set()).add(run.source)
    counts = Counter(frozenset(places) for places in by_row.values())
    usual = max(counts, key=lambda places: counts[places], default=frozenset[str]())
    for row, places in sorted(by_row.items()):
        if len(places) > 1 and (extra := places - usual):
            shown = ", ".join(text.name(place) for place in sorted(extra)[:4])
            yield Shortfall(
                "Scores",
                f"{text.name(row)} is the mean over datasets that other rows do not have: {shown}.",
            )


def _labels(runs: Runs) -> Iterator[Shortfall]:
    seen: set[tuple[str, object]] = set()
    for run in runs.scored:
        labels, real = run.scores.labels, run.scores.real
        extra = tuple(labels.names[labels.num_real :])
        if extra and (real.name, extra) not in seen:
            seen.add((real.name, extra))
            shown = ", ".join(text.name(name) for name in extra[:8])
            more = f" and {len(extra) - 8} more" if len(extra) > 8 else ""
            yield Shortfall(
                "Classes", f"{real.name} has no images of {shown}{more}, which the model knows."
            )
        if labels.matched != "exact" and (real.name, labels.matched) not in seen:
            seen.add((real.name, labels.matched))
            yield Shortfall(
                "Classes", f"Classes of {real.name} were matched by {labels.matched}, not exactly."
            )


def _table(table: Table) -> Iterator[Shortfall]:
    where = f"{table.real}, {table.architecture}"
    if table.real_images < FEW_IMAGES:
        yield Shortfall(
            "Evidence",
            f"{table.real} has only {count(table.real_images, 'test image')}: accuracies are "
            "uncertain by several points.",
        )
    if table.base is None and len(table.lines) > 1:
        yield Shortfall(
            "Evidence",
            f"{where}: no row is the base, so no differences are shown; name one with --base.",
        )
    compared = [line for line in table.lines if line.difference]
    yield from _evidence(where, compared)
    single = [line for line in table.lines if line.runs == 1]
    if single:
        yield Shortfall(
            "Evidence",
            f"{where}: {count(len(single), 'row')} of {len(table.lines)} with one run only; "
            "variation between trainings is not in the intervals.",
            "data-factory train OUT --seed 1",
        )


def _evidence(where: str, compared: Sequence[Line]) -> Iterator[Shortfall]:
    weak = [
        text.name(line.row)
        for line in compared
        if line.difference and line.difference.p is not None and not line.difference.significant
    ]
    if weak:
        rows = ", ".join(weak)
        yield Shortfall("Evidence", f"{where}: not significant against the base: {rows}.")
    worse = [
        text.name(line.row)
        for line in compared
        if line.difference and line.difference.significant and line.difference.value < 0
    ]
    if worse:
        yield Shortfall("Evidence", f"{where}: significantly below the base: {', '.join(worse)}.")
    unknown = [
        text.name(line.row) for line in compared if line.difference and line.difference.low is None
    ]
    if unknown:
        yield Shortfall(
            "Evidence", f"{where}: difference without an interval: {', '.join(unknown)}."
        )
