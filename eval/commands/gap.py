"""`eval gap SYN --real REAL`: measure the gap between synthetic and real images."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from eval.commands.arguments import (
    DATASET,
    add_fit,
    add_process,
    add_real,
    check_real_of,
    open_real_of,
)
from factory.common.console import log, log_loading, renamed, write, write_json
from factory.common.devices import choose_threads, this_process
from factory.common.errors import UserError
from factory.common.options import (
    add_json,
    add_out,
    add_rows,
    add_seed,
    check_folder,
    option,
    positive,
)
from factory.common.row_options import row_options
from factory.data.label_options import (
    add_labels,
    add_suggestion,
    check_suggestion,
    label_map_of,
    suggesting,
)

if TYPE_CHECKING:
    from eval.gap_steps import Measurement
    from eval.real import RealImages
    from factory.data.label_map import LabelMap

_BATCH_SIZE = 128
_ROWS = ("config", "split", "filter", "image-column", "label-column")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Compare synthetic and real images in the logits or features of a model: coverage, "
        "precision, distances, variety, and the accuracy of a classifier that distinguishes the "
        "two, each beside the same figure between two halves of the real images. Writes gap.json "
        "and plots (t-SNE by side and by class, coverage by class; .png and .svg). With --other, "
        "a second dataset is compared with the same real images, and comparison.json says which "
        "covers more of them."
    )
    add = partial(option, parser)
    parser.add_argument("synthetic", metavar="SYN", help=DATASET)
    add_rows(parser, prefix="syn-", of="SYN", split="train")
    add_real(parser, prefix="real-")
    for name in _ROWS:
        renamed(parser, f"--{name}", f"--real-{name}")
    add(
        "--other DATASET",
        f"second synthetic dataset, compared with SYN; may be SYN itself: {DATASET}",
    )
    add_rows(parser, prefix="other-", of="--other", split="train")
    add(
        "--by COLUMN",
        "also measure groups of synthetic images with the same value of this column, or a quarter "
        "of its numbers; may be repeated (default: recipe and guidance_scale)",
        many=True,
    )
    add_fit(parser)
    add_labels(parser)
    add_suggestion(parser)
    _add_space(parser)
    add(
        "--images N",
        "maximum number of real and of synthetic images (default: 1000)",
        positive,
        default=1000,
        meaning="number of images",
    )
    add_seed(parser, "the sample, the training half and the bootstrap")
    add_process(parser, batch_size=_BATCH_SIZE)
    add_out(parser, "DIR", "gap.json and the plots", required=True)
    add_json(parser, "the content of gap.json, or with --other of comparison.json")


def _add_space(parser: argparse.ArgumentParser) -> None:
    add = partial(option, parser)
    model = partial(option, parser.add_mutually_exclusive_group(required=True))
    model(
        "--run RUN",
        "trained model to compare in: run folder, or ORG/NAME[@REVISION]",
        meaning="trained model",
        dest="trained",
    )
    model("--model ID[@REVISION]", "compare in this pretrained timm model, e.g. resnet50.tv_in1k")
    add(
        "--space",
        "compare the model's logits (as in the paper's Figures 2 and 3) or the features "
        "before its head (default: logits if the head has all compared classes, as after `train`, "
        "else features)",
        choices=("logits", "features"),
    )


def run(args: argparse.Namespace) -> None:
    """Compare the datasets, plot and write the results."""
    labels = _checked(args)
    log_loading()
    this_process(args.device)
    found = _measured(args, labels)
    folders = [args.out, args.out / "other"]
    for measured, folder in zip(found, folders, strict=False):
        measured.write(folder)
    _report(args, found)


def _checked(args: argparse.Namespace) -> LabelMap | None:
    """Check what the command line and files tell; return the label map.

    Raises:
        UserError: Something is wrong.
    """
    from eval.coverage.figures import FEWEST
    from eval.model_names import check_features
    from eval.real import check_real

    check_folder("--out", args.out)
    check_suggestion(args)
    _check_other(args)
    labels = label_map_of(args)
    check_real_of(args, prefix="real_")
    for reference, options, rows in _synthetic(args):
        with row_options(options):
            check_real(
                reference,
                config_name=rows["config"],
                split=rows["split"],
                row_filter=rows["filter"],
                image_column=rows["image_column"],
                label_column=rows["label_column"],
            )
    check_features(args.trained or args.model, is_run=args.trained is not None)
    if args.images < FEWEST:
        raise UserError(
            f"--images {args.images}: expected {FEWEST} or more, as many for each class"
        )
    return labels


def _measured(args: argparse.Namespace, labels: LabelMap | None) -> list[Measurement]:
    """Open and measure the dataset, and the other one if there is one."""
    from eval.gap_sample import sample_images
    from eval.gap_steps import load_setting, measure_side
    from eval.score_notes import note_counts

    name = args.trained or args.model
    real = open_real_of(args, prefix="real_")
    synthetic = _open_synthetic(args)
    for one in (real, *synthetic):
        note_counts(one)
    with suggesting(args):
        samples = sample_images(real, synthetic, images=args.images, seed=args.seed, labels=labels)
    setting = load_setting(
        real,
        samples[0],
        model=name,
        is_run=args.trained is not None,
        fit=args.fit,
        space=args.space,
        batch_size=args.batch_size or _BATCH_SIZE,
        threads=choose_threads(args.threads, shows=False),
        seed=args.seed,
    )
    if args.model is not None and setting.model.is_run:
        log(f"--model {shlex.quote(name)} is read as --run {shlex.quote(name)}")
    return [
        measure_side(setting, one, sample, by=args.by)
        for one, sample in zip(synthetic, samples, strict=True)
    ]


def _report(args: argparse.Namespace, found: Sequence[Measurement]) -> None:
    """Print the results; write the comparison of two datasets."""
    from eval.gap_compare import compare
    from eval.gap_steps import write_document
    from eval.gap_text import comparison_text, gap_text

    document, text = found[0].document, gap_text(found[0].document)
    if len(found) > 1:
        document = compare(*found)
        text = "\n\n".join([*(gap_text(one.document) for one in found), comparison_text(document)])
        write_document(args.out / "comparison.json", document)
    if args.json:
        write_json(document)
    else:
        write(text)


def _given(args: argparse.Namespace, prefix: str) -> dict[str, str | None]:
    """Return the options that choose rows of one dataset."""
    names = [name.replace("-", "_") for name in _ROWS]
    return {name: getattr(args, f"{prefix}_{name}") for name in names}


def _synthetic(args: argparse.Namespace) -> list[tuple[str, str, dict[str, str | None]]]:
    """Return the synthetic datasets, each with the form and values of its options of rows."""
    chosen = {"syn": args.synthetic, "other": args.other}
    given = {prefix: _given(args, prefix) for prefix, one in chosen.items() if one is not None}
    return [
        (chosen[prefix], f"--{prefix}-{{}}", rows | {"split": rows["split"] or "train"})
        for prefix, rows in given.items()
    ]


def _check_other(args: argparse.Namespace) -> None:
    given = [name for name, value in _given(args, "other").items() if value is not None]
    if args.other is None and given:
        option = given[0].replace("_", "-")
        raise UserError(
            f"--other-{option} belongs to --other; add --other {args.synthetic} to compare with "
            "another part of the same dataset"
        )


def _open_synthetic(args: argparse.Namespace) -> list[RealImages]:
    from eval.real import open_real

    def opened(reference: str, options: str, rows: dict[str, str | None]) -> RealImages:
        with row_options(options):
            return open_real(
                reference,
                config_name=rows["config"],
                split=rows["split"],
                row_filter=rows["filter"],
                image_column=rows["image_column"],
                label_column=rows["label_column"],
                skip_unreadable=args.skip_unreadable,
            )

    return [opened(*one) for one in _synthetic(args)]
