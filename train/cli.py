"""Run the command `train`: parse options, train, print a summary."""

from __future__ import annotations

import sys

from factory.common.console import launched_as, write
from factory.common.errors import UserError
from train.arguments import parse_options, presets_text
from train.run import RunSummary, TrainOptions, train


def main() -> int | None:
    """Run the command line in `sys.argv`; return the exit status."""
    try:
        options = parse_options(sys.argv[1:])
        if options is None:
            write(presets_text())
            return 0
        summary = train(options)
    except UserError as error:
        if launched_as()[0] != 0:
            # Every process finds the same fault; only one reports it.
            return error.exit_status
        raise
    if summary.is_main_process:
        write(_summary_text(summary))
        if options.push_to is not None:
            _push(options, options.push_to)
    return 0


def _push(options: TrainOptions, repo_id: str) -> None:
    from train.publish import publish_run

    report = publish_run(
        options.out,
        repo_id,
        private=options.push_private,
        tag=options.push_tag,
        replace_card=options.push_replace_card,
    )
    made = "published" if report.committed else "up to date"
    write(f"{report.target.url}: {made} at commit {str(report.commit)[:8]}")
    write(f'load it: timm.create_model("hf_hub:{report.target.repo_id}", pretrained=True)')


def _summary_text(summary: RunSummary) -> str:
    if summary.best_val_top1 is None:
        score = "no images held out, last epoch kept"
    else:
        kind = "training" if summary.val_by_dataset else "synthetic"
        score = f"val top-1 {summary.best_val_top1:.2%} (held-out {kind} images)"
        for name, top1 in summary.val_by_dataset.items():
            score += f", {name} {'none held out' if top1 is None else f'{top1:.2%}'}"
    if summary.num_real_images:
        score += f"; {summary.num_real_images:,} real images in training and held out"
    return (
        f"{summary.out}: {score}, epoch {summary.best_epoch} of {summary.epochs}\n"
        f"next: accelerate launch eval score {summary.out} --real DATASET"
    )
