"""The verbs of `eval`: `score`, `table`, `digits`. Parses, calls, prints."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from factory.console import log, write
from factory.errors import UserError

if TYPE_CHECKING:
    from eval.real import RealImages
    from eval.scores import Scores


def main(argv: list[str] | None = None) -> int | None:
    """Run one verb; `argv` defaults to the command line."""
    args = _parser().parse_args(argv)
    status: int | None = args.verb(args)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="eval", description="Scores trained models on real images and tabulates the scores."
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")
    _add_score(verbs.add_parser("score", help="score runs on a real set"))
    _add_table(verbs.add_parser("table", help="tabulate scores: tricks against real sets"))
    _add_digits(
        verbs.add_parser("digits", help="write 1,797 real handwritten digits as a test set")
    )
    return parser


def _add_score(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Scores each run on real images and writes scores-REALSET.json into it. "
        "Classes are matched by name. Nothing is chosen by real images."
    )
    parser.set_defaults(verb=_score)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder, or a model's Hub id")
    parser.add_argument(
        "--real", required=True, metavar="DATASET", help="directory or Hub id, ORG/NAME[@REVISION]"
    )
    parser.add_argument("--config", help="config of the real set (default: its default)")
    parser.add_argument("--split", help="split of the real set (default: test, else the only one)")
    parser.add_argument(
        "--filter", metavar="EXPR", help="keep only these rows, e.g. 'place == \"sea\"'"
    )
    parser.add_argument("--image-column", metavar="NAME")
    parser.add_argument("--label-column", metavar="NAME")
    parser.add_argument(
        "--batch-size", type=_positive, default=256, help="a process (default: 256)"
    )
    parser.add_argument(
        "--threads",
        type=_positive,
        default=1,
        help="CPU threads a process (default: 1; the last digits of float32 depend on it)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="scores file of a single run")
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE", help="also a row an image, Parquet"
    )
    parser.add_argument("--plot", action="store_true", help="also a confusion matrix, PNG")


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Top-1 in per cent, with the difference to the base row. "
        "Runs that differ only in seed share a cell: mean ± standard deviation."
    )
    parser.set_defaults(verb=_table)
    parser.add_argument("scores", nargs="+", type=Path, metavar="SCORES", help="file or run folder")
    parser.add_argument("--base", help="row that differences are to (default: base-class)")
    parser.add_argument("--order", default="", help="rows that come first: NAME,NAME,...")
    parser.add_argument("--rows", choices=("config", "run"), default="config", help="what a row is")
    parser.add_argument("--intervals", action="store_true", help="show 95 %% intervals")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="Markdown (default)")
    form.add_argument("--json", action="store_true", help="JSON, with every figure")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of stdout")


def _add_digits(parser: argparse.ArgumentParser) -> None:
    parser.description = "Writes scikit-learn's load_digits as a dataset directory with split test."
    parser.set_defaults(verb=_digits)
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def _score(args: argparse.Namespace) -> None:
    _check_outputs(args)

    from eval.predict import this_process
    from eval.real import open_real

    state = this_process()
    try:
        real = open_real(
            args.real,
            config_name=args.config,
            split=args.split,
            row_filter=args.filter,
            image_column=args.image_column,
            label_column=args.label_column,
        )
        for run in args.runs:
            _score_run(run, args, real=real, writes=state.is_main_process)
    finally:
        state.destroy_process_group()


def _check_outputs(args: argparse.Namespace) -> None:
    """Find what can't be written before an hour of scoring, not after."""
    for option, path in (("--out", args.out), ("--predictions", args.predictions)):
        if path is None:
            continue
        if len(args.runs) > 1:
            raise UserError(
                f"{option} names one file, but there are {len(args.runs)} runs; score them singly"
            )
        if path.is_dir() or not path.parent.is_dir():
            raise UserError(f"{option} {path}: is no file in an existing folder; choose another")


def _score_run(run: str, args: argparse.Namespace, *, real: RealImages, writes: bool) -> None:
    from eval.score import describe, note_unmeasured, score
    from eval.scores import write_scores

    scored = score(run, real, batch_size=args.batch_size, threads=args.threads)
    scores = scored.scores
    if not writes:
        return
    note_unmeasured(scores)
    path = args.out or _default_path(scores)
    write_scores(scores, path)
    log(f"wrote {path}")
    if args.predictions:
        from eval.predictions import write_predictions

        write_predictions(scored, args.predictions)
        log(f"wrote {args.predictions}")
    if args.plot:
        from eval.plots import plot_confusion

        plot_confusion(scores, path.with_suffix(".png"))
        log(f"wrote {path.with_suffix('.png')}")
    write(describe(scores))


def _default_path(scores: Scores) -> Path:
    """Return `RUN/scores-<real set>.json`; for a Hub model a file in the current folder."""
    from eval.checkpoint import is_hub_id

    if is_hub_id(scores.run):
        model = scores.run.rpartition("/")[2].partition("@")[0]
        return Path(f"scores-{model}-{scores.real.name}.json")
    return Path(scores.run) / f"scores-{scores.real.name}.json"


def _table(args: argparse.Namespace) -> None:
    from eval.table import collect, make_tables, to_json, to_markdown

    order = [name.strip() for name in args.order.split(",") if name.strip()]
    tables = make_tables(collect(args.scores), base=args.base, order=order, row_key=args.rows)
    if args.json:
        text = json.dumps(to_json(tables), indent=2)
    else:
        text = to_markdown(tables, intervals=args.intervals)
    if args.out is None:
        write(text)
        return
    if not args.out.parent.is_dir():
        raise UserError(
            f"--out {args.out}: folder {args.out.parent} doesn't exist; create it or choose another"
        )
    args.out.write_text(f"{text}\n", encoding="utf-8")
    log(f"wrote {args.out}")


def _digits(args: argparse.Namespace) -> None:
    from eval.digits import write_digits

    num_images = write_digits(args.out)
    write(
        f"{args.out}: {num_images:,} real digits, split test; score on them with --real {args.out}"
    )
