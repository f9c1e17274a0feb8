"""`eval score RUN ... --real DATASET`: score runs on real images."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from eval.commands.arguments import add_fit, add_process, add_real, check_real_of, open_real_of
from factory.common.console import log, log_loading, renamed, write, write_json
from factory.common.devices import choose_threads, this_process
from factory.common.errors import Failure, UserError
from factory.common.options import add_json, add_out, check_file, made, option
from factory.common.row_images import UnreadableImage
from factory.data.label_options import (
    add_labels,
    add_suggestion,
    check_suggestion,
    label_map_of,
    suggesting,
)

if TYPE_CHECKING:
    from eval.real import RealImages
    from eval.scores_file import Scores
    from eval.scoring_mode import Scoring
    from factory.data.label_map import LabelMap

    _Written = tuple[Scores, Path]

_BATCH_SIZE = 256
# The released code's value; its batch norm depends on it.
_CODE_BATCH_SIZE = 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Score each run on real images and write scores-NAME.json into it, NAME being the real "
        "dataset. Classes are matched by name. No option uses real images to select anything, "
        "except --best-on-test."
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, or ORG/NAME[@REVISION]")
    add_real(parser)
    add_fit(parser)
    add_labels(parser)
    add_suggestion(parser)
    add_process(parser, batch_size=_BATCH_SIZE)
    add_out(parser, "FILE", "the scores, for a single run (default: in RUN)")
    add = partial(option, parser)
    add("--suffix NAME", "write RUN/scores-NAME.json (default: the name of the real dataset)")
    renamed(parser, "--tag", "--suffix")
    add_json(parser, "scores (each with file and the content of that file), failed")
    add("--predictions FILE", "also write one row per image, Parquet", Path)
    add("--save-predictions", "the same for every run, as RUN/predictions-*.parquet")
    add("--plot", "also plot a confusion matrix (PNG)")
    group = parser.add_argument_group(
        "paper-code scoring",
        "as in the paper's released code, not comparable with standard scores; such results are "
        "labelled in the scores file and have separate table rows",
    )
    option(
        group,
        "--batch-norm",
        "use training statistics (default) or those of each test batch of 128 shuffled images",
        choices=("eval", "test-batch"),
    )
    option(group, "--dropout", "keep dropout active")
    option(
        group,
        "--best-on-test",
        "score every epoch saved by `train --keep-every` and report the best",
    )
    option(group, "--as-code", "all three options")


def run(args: argparse.Namespace) -> None:
    """Score every run."""
    _check_outputs(args)
    check_real_of(args)
    labels = label_map_of(args)
    if len(args.runs) == 1:
        # Of several runs, the others are scored.
        from eval.checkpoint import check_run

        names = check_run(args.runs[0])
        if labels and names:
            # Those of the real dataset are not known yet.
            labels.check([*labels.pairs], names, real=args.real, model=args.runs[0])

    from eval.score_notes import note_counts

    scoring = _scoring(args)
    log_loading()
    state = this_process(args.device)
    args.threads = choose_threads(args.threads, shows=state.is_main_process)
    try:
        real = open_real_of(args, shows=state.is_main_process)
        if state.is_main_process:
            note_counts(real)
        score_one = partial(
            _score_run,
            args=args,
            real=real,
            scoring=scoring,
            labels=labels,
            writes=state.is_main_process,
        )
        _score_all(args.runs, score_one, shows=state.is_main_process, as_json=args.json)
    finally:
        state.destroy_process_group()


def _score_all(
    runs: list[str], score_one: Callable[[str], _Written], *, shows: bool, as_json: bool
) -> None:
    """Score every run; continue after a run that cannot be scored.

    Processes find the same `UserError` in a run, so they stay in step. A `Failure` may concern one
    process only and ends the command.
    """
    from eval.score_notes import note_few
    from eval.scores_io import as_plain

    scored, failed = [], []
    for one in runs:
        try:
            scored.append(score_one(one))
            if shows and len(scored) == 1:
                # Of all runs, the images are the same.
                note_few(scored[0][0], of_several=len(runs) > 1)
        except UnreadableImage:
            # A fault of the real dataset, not of the run.
            raise
        except UserError as error:
            if len(runs) == 1:
                raise
            failed.append(one)
            if shows:
                log(f"not scored: {error}")
    if as_json and shows:
        write_json({"scores": [as_plain(*one) for one in scored], "failed": failed})
    if failed:
        raise Failure(
            f"{len(failed)} of {len(runs)} runs were not scored (reasons above): "
            f"{', '.join(failed)}"
        )


def _scoring(args: argparse.Namespace) -> Scoring:
    from eval.scoring_mode import Scoring

    if args.as_code:
        if args.batch_norm == "eval":
            raise UserError(
                "--as-code includes --batch-norm test-batch; remove --batch-norm eval, or replace "
                "--as-code by --dropout --best-on-test"
            )
        return Scoring("test-batch", dropout=True, best_on_test=True)
    return Scoring(args.batch_norm or "eval", args.dropout, args.best_on_test)


def _check_outputs(args: argparse.Namespace) -> None:
    for name, path in (("--out", args.out), ("--predictions", args.predictions)):
        if path is not None and len(args.runs) > 1:
            raise UserError(
                f"{name} names one file, but there are {len(args.runs)} runs; "
                "score the runs one by one"
            )
        check_file(name, path)
    check_suggestion(args)


def _score_run(
    one: str,
    args: argparse.Namespace,
    *,
    real: RealImages,
    scoring: Scoring,
    labels: LabelMap | None,
    writes: bool,
) -> _Written:
    from eval.score import score, write_apart
    from eval.score_notes import describe, note_fit, note_labels, note_unfinished, note_unmeasured

    usual = _CODE_BATCH_SIZE if scoring.batch_norm == "test-batch" else _BATCH_SIZE
    with suggesting(args, writes=writes):
        scored = score(
            one,
            real,
            batch_size=args.batch_size or usual,
            threads=args.threads,
            scoring=scoring,
            labels=labels,
            fit=args.fit,
        )
    scores = scored.scores
    if not writes:
        return scores, Path()
    note_unmeasured(scores)
    note_labels(scores.run, scores.labels, real=real.name)
    note_unfinished(scores)
    note_fit(scores.run, scores.preprocessing, args.fit)
    path = args.out or _default_path(scores, scoring, suffix=args.suffix)
    scores, path = write_apart(scores, made(path))
    beside = path.with_name(f"{path.stem.replace('scores', 'predictions', 1)}.parquet")
    for file in (args.predictions, beside if args.save_predictions else None):
        if file:
            from eval.predictions import write_predictions

            write_predictions(scored, made(file))
            log(f"wrote {file}")
    if args.plot:
        from eval.plots import plot_confusion

        plot_confusion(scores, path.with_suffix(".png"))
        log(f"wrote {path.with_suffix('.png')}")
    if not args.json:
        write(describe(scores))
    return scores, path


def _default_path(scores: Scores, scoring: Scoring, *, suffix: str | None) -> Path:
    """Return `RUN/scores-<real dataset>[-<scoring>].json`; of a Hub model, in `.`."""
    from factory.hub.ids import is_model_id

    name = suffix or "-".join(part for part in (scores.real.name, scoring.slug) if part)
    if is_model_id(scores.run):
        model = scores.run.rpartition("/")[2].partition("@")[0]
        return Path(f"scores-{model}-{name}.json")
    return Path(scores.run) / f"scores-{name}.json"
