"""Run a study from generation to report."""

import json
from pathlib import Path

import yaml

from eval.study.conclusions import check_texts
from eval.study.plan import Plan
from eval.study.report import to_markdown
from eval.study.results import gather
from eval.study.steps import Ledger, run_all
from factory.common.console import log
from factory.common.errors import UserError
from factory.common.options import made
from factory.common.row_options import row_options
from factory.common.whole_files import replace_text


def check_labels(plan: Plan) -> None:
    """Match the classes of all real images with the recipes', before anything is generated.

    Raises:
        UserError: Real images cannot be opened, or their labels do not match.
    """
    from eval.labels import match_real
    from eval.real import open_real
    from factory.data.label_map import LabelMap

    for name, one in plan.spec.sets.items():
        classes = next(iter(plan.settings[name].values())).labels
        where = f"sets.{name}.real.labels"
        sources = {"real": plan.real(name) if one.real else None, "reference": one.reference}
        for key, source in sources.items():
            if source is None:
                continue
            with row_options(f"sets.{name}.{key}.{{}}"):
                real = open_real(
                    source.dataset,
                    config_name=source.config,
                    split=source.split,
                    row_filter=source.filter,
                    image_column=source.image_column,
                    label_column=source.label_column,
                )
                labels = LabelMap(source.labels, where) if source.labels else None
                match = match_real(
                    classes,
                    real,
                    model=f"sets.{name}",
                    labels=labels,
                    remedy=f"map them in {where} of the study"
                    if key == "real"
                    else "give these images the recipes' class names",
                )
            present = {match.real_indices[label] for label in real.labels.tolist()}
            missing = [label for at, label in enumerate(match.names) if at not in present]
            if one.known_classes_only and source is not one.reference and missing:
                raise UserError(
                    f"sets.{name}: known_classes_only finds no test image of {', '.join(missing)}; "
                    f"spell classes as the test images do, or map their labels in {where}"
                )


def run_study(plan: Plan, *, jobs: int, report: Path, command: str) -> None:
    """Build, train, score, compare and report; finished steps are skipped.

    Raises:
        UserError: No dataset has real images, or a command rejected its arguments.
        Failure: A command failed.
    """
    if all(one.real is None for one in plan.spec.sets.values()):
        raise UserError("no dataset of the study has real images; add some with --real SET=DATASET")
    check_labels(plan)
    check_texts(plan.spec)
    plan.out.mkdir(parents=True, exist_ok=True)
    for name, one in plan.spec.sets.items():
        if one.real and one.real.labels:
            plan.labels_path(name).parent.mkdir(exist_ok=True)
            text = yaml.safe_dump(one.real.labels, allow_unicode=True)
            replace_text(plan.labels_path(name), text)
    ledger = Ledger(plan.out)
    builds = plan.builds()
    log(f"datasets: {len(builds)}")
    run_all(ledger, builds)
    runs = plan.runs()
    log(f"training runs: {len(runs)}")
    run_all(ledger, [run.step for run in runs], jobs=jobs)
    log("scores")
    run_all(ledger, plan.scores(runs), jobs=jobs)
    log("reasons")
    for name in plan.spec.sets:
        plan.fidelity_path(name, "any").parent.mkdir(parents=True, exist_ok=True)
    run_all(ledger, [*plan.gaps(runs), *plan.fidelities(runs), *plan.clips()], jobs=jobs)
    results = gather(plan, ledger, builds=builds, runs=runs)
    text = json.dumps(results.model_dump(mode="json"), indent=2, ensure_ascii=False)
    replace_text(made(report).with_suffix(".json"), text + "\n")
    replace_text(report, to_markdown(results, command=command))
