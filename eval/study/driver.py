"""Runs a study from its first set to its report."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from eval.study.plan import Plan
from eval.study.report import to_markdown
from eval.study.results import gather
from eval.study.steps import Ledger, run_all
from factory.console import log
from factory.errors import UserError


def check_labels(plan: Plan) -> None:
    """Match the classes of all real images with the recipes', before anything is generated.

    Raises:
        UserError: Real images cannot be opened, or their labels do not match.
    """
    from eval.label_map import LabelMap
    from eval.labels import match_real
    from eval.real import open_real

    for name, one in plan.spec.sets.items():
        classes = next(iter(plan.settings[name].values())).labels
        labels = LabelMap(one.labels, f"sets.{name}.labels") if one.labels else None
        for source in (plan.real(name) if one.real else None, one.reference):
            if source is None:
                continue
            real = open_real(
                source.dataset,
                config_name=source.config,
                split=source.split,
                row_filter=source.filter,
                image_column=source.image_column,
                label_column=source.label_column,
            )
            match_real(classes, real, model=f"sets.{name}", labels=labels)


def costs(plan: Plan) -> str:
    """Return what generating the study costs, a line per dataset.

    A row counts once per draw. A union counts nothing: name its members as rows of their own.
    """
    lines = []
    for name, one in plan.spec.sets.items():
        rows = {row: plan.settings[name][row] for row in one.rows}
        alone = {row: found for row, found in rows.items() if not found.is_union}
        times = {row: len(one.draws_of(row)) for row in alone}
        calls = sum(found.calls * times[row] for row, found in alone.items())
        images = sum(found.images * times[row] for row, found in alone.items())
        seconds = [found.seconds for found in alone.values()]
        device = next((found.device for found in alone.values()), None)
        hours = (
            "no speed known for this model"
            if None in seconds
            else f"about {sum((f.seconds or 0) * times[r] for r, f in alone.items()) / 3600:.3g} "
            f"hours on {device}"
        )
        trainings = (
            len(plan.spec.models)
            * len(plan.spec.seeds)
            * sum(len(one.draws_of(row)) for row in one.rows)
        )
        lines.append(
            f"{name}: {images:,} images, {calls:,} network calls, {hours}; {trainings} trainings"
        )
    return "\n".join(lines)


def run_study(plan: Plan, *, jobs: int, report: Path, command: str) -> None:
    """Build, train, score, compare, report; what is done already is not done again.

    Args:
        plan: The study in its folder.
        jobs: Trainings and scorings at a time.
        report: Markdown file to write, with JSON beside it.
        command: The line that makes the report again.

    Raises:
        UserError: Nothing is scored, or a command refused its arguments.
        Failure: A command failed.
    """
    if all(one.real is None for one in plan.spec.sets.values()):
        raise UserError(
            "no set of the study has real images to be scored on; name some: --real SET=DATASET"
        )
    check_labels(plan)
    plan.out.mkdir(parents=True, exist_ok=True)
    for name, one in plan.spec.sets.items():
        if one.labels:
            plan.labels_path(name).parent.mkdir(exist_ok=True)
            text = yaml.safe_dump(one.labels, allow_unicode=True)
            plan.labels_path(name).write_text(text, encoding="utf-8")
    ledger = Ledger(plan.out)
    builds = plan.builds()
    log(f"sets: {len(builds)}")
    run_all(ledger, builds)
    runs = plan.runs()
    log(f"runs: {len(runs)}")
    run_all(ledger, [run.step for run in runs], jobs=jobs)
    log("scores")
    run_all(ledger, plan.scores(runs), jobs=jobs)
    log("reasons")
    for name in plan.spec.sets:
        plan.fidelity_path(name, "any").parent.mkdir(parents=True, exist_ok=True)
    run_all(ledger, [*plan.gaps(runs), *plan.fidelities(runs), *plan.clips()], jobs=jobs)
    results = gather(plan, ledger, builds=builds, runs=runs)
    text = json.dumps(results.model_dump(mode="json"), indent=2, ensure_ascii=False)
    report.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    report.write_text(to_markdown(results, command=command), encoding="utf-8")
