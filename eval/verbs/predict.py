"""`eval predict RUN PATHS...`: asks a trained model what photos show."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from eval.verbs.arguments import (
    add_fit,
    add_process,
    add_rows,
    add_threshold,
    check_file,
    check_threshold,
    positive,
)
from factory.common.console import launched_as, log, write
from factory.common.errors import Failure, UserError

if TYPE_CHECKING:
    from eval.classifier import Answer, Classifier
    from eval.photos import Found

NAME = "predict"
HELP = "ask a trained model what photos show"
_LISTED = 5
_SHEETS = (".png", ".jpg", ".jpeg")
# Arguments of `open_images`, by the argument of the command line.
_ROW_OPTIONS = {
    "config": "config_name",
    "split": "split",
    "filter": "row_filter",
    "image_column": "image_column",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.description = (
        "Asks a trained model what photos show: the most likely classes with their probabilities, "
        "the same as `eval score` computes. Nothing is uploaded or written unless asked for."
    )
    add = parser.add_argument
    add("run_folder", metavar="RUN", help="run folder, hf-hub:ORG/NAME, or ONNX file")
    add(
        "paths",
        nargs="+",
        metavar="PATH",
        help="image file, folder (with all below it), pattern such as 'photos/*.jpg', CSV or "
        "Parquet file that names images, dataset of the Hub ([hf://datasets/]ORG/NAME), or - for "
        "paths on standard input, one per line",
    )
    add("--top-k", type=positive, default=3, metavar="K", help="classes per image (default: 3)")
    add("--json", action="store_true", help="JSON on standard output instead of a table")
    add("--csv", type=Path, metavar="FILE", help="also write a CSV file")
    add(
        "--sheet",
        type=Path,
        metavar="FILE",
        help="also write a contact sheet (.png or .jpg), most confident first",
    )
    add(
        "--skip-unreadable",
        action="store_true",
        help="exit with 0 although images were left out because they cannot be read",
    )
    add_threshold(
        parser,
        auto="auto: P that rejects 5 %% of the synthetic images that the run held out and labels "
        "correctly, or the P of an ONNX file",
    )
    add_rows(parser.add_argument_group("paths that are datasets"), of="the dataset")
    add_fit(parser)
    add_process(parser)
    add("--device", default="auto", help="auto, cpu, cuda, mps or xpu")


def run(args: argparse.Namespace) -> None:
    """Find the images, ask the model, tell the answers."""
    _check(args)

    from eval.answers import to_json, to_table
    from eval.classifier import load_classifier
    from eval.rejection import chosen_threshold
    from eval.score import set_precision
    from factory.data.readable import report_unreadable

    found = _find(args)
    set_precision(args.threads)
    classifier = load_classifier(args.run_folder, fit=args.fit, device=args.device)
    if unfinished := classifier.checkpoint.facts.unfinished:
        log(f"warning: {args.run_folder} is {unfinished}")
    threshold, rejection = chosen_threshold(
        classifier, args.threshold, args.data, batch_size=args.batch_size
    )
    answers, unread = classifier.classify(
        found.photos, top_k=args.top_k, batch_size=args.batch_size, shows=True
    )
    faults = [*found.faults, *map(str, unread)]
    if not answers:
        raise UserError(_nothing(faults))
    if faults:
        report_unreadable(NAME, faults, total=len(answers) + len(faults))
    if args.json:
        told = {
            "run": args.run_folder,
            "threshold": threshold,
            "threshold_chosen": rejection.to_json() if rejection else None,
            "images": to_json(answers, threshold),
            "skipped": faults,
            "not_images": dict(sorted(found.left_out.items())),
        }
        write(json.dumps(told, indent=2))
    else:
        write("\n\n".join([to_table(answers, threshold), *([str(rejection)] if rejection else [])]))
    _write_files(args, answers, classifier, threshold)
    if faults and not args.skip_unreadable:
        raise Failure(
            f"{len(faults)} of {len(answers) + len(faults)} images cannot be read, for the reasons "
            "above; the others were predicted (--skip-unreadable: exit status 0)"
        )


def _check(args: argparse.Namespace) -> None:
    """Refuse what would fail after the work."""
    if launched_as()[1] > 1:
        raise UserError("predict runs as one process; start it with `python -m eval predict`")
    check_file("--csv", args.csv)
    check_file("--sheet", args.sheet)
    if args.sheet is not None and args.sheet.suffix.lower() not in _SHEETS:
        raise UserError(f"--sheet {args.sheet}: end the name in {', '.join(_SHEETS)}")
    check_threshold(args)


def _find(args: argparse.Namespace) -> Found:
    """Return what the paths name; report which datasets, and what in folders is no image."""
    from eval.photos import find_photos, require_datasets
    from factory.data.row_counts import left_out_line

    found = find_photos(
        args.paths,
        standard_input=lambda: sys.stdin.buffer,
        dataset_options={to: getattr(args, name) for name, to in _ROW_OPTIONS.items()},
    )
    given = [name for name in _ROW_OPTIONS if getattr(args, name) is not None]
    require_datasets(found, [f"--{name.replace('_', '-')}" for name in given])
    for line in found.datasets:
        log(line)
    if found.left_out:
        log(f"not read: {left_out_line(dict(sorted(found.left_out.items())))}")
    if not found.photos:
        raise UserError(_nothing(found.faults))
    return found


def _nothing(faults: list[str]) -> str:
    """Say that there is nothing to predict, with the first reasons."""
    shown = "; ".join(faults[:_LISTED])
    more = f"; and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
    return f"no image can be read: {shown}{more}" if faults else "the paths name no images"


def _write_files(
    args: argparse.Namespace,
    answers: list[Answer],
    classifier: Classifier,
    threshold: float | None,
) -> None:
    from eval.answers import write_csv

    if args.csv is not None:
        write_csv(answers, args.csv, threshold)
        log(f"wrote {args.csv}")
    if args.sheet is not None:
        from eval.photo_sheet import write_sheet

        write_sheet(
            answers,
            args.sheet,
            title=Path(args.run_folder).name,
            label_names=classifier.checkpoint.label_names,
            threshold=threshold,
        )
        log(f"wrote {args.sheet}")
