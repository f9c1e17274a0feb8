"""`eval report OUT`: write one HTML file about a dataset and its scored runs."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.commands.arguments import add_real, check_real_of, open_real_of
from factory.common.console import log, write, write_json
from factory.common.dataset_files import REPORT
from factory.common.options import (
    add_json,
    add_out,
    add_quiet,
    check_file,
    check_folder,
    made,
)
from factory.common.program import NAME
from factory.common.row_images import skipping_advised
from factory.common.whole_files import replace_text

if TYPE_CHECKING:
    from eval.report_page.gather import Report

_EPILOG = """\
The page is self-contained: it needs no network and no other file. Sections without data name the
command that provides it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Write one HTML file about a dataset and the runs trained on it: scores with intervals, "
        "learning curves, confusions, calibration, images with their rows, distributions, t-SNE, "
        "near-duplicates, cost, commands, and what fell short."
    )
    parser.epilog = _EPILOG
    add = parser.add_argument
    add("dataset", type=Path, metavar="OUT", help="dataset directory")
    add(
        "--runs",
        nargs="+",
        action="extend",
        default=[],
        type=Path,
        metavar="RUN",
        help="run folders, folders that contain runs, or scores files; may be repeated",
    )
    add_real(parser, prefix="real-", required=False)
    add("--base", metavar="NAME", help="baseline row for the differences (default: base-class)")
    add(
        "--model",
        metavar="ID[@REVISION]",
        help="model of the t-SNE plot: run folder, ORG/NAME[@REVISION], or name of a pretrained "
        "timm model (default: the smallest run)",
    )
    add("--title", metavar="TEXT", help="title of the page (default: the directory's name)")
    add_out(parser, "FILE", f"the page (default: OUT/{REPORT}, which `push --report` sends)")
    add(
        "--static-space",
        type=Path,
        metavar="DIR",
        help="also write the page as index.html into this folder, with the README.md of a static "
        "Space; `hf upload ORG/NAME DIR --repo-type space` publishes it",
    )
    add_json(parser, "out, bytes, rows, shortfalls")
    add_quiet(parser)


def run(args: argparse.Namespace) -> None:
    """Gather the data, fill the page and write it."""
    out = args.out or args.dataset / REPORT
    check_file("--out", out)
    if args.static_space is not None:
        check_folder("--static-space", args.static_space)
    if args.real is not None:
        # `gather` reads these first, but the real images are opened before it.
        from eval.report_page.dataset import open_report_dataset
        from eval.report_page.runs import require_paths

        open_report_dataset(args.dataset)
        require_paths(args.runs)
        check_real_of(args, prefix="real_")

    from eval.report_page.gather import gather
    from eval.report_page.page import render
    from eval.report_page.static_space import write_space

    with skipping_advised():
        report = gather(
            args.dataset,
            runs=args.runs,
            real=open_real_of(args, prefix="real_") if args.real is not None else None,
            base=args.base,
            model=args.model,
            title=args.title,
            own_command=shlex.join([NAME, "report", *_own_words()]),
        )
    page = render(report)
    replace_text(made(out), page)
    if args.static_space is not None:
        write_space(args.static_space, page, title=report.title)
    size = len(page.encode())
    facts = [one.fact for one in report.shortfalls]
    if args.json:
        write_json({"out": str(out), "bytes": size, "rows": _rows(report), "shortfalls": facts})
        return
    write(f"wrote {out} ({size / 1e6:.1f} MB)")
    log(f"{len(facts)} facts under 'What fell short'")


def _rows(report: Report) -> list[dict[str, Any]]:
    """Return the rows of the table of scores."""
    return [
        {"real": table.real, "architecture": table.architecture, **asdict(line)}
        for table in report.tables
        for line in table.lines
    ]


def _own_words() -> list[str]:
    words = sys.argv[1:]
    return words[words.index("report") + 1 :] if "report" in words else words
