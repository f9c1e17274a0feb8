"""`eval clip --model ID --real REAL`: score a zero-shot model for the table."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from eval.commands.arguments import add_process, add_real, check_real_of, open_real_of
from factory.common.console import log, log_loading, write, write_json
from factory.common.devices import choose_threads, this_process
from factory.common.options import add_json, add_out, check_folder, made, option
from factory.common.program import command
from factory.data.label_options import add_labels, label_map_of

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
    option(
        parser, "--model ID[@REVISION]", "CLIP or SigLIP model, Hub id or directory", required=True
    )
    add_real(parser)
    add_labels(parser)
    option(
        parser,
        "--prompts PROMPTS",
        "clip-cifar or clip-eurosat (the prompt ensembles of the CLIP paper), clip-single, "
        "paper, or a template with {class}; may be repeated (default: clip-single and paper)",
        many=True,
    )
    add_process(parser, batch_size=_BATCH_SIZE)
    add_out(parser, "DIR", "the scores files (default: .)", default=Path())
    add_json(parser, "scores (each with file and the content of that file)")


def run(args: argparse.Namespace) -> None:
    """Score the model once per prompt set."""
    from eval.prompts import find_prompts
    from factory.models.clip import require_folder

    chosen = [find_prompts(text) for text in args.prompts or ("clip-single", "paper")]
    check_folder("--out", args.out)
    labels = label_map_of(args)
    check_real_of(args)
    require_folder(args.model, option="--model")

    from eval.clip import score_zero_shot
    from eval.score import write_apart
    from eval.score_notes import describe, note_counts, note_cut, note_labels
    from eval.scores_io import as_plain
    from factory.models.clip import load_clip

    log_loading()
    state, written = this_process(args.device), []
    threads = choose_threads(args.threads, shows=state.is_main_process)
    try:
        real = open_real_of(args, shows=state.is_main_process)
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
                path = args.out / _file_name(scores.model.architecture, prompts.name, real.name)
                written.append(write_apart(scores, made(path)))
                note_cut(scores)
                if not args.json:
                    write(f"{describe(scores)}, {prompts.name} prompts")
        if args.json and state.is_main_process:
            write_json({"scores": [as_plain(*one) for one in written]})
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
