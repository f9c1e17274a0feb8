"""`eval study STUDY OUT`: run a study from generation to report."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.common.console import log, renamed, write, write_json
from factory.common.errors import UserError
from factory.common.options import add_dry_run, add_json, check_file, not_negative, option, positive
from factory.common.program import NAME, command
from factory.common.row_options import row_options
from factory.common.text import expected_word

if TYPE_CHECKING:
    from eval.study.spec import StudySpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Run factory, train and eval for every dataset, model and seed of a study and write a "
        "report. Run the same command again to resume; finished steps are skipped."
    )
    add = partial(option, parser)
    parser.add_argument("study", type=Path, metavar="STUDY", help="YAML file, e.g. docs/study.yaml")
    parser.add_argument(
        "out", type=Path, metavar="OUT", help="folder for datasets, runs, logs and the ledger"
    )
    add("--only SET", "run only this dataset of the study; may be repeated", many=True)
    renamed(parser, "--only", "--only", had_commas=True)
    add(
        "--images-per-class N",
        "images per class, in every dataset (default: the study's)",
        positive,
        meaning="images of each class",
    )
    add(
        "--model ID",
        "timm model to train; may be repeated (default: the study's)",
        dest="models",
        many=True,
    )
    renamed(parser, "--models", "--model", had_commas=True)
    add(
        "--seed N",
        "training seed; may be repeated (default: the study's)",
        not_negative,
        meaning="seed",
        dest="seeds",
        many=True,
    )
    renamed(parser, "--seeds", "--seed", had_commas=True)
    add("--epochs N", "passes over the training images (default: the study's)", positive)
    add("--preset NAME", "training preset (default: the study's)", meaning="base settings")
    add(
        "--real SET=DATASET",
        "real test images for dataset SET of the study: directory or Hub id; may be repeated",
        many=True,
    )
    add(
        "--reference SET=DATASET",
        "real training images for the reference row of dataset SET: directory or Hub id; "
        "may be repeated",
        many=True,
    )
    add(
        "--processes N",
        "processes that generate (default: one per GPU or core, as `build` chooses)",
        positive,
    )
    add(
        "--jobs N",
        "concurrent training runs (default: 1, which uses all cores)",
        positive,
        default=1,
    )
    add(
        "--report FILE", "Markdown report (default: OUT/study.md), with a JSON file beside it", Path
    )
    add_dry_run(parser)
    add_json(parser, "the content of the JSON report; with --dry-run: commands, costs")


def run(args: argparse.Namespace) -> None:
    """Run the study."""
    from eval.study.conclusions import only
    from eval.study.costs import costs, costs_text
    from eval.study.driver import run_study
    from eval.study.plan import Plan
    from eval.study.settings import resolve
    from eval.study.spec import read_study, without_conclusions
    from eval.study.steps import line_of

    spec = read_study(args.study, _changes(args))
    chosen = args.only
    unknown = [name for name in chosen if name not in spec.sets]
    if unknown:
        raise UserError(f"--only {unknown[0]}: {expected_word(unknown[0], spec.sets)}")
    if chosen:
        spec = only(spec, chosen)
    if args.images_per_class:
        count = {"images_per_class": args.images_per_class}
        sets = {name: one.model_copy(update=count) for name, one in spec.sets.items()}
        spec = spec.model_copy(update={"sets": sets})
    _check_images(spec)
    changed = [*_resized(args), *_other_images(args, spec)]
    if changed:
        spec = without_conclusions(spec, " ".join(changed))
    plan = Plan(spec, resolve(spec), args.out, processes=args.processes)
    if args.dry_run:
        commands = [command(line_of(step.command)) for step in plan.builds()]
        if args.json:
            write_json({"commands": commands, "costs": costs(plan)})
        else:
            write("\n".join([*commands, costs_text(plan)]))
        return
    report = args.report or args.out / "study.md"
    check_file("--report", report)
    run_study(plan, jobs=args.jobs, report=report, command=_command(args))
    log(f"wrote {report} and {report.with_suffix('.json')}")
    if args.json:
        write_json(json.loads(report.with_suffix(".json").read_text(encoding="utf-8")))


def _check_images(spec: StudySpec) -> None:
    """Check the real images before recipes are resolved and datasets are built."""
    from eval.real import check_real

    for name, one in spec.sets.items():
        for key, source in (("real", one.real), ("reference", one.reference)):
            if source is None:
                continue
            with row_options(f"sets.{name}.{key}.{{}}"):
                check_real(
                    source.dataset,
                    config_name=source.config,
                    split=source.split,
                    row_filter=source.filter,
                    image_column=source.image_column,
                    label_column=source.label_column,
                )


def _changes(args: argparse.Namespace) -> dict[str, Any]:
    """Return the study's keys that the command line overrides."""
    found: dict[str, Any] = {
        key: value for key in ("epochs", "preset") if (value := getattr(args, key)) is not None
    }
    found |= {key: value for key in ("models", "seeds") if (value := getattr(args, key))}
    sets: dict[str, dict[str, Any]] = {}
    for key in ("real", "reference"):
        for pair in getattr(args, key):
            name, equals, dataset = pair.partition("=")
            if not (equals and name and dataset):
                raise UserError(f"--{key} {pair}: expected SET=DATASET")
            sets.setdefault(name, {})[key] = {"dataset": dataset}
    return found | ({"sets": sets} if sets else {})


def _resized(args: argparse.Namespace) -> list[str]:
    """Return the options that change the study's size or training, as typed."""
    given = {
        "--images-per-class": [args.images_per_class],
        "--model": args.models,
        "--seed": args.seeds,
        "--epochs": [args.epochs],
        "--preset": [args.preset],
    }
    return [
        word
        for name, values in given.items()
        for value in values
        if value is not None
        for word in (name, str(value))
    ]


def _other_images(args: argparse.Namespace, spec: StudySpec) -> list[str]:
    """Return the options for images that no dataset's `describes` will be compared with."""
    return [
        word
        for option in ("real", "reference")
        for pair in getattr(args, option)
        if (one := spec.sets.get(pair.partition("=")[0])) and not getattr(one.describes, option)
        for word in (f"--{option}", pair)
    ]


def _command(args: argparse.Namespace) -> str:
    """Return the command line of the study, without options that affect only the speed."""
    words = [NAME, "study", str(args.study), "OUT"]
    given = {"--only": args.only, "--real": args.real, "--reference": args.reference}
    for name, values in given.items():
        words += [word for value in values for word in (name, value)]
    words += _resized(args)
    return " ".join(words)
