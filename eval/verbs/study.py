"""`eval study STUDY OUT`: the paper's study from sets to report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from eval.verbs.arguments import positive
from factory.common.console import log, write
from factory.common.errors import UserError

NAME = "study"
HELP = "build sets, train, score and report, from one file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.description = (
        "Runs factory, train and eval for every set, model and seed of a study and writes a report "
        "of what was measured. Run again, it goes on where it stopped and repeats nothing."
    )
    add = parser.add_argument
    add("study", type=Path, metavar="STUDY", help="YAML file, e.g. docs/study.yaml")
    add("out", type=Path, metavar="OUT", help="folder for sets, runs, logs and the ledger")
    add("--only", metavar="SET,...", help="these sets of the study")
    add("--images-per-class", type=positive, metavar="N", help="of every set")
    add("--models", metavar="NAME,...", help="timm models to train")
    add("--seeds", metavar="N,...", help="seeds of training")
    add("--epochs", type=positive, metavar="N", help="epochs of training")
    add("--preset", metavar="NAME", help="preset of train")
    add("--real", action="append", default=[], metavar="SET=DATASET", help="real test images")
    add(
        "--reference",
        action="append",
        default=[],
        metavar="SET=DATASET",
        help="real training images of the reference row",
    )
    add("--processes", type=positive, default=1, metavar="N", help="that draw (default: 1)")
    add("--jobs", type=positive, default=1, metavar="N", help="trainings at a time (default: 1)")
    add("--report", type=Path, metavar="FILE", help="Markdown (default: OUT/study.md), JSON beside")
    add("--dry-run", action="store_true", help="show building commands and cost, and stop")


def run(args: argparse.Namespace) -> None:
    """Run the study."""
    from eval.study.costs import costs
    from eval.study.driver import run_study
    from eval.study.plan import Plan
    from eval.study.settings import resolve
    from eval.study.spec import read_study, without_conclusions
    from eval.study.steps import shown

    spec = read_study(args.study, _changes(args))
    chosen = _names(args.only)
    unknown = [name for name in chosen if name not in spec.sets]
    if unknown:
        raise UserError(f"--only {unknown[0]}: the study has: {', '.join(spec.sets)}")
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
            write(shown(step.command))
        write(costs(plan))
        return
    report = args.report or args.out / "study.md"
    if not report.parent.is_dir() and report.parent != args.out:
        raise UserError(f"--report {report}: folder {report.parent} doesn't exist; create it")
    run_study(plan, jobs=args.jobs, report=report, command=_command(args))
    log(f"wrote {report} and {report.with_suffix('.json')}")


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keys of the study that the command line replaces."""
    found: dict[str, Any] = {
        key: value for key in ("epochs", "preset") if (value := getattr(args, key)) is not None
    }
    if args.models:
        found["models"] = _names(args.models)
    if args.seeds:
        try:
            found["seeds"] = [int(seed) for seed in _names(args.seeds)]
        except ValueError:
            raise UserError(f"--seeds {args.seeds}: whole numbers, such as 0,1,2") from None
    sets: dict[str, dict[str, Any]] = {}
    for option in ("real", "reference"):
        for pair in getattr(args, option):
            name, equals, dataset = pair.partition("=")
            if not (equals and name and dataset):
                raise UserError(f"--{option} {pair}: must be SET=DATASET")
            sets.setdefault(name, {})[option] = {"dataset": dataset}
    return found | ({"sets": sets} if sets else {})


def _resized(args: argparse.Namespace) -> list[str]:
    """Return the options that make it another study than the file's, as typed."""
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
    """Return the command line with which the study was run, without what only tells how fast."""
    words = ["python -m eval study", str(args.study), "OUT"]
    words += [*(["--only", args.only] if args.only else []), *_resized(args)]
    for option in ("real", "reference"):
        words += [part for pair in getattr(args, option) for part in (f"--{option}", pair)]
    return " ".join(words)
