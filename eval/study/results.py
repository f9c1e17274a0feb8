"""What a study has measured, read from the files its steps left; nothing is written by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from eval.intervals import Interval, mean_difference, rank_correlation
from eval.scores import Scores, read_scores
from eval.study.paper import paper_score
from eval.study.plan import REFERENCE, Plan, Run
from eval.study.steps import Ledger, Step, shown

# What may say why a trick helps or does not, measured for each row.
REASONS = {
    "two_sample": "told from real images by a classifier (accuracy)",
    "spread": "spread of features within a class (real images: 1)",
    "fidelity": "pictures in which a classifier trained on real images sees their class",
}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cell(_Part):
    """One row's scores with one model, in per cent; seeds in order."""

    top1: list[float]
    mean: float
    std: float | None
    difference: float | None
    difference_interval: tuple[float, float] | None
    train_seconds: float | None


class Row(_Part):
    """One trick: what the paper reports, what was measured, what it cost, what may explain it."""

    name: str
    images: int
    drawn: int
    build_seconds: float | None
    paper: float | None
    paper_difference: float | None
    cells: dict[str, Cell]
    reasons: dict[str, float | None]
    commands: list[str]


class SetResult(_Part):
    """All rows of one real data set."""

    paper: str | None
    real: str
    real_images: int
    real_fingerprint: str
    floor: float | None
    rows: list[Row]
    scorings: dict[str, dict[str, float]]
    correlations: dict[str, dict[str, tuple[float, float] | None]]


class Results(_Part):
    """A study's figures; `generator_revisions` is what drew them, one unless weights were mixed."""

    title: str
    generator: str
    generator_revisions: list[str]
    models: list[str]
    seeds: list[int]
    preset: str
    epochs: int | None
    features: dict[str, str]
    reasons: str
    versions: dict[str, str]
    sets: dict[str, SetResult]


def gather(plan: Plan, ledger: Ledger, *, builds: Sequence[Step], runs: Sequence[Run]) -> Results:
    """Read everything that a finished study has measured."""
    spec = plan.spec
    scored = {name: one for name, one in spec.sets.items() if one.real is not None}
    sets: dict[str, SetResult] = {}
    versions: dict[str, str] = {}
    for name in scored:
        own = [run for run in runs if run.set_name == name]
        scores = {run.folder: read_scores(plan.scores_path(run)) for run in own}
        versions |= next(iter(scores.values())).versions
        sets[name] = _set_result(plan, ledger, name, builds=builds, runs=own, scores=scores)
    rows = [(name, row) for name, one in scored.items() for row in one.rows]
    drawn_by = set[str]().union(*(plan.revisions(name, row) for name, row in rows))
    return Results(
        title=spec.title,
        generator=spec.model,
        generator_revisions=sorted(drawn_by),
        models=spec.models,
        seeds=spec.seeds,
        preset=spec.preset,
        epochs=spec.epochs,
        features={name: _named(plan.features(name, list(runs)), plan) for name in scored},
        reasons=spec.reasons,
        versions=versions,
        sets=sets,
    )


def _set_result(
    plan: Plan,
    ledger: Ledger,
    name: str,
    *,
    builds: Sequence[Step],
    runs: Sequence[Run],
    scores: dict[Path, Scores],
) -> SetResult:
    one = plan.spec.sets[name]
    base = one.rows[0]
    tops = {
        (row, model): [
            100 * scores[run.folder].metrics.top1
            for run in runs
            if (run.row, run.model) == (row, model)
        ]
        for row in {run.row for run in runs}
        for model in plan.spec.models
    }
    steps = {step.name: step for step in builds}
    names = [*one.rows, *([REFERENCE] if one.reference else [])]
    gaps = {row: _read_json(plan.gap_folder(name, row) / "gap.json") for row in one.rows}
    rows = [
        Row(
            name=row,
            images=_images(scores, runs, row),
            drawn=_drawn(plan, name, row),
            build_seconds=_seconds(ledger, steps.get(f"build/{name}/{row}")),
            paper=paper_score(one.paper, row),
            paper_difference=_paper_difference(one.paper, row, base),
            cells={
                model: _cell(
                    tops[row, model],
                    None if row == base else tops[base, model],
                    runs=[
                        scores[run.folder] for run in runs if (run.row, run.model) == (row, model)
                    ],
                )
                for model in plan.spec.models
            },
            reasons=_reasons(plan, name, row, gaps.get(row)),
            commands=_commands(plan, steps.get(f"build/{name}/{row}"), runs, row),
        )
        for row in names
    ]
    first = next(iter(scores.values()))
    floor = next((gap["floor"]["accuracy"] for gap in gaps.values() if gap), None)
    return SetResult(
        paper=one.paper,
        real=first.real.reference if not Path(first.real.reference).exists() else first.real.name,
        real_images=first.real.num_images,
        real_fingerprint=first.real.fingerprint,
        floor=floor,
        rows=rows,
        scorings=_scorings(plan, runs, scores),
        correlations={model: _correlations(rows, model) for model in plan.spec.models},
    )


def _cell(top1: list[float], base: list[float] | None, *, runs: Sequence[Scores]) -> Cell:
    mean = math.fsum(top1) / len(top1)
    std = None
    if len(top1) > 1:
        std = math.sqrt(math.fsum((one - mean) ** 2 for one in top1) / (len(top1) - 1))
    difference: float | None = None
    interval: Interval | None = None
    if base is not None:
        difference, interval = mean_difference(top1, base)
    seconds = [one.model.train_seconds for one in runs if one.model.train_seconds is not None]
    return Cell(
        top1=top1,
        mean=mean,
        std=std,
        difference=difference,
        difference_interval=interval,
        train_seconds=math.fsum(seconds) / len(seconds) if seconds else None,
    )


def _images(scores: dict[Path, Scores], runs: Sequence[Run], row: str) -> int:
    first = next(scores[run.folder] for run in runs if run.row == row)
    return int(((first.training or {}).get("data") or {}).get("num_images", 0))


def _drawn(plan: Plan, name: str, row: str) -> int:
    """Return how many pictures of a row were drawn for it alone: none for combinations."""
    entry = plan.entry(name, row)
    return int(entry["images"]) if entry.get("kind") == "set" else 0


def _seconds(ledger: Ledger, step: Step | None) -> float | None:
    return None if step is None else ledger.seconds(step)


def _paper_difference(column: str | None, row: str, base: str) -> float | None:
    own, of_base = paper_score(column, row), paper_score(column, base)
    if row == base or own is None or of_base is None:
        return None
    return round(own - of_base, 4)


def _reasons(
    plan: Plan, name: str, row: str, gap: dict[str, Any] | None
) -> dict[str, float | None]:
    judged = plan.spec.sets[name].reference is not None and row != REFERENCE
    fidelity = plan.fidelity_path(name, row)
    return {
        "two_sample": gap["two_sample"]["accuracy"] if gap else None,
        "spread": gap["spread"]["ratio"] if gap else None,
        "fidelity": read_scores(fidelity).metrics.top1 if judged else None,
    }


def _correlations(rows: Sequence[Row], model: str) -> dict[str, tuple[float, float] | None]:
    """Correlate the rows' scores with each likely reason, over the rows that have it."""
    found = {}
    for reason in REASONS:
        pairs = [
            (row.cells[model].mean, value)
            for row in rows
            if (value := row.reasons.get(reason)) is not None
        ]
        found[reason] = rank_correlation([a for a, _ in pairs], [b for _, b in pairs])
    return found


def _scorings(
    plan: Plan, runs: Sequence[Run], scores: dict[Path, Scores]
) -> dict[str, dict[str, float]]:
    """Return what each other way of scoring adds to the honest score: mean points a model."""
    found: dict[str, dict[str, float]] = {}
    for scoring in plan.spec.scorings:
        for model in plan.spec.models:
            gains = [
                100
                * (
                    read_scores(plan.scores_path(run, scoring)).metrics.top1
                    - scores[run.folder].metrics.top1
                )
                for run in runs
                if run.model == model
            ]
            found.setdefault(scoring, {})[model] = math.fsum(gains) / len(gains)
    return found


def _commands(plan: Plan, build: Step | None, runs: Sequence[Run], row: str) -> list[str]:
    first = next(run for run in runs if run.row == row)
    steps = [*([build] if build else []), first.step]
    return [shown(step.command).replace(f"{plan.out}/", "OUT/") for step in steps]


def _named(features: str, plan: Plan) -> str:
    return features.replace(f"{plan.out}/", "")


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
