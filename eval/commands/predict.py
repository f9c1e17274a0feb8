"""`eval predict RUN PATHS...`: classify photos with a trained model."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from eval.commands.arguments import (
    add_fit,
    add_process,
    add_threshold,
    check_model,
    check_threshold,
)
from factory.common.console import launched_as, log, log_loading, renamed, write, write_json
from factory.common.devices import choose_threads
from factory.common.errors import Failure, Fault, UserError
from factory.common.options import (
    add_json,
    add_rows,
    add_skip_unreadable,
    check_file,
    made,
    option,
    positive,
)
from factory.common.program import command

if TYPE_CHECKING:
    from eval.classifier import Answer, Classifier
    from eval.photos import Found

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
    """Add the command's arguments."""
    parser.description = (
        "Ask a trained model what photos show: the most likely classes with their probabilities, "
        f"the same as `{command('score')}` computes. Nothing is uploaded or written unless asked "
        "for."
    )
    add = partial(option, parser)
    parser.add_argument(
        "run_folder", metavar="RUN", help="run folder, ORG/NAME[@REVISION], or ONNX file"
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="image file, folder (with all below it), pattern such as 'photos/*.jpg', CSV or "
        "Parquet file that names images, dataset of the Hub ([hf://datasets/]ORG/NAME), or - for "
        "paths on standard input, one per line",
    )
    add("--top-k K", "classes per image (default: 3)", positive, default=3)
    add_json(parser, "run, threshold, threshold_chosen, images, skipped, not_images")
    add("--csv FILE", "also write a CSV file", Path)
    add("--sheet FILE", "also write a contact sheet (.png or .jpg), most confident first", Path)
    add_skip_unreadable(
        parser,
        "exit with 0 even if some images cannot be read; they are left out and reported either way",
    )
    renamed(parser, "--allow-unreadable", "--skip-unreadable")
    add_threshold(
        parser,
        auto="auto: P that rejects 5 %% of the training images that the run held out and labels "
        "correctly, or the P of an ONNX file",
    )
    add_rows(parser.add_argument_group("paths that are datasets"), labels=False)
    add_fit(parser)
    add_process(parser)


def run(args: argparse.Namespace) -> None:
    """Find the images, classify them, and write the answers."""
    _check(args)

    from eval.answers import to_json, to_table
    from eval.classifier import load_classifier
    from eval.photos import fault_line, fault_of
    from eval.rejection import chosen_threshold
    from eval.score import set_precision
    from factory.data.readable import report_unreadable
    from factory.data.row_counts import left_out_line

    found = _find(args)
    log_loading()
    set_precision(choose_threads(args.threads, shows=False))
    classifier = load_classifier(args.run_folder, fit=args.fit, device=args.device)
    if unfinished := classifier.checkpoint.facts.unfinished:
        log(f"warning: {args.run_folder} is {unfinished}")
    threshold, rejection = chosen_threshold(
        classifier, args.threshold, args.data, batch_size=args.batch_size
    )
    answers, unread = classifier.classify(
        found.photos, top_k=args.top_k, batch_size=args.batch_size, shows=True
    )
    faults = [*found.faults, *(fault_of(photo.name, error) for photo, error in unread)]
    if not answers:
        raise UserError(_nothing(faults))
    if faults:
        lines = [*map(fault_line, faults)]
        report_unreadable("predict", lines, total=len(answers) + len(faults))
    if args.json:
        answer = {
            "run": args.run_folder,
            "threshold": threshold,
            "threshold_chosen": rejection.to_json() if rejection else None,
            "images": to_json(answers, threshold),
            "skipped": [{"path": one.file, "reason": one.message} for one in faults],
            "not_images": dict(sorted(found.left_out.items())),
        }
        write_json(answer)
    else:
        write("\n\n".join([to_table(answers, threshold), *([str(rejection)] if rejection else [])]))
    _write_files(args, answers, faults, classifier, threshold)
    if args.skip_unreadable:
        return
    if faults:
        raise Failure(
            f"{len(faults)} of {len(answers) + len(faults)} paths or images cannot be read, for "
            "the reasons above; the others were predicted (--skip-unreadable: exit status 0)"
        )
    if found.lost:
        raise Failure(
            f"files of a dataset were not read: {left_out_line(found.lost)}; the other images were "
            "predicted (--skip-unreadable: exit status 0)"
        )


def _check(args: argparse.Namespace) -> None:
    """Reject invalid options before the long computation starts."""
    if launched_as()[1] > 1:
        raise UserError(
            f"predict runs as one process; start it without a launcher: `{command('predict')} ...`"
        )
    if args.sheet is not None and args.sheet.suffix.lower() not in _SHEETS:
        raise UserError(f"--sheet {args.sheet}: end the name in {', '.join(_SHEETS)}")
    check_file("--csv", args.csv)
    check_file("--sheet", args.sheet)
    check_threshold(args)
    check_model(args.run_folder)


def _find(args: argparse.Namespace) -> Found:
    """Return the images that the paths name; report their number, and what was not read."""
    from eval.photos import find_photos, require_datasets

    found = find_photos(
        args.paths,
        standard_input=lambda: sys.stdin.buffer,
        dataset_options={to: getattr(args, name) for name, to in _ROW_OPTIONS.items()},
    )
    given = [name for name in _ROW_OPTIONS if getattr(args, name) is not None]
    require_datasets(found, [f"--{name.replace('_', '-')}" for name in given])
    if not found.photos:
        raise UserError(_nothing(found.faults))
    log(found.line())
    return found


def _nothing(faults: list[Fault]) -> str:
    """Return the error for paths without any readable image, with the first reasons."""
    from eval.photos import fault_line

    shown = "; ".join(map(fault_line, faults[:_LISTED]))
    more = f"; and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
    return f"no image can be read: {shown}{more}" if faults else "the paths name no images"


def _write_files(
    args: argparse.Namespace,
    answers: list[Answer],
    faults: list[Fault],
    classifier: Classifier,
    threshold: float | None,
) -> None:
    from eval.answers import write_csv

    if args.csv is not None:
        write_csv(answers, made(args.csv), threshold, skipped=faults)
        log(f"wrote {args.csv}")
    if args.sheet is not None:
        from eval.photo_sheet import write_sheet

        write_sheet(
            answers,
            made(args.sheet),
            title=Path(args.run_folder).name,
            label_names=classifier.checkpoint.label_names,
            threshold=threshold,
            skipped=len(faults),
        )
        log(f"wrote {args.sheet}")
