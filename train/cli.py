"""Run the command `train`: parse options, train, print a summary."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Any

from factory.common.console import launched_as, write, write_json
from factory.common.errors import UserError
from factory.common.program import command
from factory.common.stop_signals import Stopped
from factory.common.text import plural
from factory.data.label_options import suggesting
from train.arguments import options_of
from train.options import RunSummary, TrainOptions
from train.parser import add_arguments, build_parser
from train.preset_text import presets_text
from train.run import train

__all__ = ["add_arguments", "main", "run"]

if TYPE_CHECKING:
    from factory.hub.publish import PublishReport


def main() -> int:
    """Run the command line in `sys.argv`; return the exit status."""
    return run(build_parser().parse_args())


def run(args: argparse.Namespace) -> int:
    """Train and print a summary; return the exit status."""
    try:
        options = options_of(args)
        if options is None:
            write(presets_text())
            return 0
        with suggesting(args, writes=launched_as()[0] == 0):
            summary = train(options)
    except UserError as error:
        if launched_as()[0] != 0:
            # Every process finds the same fault; only one reports it.
            return error.exit_status
        raise
    except KeyboardInterrupt as stop:
        # Also before the handlers of `train` are there.
        number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
        is_first = launched_as()[0] == 0
        remedy = f"resume with: {command(_line(args, sys.argv[1:]))}" if is_first else ""
        raise Stopped(number, remedy=remedy) from None
    if not summary.is_main_process:
        return 0
    if not args.json:
        write(_summary_text(summary))
    report = _push(options, options.push_to) if options.push_to is not None else None
    if args.json:
        write_json(_plain(summary, report))
    elif report is not None:
        _tell(report)
    return 0


def _line(args: argparse.Namespace, words: list[str]) -> str:
    """Return the line that starts this run again, for `factory.common.program.command`."""
    # The joined command line names the command first; a dataset may have the same name.
    named = words.count("train") > args.datasets.count("train")
    return shlex.join(["train", *(words[1:] if named and words[0] == "train" else words)])


def _push(options: TrainOptions, repo_id: str) -> PublishReport:
    from train.publish import publish_run

    return publish_run(
        options.out,
        repo_id,
        revision=options.push_revision,
        private=options.push_private,
        tag=options.push_tag,
        message=options.push_message,
        replace_card=options.push_replace_card,
    )


def _plain(summary: RunSummary, report: PublishReport | None) -> dict[str, Any]:
    return {
        "out": str(summary.out),
        "epochs": summary.epochs,
        "best_epoch": summary.best_epoch,
        "best_val_top1": summary.best_val_top1,
        "best_val_map": summary.best_val_map,
        "num_val_images": summary.num_val_images,
        "published": report.as_dict() if report else None,
    }


def _tell(report: PublishReport) -> None:
    made = "published" if report.committed else "up to date"
    write(f"{report.target.url}: {made} at commit {str(report.commit)[:8]}")
    write(f'load it: timm.create_model("hf_hub:{report.target.repo_id}", pretrained=True)')


def _summary_text(summary: RunSummary) -> str:
    if summary.best_val_top1 is None:
        score = "no images held out, last epoch kept"
        which = "epoch"
    else:
        which = "best epoch"
        photos = "photos" if summary.val_kind == "synthetic" else "other photos"
        images = plural(summary.num_val_images, f"held-out {summary.val_kind} image")
        if summary.best_val_map is not None:
            from train.several_labels import PER_CLASS

            # `score` is for one label per image.
            return (
                f"{summary.out}: val mAP {summary.best_val_map:.1%} of {images}, best epoch "
                f"{summary.best_epoch} of {summary.epochs}\nscores of each class: "
                f"{summary.out / PER_CLASS}"
            )
        score = (
            f"val top-1 {summary.best_val_top1:.1%} of {images} "
            f"(not an accuracy on {photos}: the command below measures that)"
        )
        for name, top1 in summary.val_by_dataset.items():
            score += f", {name} {'none held out' if top1 is None else f'{top1:.2%}'}"
    if summary.num_real_images:
        score += f"; {summary.num_real_images:,} real images in training and held out"
    return (
        f"{summary.out}: {score}, {which} {summary.best_epoch} of {summary.epochs}\n"
        f"next: {command(f'score {summary.out} --real DATASET')}"
    )
