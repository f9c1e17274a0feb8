"""Runs a study from its first set to its report."""

from __future__ import annotations

import json
from pathlib import Path

from eval.study.plan import Plan
from eval.study.report import to_markdown
from eval.study.results import gather
from eval.study.steps import Ledger, run_all
from factory.console import log
from factory.errors import UserError


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
    plan.out.mkdir(parents=True, exist_ok=True)
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
