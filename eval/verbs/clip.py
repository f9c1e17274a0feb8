"""`eval clip --model ID --real REAL`: score a zero-shot model for the table."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from eval.verbs.arguments import add_labels, add_process, add_real, label_map_of
from factory.common.console import log, write
from factory.common.devices import choose_threads
from factory.common.errors import UserError
from factory.common.program import command

if TYPE_CHECKING:
    from eval.prompts import Prompts

_BATCH_SIZE = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Classify each real image by comparing it with one prompt per class, using any CLIP or "
        "SigLIP model of transformers. Writes one scores file per prompt set for "
        f"`{command('table')}`."
    )
    parser.add_argument(
        "--model", required=True, metavar="MODEL", help="Hub id (ID[@REVISION]) or directory"
    )
    add_real(parser)
    add_labels(parser)
    parser.add_argument(
        "--prompts",
        action="append",
        metavar="PROMPTS",
        help="clip-cifar or clip-eurosat (the prompt ensembles of the CLIP paper), clip-single, "
        "paper, or a template with {class}; may be repeated (default: clip-single and paper)",
    )
    add_process(parser, batch_size=_BATCH_SIZE)
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="output folder (default: .)"
    )


def run(args: argparse.Namespace) -> None:
    """Score the model once per prompt set."""
    from eval.prompts import find_prompts

    chosen = [find_prompts(text) for text in args.prompts or ("clip-single", "paper")]
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"--out {args.out}: is a file; choose a folder")
    labels = label_map_of(args)

    from eval.clip import score_zero_shot
    from eval.predict import this_process
    from eval.real import open_real
    from eval.score import describe, note_counts, note_cut, note_labels, write_apart
    from factory.models.clip import load_clip

    state = this_process()
    threads = choose_threads(args.threads, shows=state.is_main_process)
    try:
        real = open_real(
            args.real,
            config_name=args.config,
            split=args.split,
            row_filter=args.filter,
            image_column=args.image_column,
            label_column=args.label_column,
            name=args.real_name,
            skip_unreadable=args.skip_unreadable,
            shows=state.is_main_process,
        )
        if state.is_main_process:
            note_counts(real)
        model = load_clip(args.model)
        for prompts in chosen:
            scores = score_zero_shot(
                model,
                real,
                prompts=prompts,
                batch_size=args.batch_size or _BATCH_SIZE,
                threads=threads,
                labels=labels,
            ).scores
            if state.is_main_process:
                note_labels(scores.run, scores.labels, real=real.name)
                _note_unworded(prompts, scores.labels.names)
                args.out.mkdir(parents=True, exist_ok=True)
                path = args.out / _file_name(scores.model.architecture, prompts.name, real.name)
                write_apart(scores, path)
                note_cut(scores)
                write(f"{describe(scores)}, {prompts.name} prompts")
    finally:
        state.destroy_process_group()


def _note_unworded(prompts: Prompts, names: list[str]) -> None:
    unworded = prompts.unworded(names)
    if unworded:
        log(
            f"{prompts.name} has no wording for {', '.join(unworded)}; the class name is used as "
            "it is. To change it, map the class with --labels MAP"
        )


def _file_name(architecture: str, prompts: str, real: str) -> str:
    plain = re.sub(r"[^\w.-]+", "_", f"{architecture}-{prompts}-{real}").replace("_-", "-")
    return f"scores-{plain.strip('_')}.json"
