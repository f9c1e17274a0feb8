"""`eval export RUN --onnx FILE`: write a trained model as an ONNX file."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from eval.commands.arguments import DATASET, add_fit, add_threshold, check_model, check_threshold
from factory.common.console import launched_as, log, log_loading, write, write_json
from factory.common.errors import UserError
from factory.common.options import add_json, add_quiet, check_file, option
from factory.common.program import command
from factory.common.text import plural

if TYPE_CHECKING:
    from eval.photos import Photo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Write a model as one ONNX file that takes a batch of any size and contains class names "
        "and preprocessing as metadata. The file is written only if onnxruntime computes the same "
        "logits from it. `predict` and load_classifier read it."
    )
    add = partial(option, parser)
    parser.add_argument("run_folder", metavar="RUN", help="run folder, or ORG/NAME[@REVISION]")
    add("--onnx FILE", "ONNX file to write", Path, required=True)
    add("--overwrite", "replace the file if it exists (default: stop)")
    add(
        "--check DATASET",
        f"compare logits on up to 100 images, evenly spaced, of a {DATASET} (default: on noise); "
        "unreadable images are reported and left out",
    )
    add_threshold(parser, auto="auto: P as `predict` chooses it; P is stored in the file")
    add_fit(parser)
    add_json(
        parser, "file, bytes, images, unreadable, same, largest, limit, threshold, threshold_chosen"
    )
    add_quiet(parser)


def run(args: argparse.Namespace) -> None:
    """Export the model and report the comparison."""
    if launched_as()[1] > 1:
        raise UserError(
            f"export runs as one process; start it without a launcher: `{command('export')} ...`"
        )
    from eval.checkpoint import is_onnx

    check_threshold(args)
    check_file("--onnx", args.onnx)
    if args.onnx.exists() and not args.overwrite:
        raise UserError(
            f"--onnx {args.onnx}: exists; choose another name, or replace it with --overwrite"
        )
    if args.onnx.suffix.lower() != ".onnx":
        raise UserError(f"--onnx {args.onnx}: end the name in .onnx")
    check_model(args.run_folder)
    if is_onnx(args.run_folder):
        raise UserError(f"{args.run_folder}: is an ONNX file already; name the run")

    from eval.classifier import load_classifier
    from eval.onnx_file import require_onnx
    from eval.rejection import chosen_threshold
    from eval.score import set_precision

    require_onnx("onnx", "onnxscript", "onnxruntime")
    from eval.onnx_export import IMAGES, LIMIT, export_onnx

    log_loading()
    photos = None if args.check is None else _photos(args.check)
    set_precision(1)
    classifier = load_classifier(args.run_folder, fit=args.fit, device="cpu")
    if unfinished := classifier.checkpoint.facts.unfinished:
        log(f"warning: {args.run_folder} is {unfinished}")
    threshold, rejection = chosen_threshold(classifier, args.threshold, args.data)
    found = export_onnx(classifier, args.onnx, photos=photos, threshold=threshold)
    unreadable = min(IMAGES, len(photos)) - found.images if photos else 0
    if args.json:
        write_json(
            {
                "file": str(args.onnx),
                "bytes": found.num_bytes,
                "images": found.images,
                "unreadable": unreadable,
                "same": found.same,
                "largest": found.largest,
                "limit": LIMIT,
                "threshold": threshold,
                "threshold_chosen": rejection.to_json() if rejection else None,
            }
        )
        return
    if rejection:
        write(str(rejection))
    write(
        f"{args.onnx}: {found.num_bytes / 1e6:.1f} MB; on {plural(found.images, 'image')} of "
        f"{args.check or 'noise'} its logits differ from the model's by at most "
        f"{found.largest:.1e} (limit {LIMIT:g}), {found.same} get the same class"
        + (f"; {plural(unreadable, 'image')} cannot be read (see above)" if unreadable else "")
    )


def _photos(reference: str) -> list[Photo]:
    """Return the images of --check. Those that cannot be read do not matter for a comparison."""
    from eval.photos import fault_line, find_photos

    found = find_photos([reference], standard_input=lambda: [], dataset_options={})
    if not found.photos:
        reason = f"--check {fault_line(found.faults[0])}" if found.faults else ""
        raise UserError(reason or f"--check {reference}: names no images")
    for fault in found.faults:
        log(f"not checked: {fault_line(fault)}")
    log(f"--check {reference}: {found.line()}")
    return found.photos
