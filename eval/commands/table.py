"""`eval table SCORES ...`: tabulate scores, configs by real datasets."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.console import log, renamed, write
from factory.common.errors import Failure, UserError
from factory.common.options import add_json, add_out, check_file, made, option
from factory.common.redaction import for_json
from factory.common.text import plural

if TYPE_CHECKING:
    from eval.scores_file import Scores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Print top-1 accuracy in per cent and the difference to the base row. Runs that differ "
        "only in their seed share a cell: mean ± standard deviation. Scores that are not standard "
        "have separate, labelled rows."
    )
    parser.add_argument("scores", nargs="+", type=Path, metavar="SCORES", help="file or run folder")
    add = partial(option, parser)
    add("--base NAME", "baseline row for the differences (default: base-class)")
    add("--order NAME", "row to list first; repeat it for the next rows", many=True)
    renamed(parser, "--order", "--order", had_commas=True)
    add(
        "--reference-row NAME[=TEXT]",
        "row of runs trained on real images; listed last, as TEXT if given",
        default="",
    )
    renamed(parser, "--reference", "--reference-row")
    add(
        "--row-per",
        "one row per config or per run (default: config)",
        choices=("config", "run"),
        default="config",
    )
    renamed(parser, "--rows", "--row-per")
    add("--intervals", "show 95 %% intervals")
    add("--cost", "show training images and minutes per run")
    form = parser.add_mutually_exclusive_group()
    option(form, "--markdown", "Markdown (default)")
    add_json(form, "a list of tables (each with architecture, base, columns, rows)")
    add_out(parser, "FILE", "the table (default: standard output)")


def run(args: argparse.Namespace) -> None:
    """Read the scores, tabulate and write them."""
    from eval.table import make_tables
    from eval.table_checks import several_names
    from eval.table_text import to_json, to_markdown

    check_file("--out", args.out)
    scores, skipped = _collect(args.scores)
    _note_unrecorded(scores)
    for line in several_names(scores):
        log(line)
    reference, _, shown = args.reference_row.partition("=")
    tables = make_tables(
        scores,
        base=args.base,
        order=args.order,
        row_key=args.row_per,
        reference=reference or None,
        reference_text=shown or None,
    )
    if args.json:
        text = for_json(to_json(tables), indent=2)
    else:
        text = to_markdown(tables, intervals=args.intervals, cost=args.cost)
    if args.out is None:
        write(text)
    else:
        made(args.out).write_text(f"{text}\n", encoding="utf-8")
        log(f"wrote {args.out}")
    if skipped:
        raise Failure(
            f"{len(skipped)} of {len(args.scores)} runs or files are not in the table (reasons "
            "above): "
            f"{', '.join(skipped)}"
        )


def _note_unrecorded(scores: list[Scores]) -> None:
    """Log the runs whose configs do not say how their images were sampled."""
    from eval.sampling import is_recorded

    runs = list(dict.fromkeys(one.run for one in scores if not is_recorded(one.training)))
    if runs:
        log(
            f"no record of the sampling of the images (older version): {plural(len(runs), 'run')}; "
            "check yourself that guidance and steps are the same within a row; the first is "
            f"{runs[0]}"
        )


def _collect(paths: list[Path]) -> tuple[list[Scores], list[str]]:
    """Return the scores that can be read, and the paths that cannot."""
    from eval.table import collect

    faults: dict[str, UserError] = {}
    scores = collect(paths, skip=lambda path, error: faults.update({str(path): error}))
    if not scores:
        raise UserError(fault for error in faults.values() for fault in error.faults)
    for error in faults.values():
        log(f"not in the table: {error}")
    return scores, list(faults)
