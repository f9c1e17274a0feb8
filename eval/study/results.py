"""Collect the results of a finished study from the files of its steps."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.scores_file import Scores
from eval.scores_io import read_scores
from eval.study.described import texts_of
from eval.study.environments import all_devices, all_versions
from eval.study.folders import Run
from eval.study.paper import paper_score
from eval.study.plan import REFERENCE, Plan
from eval.study.result_fields import Cell, Compared, Gap, Results, Row, SetResult
from eval.study.statistics import Correct, Runs, difference, holm, spread_of_differences
from eval.study.steps import Ledger, Step, shown


def gather(plan: Plan, ledger: Ledger, *, builds: Sequence[Step], runs: Sequence[Run]) -> Results:
    """Read everything that a finished study has measured."""
    spec = plan.spec
    scored = [name for name, one in spec.sets.items() if one.real is not None]
    sets: dict[str, SetResult] = {}
    scores = {
        run.folder: read_scores(plan.scores_path(run)) for run in runs if run.set_name in scored
    }
    by_set = {name: [scores[run.folder] for run in runs if run.set_name == name] for name in scored}
    limits, notes = texts_of(plan, runs, by_set)
    for name in scored:
        own = [run for run in runs if run.set_name == name]
        found = _set_result(plan, ledger, name, builds=builds, runs=own, scores=scores)
        sets[name] = found.model_copy(update={"note": notes[name]})
    read = [*scores.values()]
    manifests = plan.manifests(scored)
    return Results(
        title=spec.title,
        generator=spec.model,
        generator_revisions=sorted(set[str]().union(*map(plan.revisions_of, scored))),
        models=spec.models,
        seeds=spec.seeds,
        preset=spec.preset,
        epochs=spec.epochs,
        features={
            name: plan.features(name, list(runs)).replace(f"{plan.out}/", "") for name in scored
        },
        limits=limits,
        versions=all_versions(read, manifests),
        devices=all_devices(read, manifests),
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
    correct = {model: _correct(plan, runs, model) for model in plan.spec.models}
    gaps = {row: _read_json(plan.gap_folder(name, row) / "gap.json") for row in one.rows}
    seconds = {step.name: ledger.seconds(step) for step in builds}
    first = scores[runs[0].folder]
    return SetResult(
        paper=one.paper,
        preset=one.preset or plan.spec.preset,
        train=one.train,
        real=first.real.reference if not Path(first.real.reference).exists() else first.real.name,
        real_images=first.real.num_images,
        real_fingerprint=first.real.fingerprint,
        note="",
        floor=next((_share(gap["floor"]) for gap in gaps.values() if gap), None),
        rows=[
            _row(plan, name, row, runs, scores, gap=gaps.get(row), seconds=seconds)
            for row in [*one.rows, *([REFERENCE] if one.reference else [])]
        ],
        comparisons=_compared(plan, name, correct),
        scorings=_scorings(plan, runs, scores),
        zero_shot=_zero_shot(plan, name),
    )


def _correct(plan: Plan, runs: Sequence[Run], model: str) -> dict[str, Runs]:
    """Return whether each run of a model classifies each test image correctly, by row and run."""
    found: dict[str, dict[tuple[int, int], Correct]] = {}
    for run in runs:
        if run.model == model:
            right = _read_correct(plan.predictions_path(run))
            found.setdefault(run.row, {})[run.image_seed, run.seed] = right
    return dict(found)


def _read_correct(path: Path) -> Correct:
    import pyarrow.parquet as pq

    column = pq.read_table(path, columns=["correct"])["correct"]
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _row(
    plan: Plan,
    name: str,
    row: str,
    runs: Sequence[Run],
    scores: dict[Path, Scores],
    *,
    gap: dict[str, Any] | None,
    seconds: dict[str, float | None],
) -> Row:
    one = plan.spec.sets[name]
    own = [run for run in runs if run.row == row]
    image_seeds = one.image_seeds_of(row) if row != REFERENCE else []
    taken = [seconds.get(f"build/{name}/{row}-seed-{image_seed}") for image_seed in image_seeds]
    first = plan.folder(name, row, image_seeds[0]) if image_seeds else None
    entry = plan.entry(first, one.row(row).config) if first else {}
    training = scores[own[0].folder].training or {}
    return Row(
        name=row,
        images=int((training.get("data") or {}).get("num_images", 0)),
        generated=int(entry["images"]) if entry.get("kind") == "set" else 0,
        image_seeds=image_seeds,
        paper=paper_score(one.paper, row),
        settings=plan.settings[name][row] if image_seeds else None,
        build_seconds=None if None in taken or not taken else math.fsum(filter(None, taken)),
        cells={
            model: _cell([scores[run.folder] for run in own if run.model == model])
            for model in plan.spec.models
        },
        gap=_gap(plan, name, row, gap),
        commands=_commands(plan, name, own[0]),
    )


def _cell(runs: Sequence[Scores]) -> Cell:
    times = [one.model.train_seconds for one in runs if one.model.train_seconds is not None]
    top1 = [100 * one.metrics.top1 for one in runs]
    return Cell(
        top1=top1,
        mean=math.fsum(top1) / len(top1),
        std=float(np.std(top1, ddof=1)) if len(top1) > 1 else None,
        train_seconds=math.fsum(times) / len(times) if times else None,
    )


def _independent(plan: Plan, name: str, rows: dict[str, Runs]) -> list[Runs]:
    """Return the rows that share no images with others: no unions, no twins."""
    settings = plan.settings[name]
    return [runs for row, runs in rows.items() if row in settings and not settings[row].shares]


def _compared(plan: Plan, name: str, correct: dict[str, dict[str, Runs]]) -> list[Compared]:
    """Compare the pairs of rows of a dataset; p-values are adjusted over all models."""
    one = plan.spec.sets[name]
    found = []
    for pair in one.all_comparisons():
        paper = paper_score(one.paper, pair.row), paper_score(one.paper, pair.to)
        for model, rows in correct.items():
            spread = spread_of_differences(_independent(plan, name, rows))
            estimate = difference(rows[pair.row], rows[pair.to], spread)
            printed = None if None in paper else round((paper[0] or 0) - (paper[1] or 0), 4)
            found.append((pair, model, printed, estimate))
    adjusted = holm([estimate.p for _, _, _, estimate in found if estimate.p is not None])
    corrected = iter(adjusted)
    return [
        Compared(
            row=pair.row,
            to=pair.to,
            differs=list(pair.differs),
            model=model,
            paper=printed,
            estimate=estimate,
            adjusted_p=None if estimate.p is None else next(corrected),
        )
        for pair, model, printed, estimate in found
    ]


def _gap(plan: Plan, name: str, row: str, gap: dict[str, Any] | None) -> Gap | None:
    if gap is None:
        return None
    judged = plan.fidelity_path(name, row)
    spread = gap["spread"]
    return Gap(
        two_sample=_share(gap["two_sample"]),
        spread=[spread["ratio"], spread.get("low"), spread.get("high")],
        fidelity=read_scores(judged).metrics.top1 if plan.spec.sets[name].reference else None,
    )


def _share(found: dict[str, Any]) -> list[float]:
    return [found["accuracy"], found["low"], found["high"]]


def _scorings(
    plan: Plan, runs: Sequence[Run], scores: dict[Path, Scores]
) -> dict[str, dict[str, float]]:
    """Return the difference of each other way of scoring to the standard score, in mean points."""
    found: dict[str, dict[str, float]] = {}
    for scoring in plan.spec.scorings:
        for model in plan.spec.models:
            gains = [
                read_scores(plan.scores_path(run, scoring)).metrics.top1
                - scores[run.folder].metrics.top1
                for run in runs
                if run.model == model and scoring in plan.scorings_of(run)
            ]
            found.setdefault(scoring, {})[model] = 100 * math.fsum(gains) / len(gains)
    return found


def _zero_shot(plan: Plan, name: str) -> dict[str, float]:
    """Return the scores of the CLIP models, in per cent, by model and prompts."""
    found = {}
    for model in plan.spec.clip:
        for path in sorted(plan.clip_folder(name, model).glob("scores-*.json")):
            scores = read_scores(path)
            prompts = scores.zero_shot.prompts if scores.zero_shot else ""
            found[f"{model}, {prompts}"] = 100 * scores.metrics.top1
    return found


def _commands(plan: Plan, name: str, run: Run) -> list[str]:
    label = f"build/{name}/{run.row}-seed-{run.image_seed}"
    builds = [step for step in plan.builds() if step.name == label]
    return [shown(step.command).replace(f"{plan.out}/", "OUT/") for step in [*builds, run.step]]


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
