"""`eval table SCORES ...`: tabulates scores, tricks against real sets."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.console import log, write
from factory.common.errors import Failure, UserError

if TYPE_CHECKING:
    from eval.scores_file import Scores

NAME = "table"
HELP = "tabulate scores: tricks against real sets"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.description = (
        "Top-1 in per cent, with the difference to the base row. "
        "Runs that differ only in seed share a cell: mean ± standard deviation. "
        "Scores that are not standard have rows of their own, named."
    )
    parser.add_argument("scores", nargs="+", type=Path, metavar="SCORES", help="file or run folder")
    parser.add_argument("--base", help="row that differences are to (default: base-class)")
    parser.add_argument("--order", default="", help="rows that come first: NAME,NAME,...")
    parser.add_argument(
        "--reference",
        default="",
        metavar="NAME[=TEXT]",
        help="row of runs trained on real images: it comes last and may be called otherwise",
    )
    parser.add_argument("--rows", choices=("config", "run"), default="config", help="what a row is")
    parser.add_argument("--intervals", action="store_true", help="show 95 %% intervals")
    parser.add_argument(
        "--cost", action="store_true", help="show the images a run was given, and minutes"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="Markdown (default)")
    form.add_argument("--json", action="store_true", help="JSON, with every figure")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of stdout")


def run(args: argparse.Namespace) -> None:
    """Read, tabulate, write."""
    from eval.table import make_tables
    from eval.table_text import to_json, to_markdown

    if args.out is not None and not args.out.parent.is_dir():
        raise UserError(
            f"--out {args.out}: folder {args.out.parent} doesn't exist; create it or choose another"
        )
    scores, skipped = _collect(args.scores)
    order = [name.strip() for name in args.order.split(",") if name.strip()]
    reference, _, shown = args.reference.partition("=")
    tables = make_tables(
        scores,
        base=args.base,
        order=order,
        row_key=args.rows,
        reference=reference or None,
        reference_text=shown or None,
    )
    if args.json:
        text = json.dumps(to_json(tables), indent=2)
    else:
        text = to_markdown(tables, intervals=args.intervals, cost=args.cost)
    if args.out is None:
        write(text)
    else:
        args.out.write_text(f"{text}\n", encoding="utf-8")
        log(f"wrote {args.out}")
    if skipped:
        raise Failure(
            f"{len(skipped)} of {len(args.scores)} are not in the table, for the reasons above: "
            f"{', '.join(skipped)}"
        )


def _collect(paths: list[Path]) -> tuple[list[Scores], list[str]]:
    """Return the scores of the paths that can be read, and the other paths.

    Raises:
        UserError: None can be read.
    """
    from eval.table import collect

    faults: dict[str, UserError] = {}
    scores = collect(paths, skip=lambda path, error: faults.update({str(path): error}))
    if not scores:
        raise UserError(fault for error in faults.values() for fault in error.faults)
    for error in faults.values():
        log(f"not in the table: {error}")
    return scores, list(faults)
