"""`eval study STUDY OUT`: run a study from generation to report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from eval.verbs.arguments import positive
from factory.common.console import log, write
from factory.common.errors import UserError
from factory.common.program import NAME, command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Run factory, train and eval for every dataset, model and seed of a study and write a "
        "report. Run the same command again to resume; finished steps are skipped."
    )
    add = parser.add_argument
    add("study", type=Path, metavar="STUDY", help="YAML file, e.g. docs/study.yaml")
    add("out", type=Path, metavar="OUT", help="folder for datasets, runs, logs and the ledger")
    add("--only", metavar="SET,...", help="run only these datasets of the study")
    add("--images-per-class", type=positive, metavar="N", help="override the size of every dataset")
    add("--models", metavar="NAME,...", help="timm models to train")
    add("--seeds", metavar="N,...", help="training seeds")
    add("--epochs", type=positive, metavar="N", help="training epochs")
    add("--preset", metavar="NAME", help="training preset")
    add("--real", action="append", default=[], metavar="SET=DATASET", help="real test images")
    add(
        "--reference",
        action="append",
        default=[],
        metavar="SET=DATASET",
        help="real training images for the reference row",
    )
    add(
        "--processes",
        type=positive,
        default=1,
        metavar="N",
        help="generation processes (default: 1)",
    )
    add(
        "--jobs",
        type=positive,
        default=1,
        metavar="N",
        help="concurrent training runs (default: 1)",
    )
    add(
        "--report",
        type=Path,
        metavar="FILE",
        help="Markdown report (default: OUT/study.md), with a JSON file beside it",
    )
    add("--dry-run", action="store_true", help="print the build commands and cost, then exit")


def run(args: argparse.Namespace) -> None:
    """Run the study."""
    from eval.study.costs import costs
    from eval.study.driver import run_study
    from eval.study.plan import Plan
    from eval.study.settings import resolve
    from eval.study.spec import read_study, without_conclusions
    from eval.study.steps import line_of

    spec = read_study(args.study, _changes(args))
    chosen = _names(args.only)
    unknown = [name for name in chosen if name not in spec.sets]
    if unknown:
        raise UserError(f"--only {unknown[0]}: not in the study; it has: {', '.join(spec.sets)}")
    if chosen:
        spec = spec.model_copy(update={"sets": {name: spec.sets[name] for name in chosen}})
    if args.images_per_class:
        count = {"images_per_class": args.images_per_class}
        sets = {name: one.model_copy(update=count) for name, one in spec.sets.items()}
        spec = spec.model_copy(update={"sets": sets})
    resized = _resized(args)
    if resized:
        spec = without_conclusions(spec, " ".join(resized))
    plan = Plan(spec, resolve(spec), args.out, processes=args.processes)
    if args.dry_run:
        for step in plan.builds():
            write(command(line_of(step.command)))
        write(costs(plan))
        return
    report = args.report or args.out / "study.md"
    if not report.parent.is_dir() and report.parent != args.out:
        raise UserError(f"--report {report}: folder {report.parent} does not exist; create it")
    run_study(plan, jobs=args.jobs, report=report, command=_command(args))
    log(f"wrote {report} and {report.with_suffix('.json')}")


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    """Return the study's keys that the command line overrides."""
    found: dict[str, Any] = {
        key: value for key in ("epochs", "preset") if (value := getattr(args, key)) is not None
    }
    if args.models:
        found["models"] = _names(args.models)
    if args.seeds:
        try:
            found["seeds"] = [int(seed) for seed in _names(args.seeds)]
        except ValueError:
            raise UserError(f"--seeds {args.seeds}: must be whole numbers, e.g. 0,1,2") from None
    sets: dict[str, dict[str, Any]] = {}
    for option in ("real", "reference"):
        for pair in getattr(args, option):
            name, equals, dataset = pair.partition("=")
            if not (equals and name and dataset):
                raise UserError(f"--{option} {pair}: must be SET=DATASET")
            sets.setdefault(name, {})[option] = {"dataset": dataset}
    return found | ({"sets": sets} if sets else {})


def _resized(args: argparse.Namespace) -> list[str]:
    """Return the options that change the study's size or training, as typed."""
    options = ("images_per_class", "models", "seeds", "epochs", "preset")
    return [
        word
        for option in options
        if (value := getattr(args, option)) is not None
        for word in (f"--{option.replace('_', '-')}", str(value))
    ]


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _command(args: argparse.Namespace) -> str:
    """Return the command line of the study, without options that affect only the speed."""
    words = [NAME, "study", str(args.study), "OUT"]
    words += [*(["--only", args.only] if args.only else []), *_resized(args)]
    for option in ("real", "reference"):
        words += [part for pair in getattr(args, option) for part in (f"--{option}", pair)]
    return " ".join(words)
