"""`factory verify OUT`: is a set whole, and does every row say what was planned?"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from factory.cli.arguments import add_allow_pickle
from factory.common import console
from factory.common.errors import UserError

if TYPE_CHECKING:
    from factory.inspection.verify import Sample, VerifyReport

NAME = "verify"
HELP = "Check every file, row and picture of a set against its manifest, recipes and plan."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("out", metavar="OUT", help="the set's directory")
    parser.add_argument("--config", metavar="C", help="only this config's shards")
    parser.add_argument(
        "--rebuild",
        metavar="PERCENT",
        help="draw so much of every config again and compare, e.g. 1%% (a batch at least)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="chooses the sample")
    parser.add_argument(
        "--tolerance",
        type=int,
        default=0,
        metavar="N",
        help="with --rebuild on another machine: difference of a pixel (0 to 255) that is no fault",
    )
    parser.add_argument(
        "--device", metavar="D", help="with --rebuild: another device than the set's"
    )
    add_allow_pickle(parser)
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Check, name each fault, and say 1 if there is any."""
    from factory.inspection.verify import verify_set

    report = verify_set(
        args.out,
        config=args.config,
        sample=_sample(args),
        show_progress=not (args.quiet or args.json),
    )
    if args.json:
        console.write(json.dumps(_plain(report), ensure_ascii=False, indent=2))
    else:
        _tell(report)
    return 0 if report.whole else 1


def _sample(args: argparse.Namespace) -> Sample | None:
    from factory.inspection.verify import Sample

    if args.rebuild is None:
        return None
    text = args.rebuild.strip()
    try:
        percent = float(text.removesuffix("%")) if text.endswith("%") else 0.0
    except ValueError:
        percent = 0.0
    if not 0 < percent <= 100:
        raise UserError(f"--rebuild {args.rebuild}: expected a part above 0% up to 100%, as in 1%")
    if not 0 <= args.tolerance <= 255:
        raise UserError(f"--tolerance {args.tolerance}: pixels differ by 0 to 255")
    return Sample(
        percent / 100,
        seed=args.seed,
        tolerance=args.tolerance,
        device=args.device,
        allow_pickle=args.allow_pickle,
    )


def _plain(report: VerifyReport) -> dict[str, object]:
    return {
        "out": report.out,
        "whole": report.whole,
        "configs": list(report.configs),
        "shards": report.shards,
        "rows": report.rows,
        "failed": report.failed,
        "compared": report.compared,
        "notes": list(report.notes),
        "left_over": list(report.left_over),
        "faults": [fault.as_dict() for fault in report.faults],
    }


def _tell(report: VerifyReport) -> None:
    for fault in report.faults:
        console.write(str(fault))
    if report.notes and not report.whole:
        for note in report.notes:
            console.log(f"note: {note}; small differences of pixels are no damage (--tolerance)")
    if report.left_over:
        files = f"{len(report.left_over)} shard file{'' if len(report.left_over) == 1 else 's'}"
        console.log(
            f"note: {files} in the directory, but not in the dataset; "
            f"`factory tidy {report.out}` lists what is left over"
        )
    read = f"{report.shards} shards, {report.rows:,} rows"
    if report.failed:
        read += f", {report.failed} failed images listed"
    if report.compared:
        read += f", {report.compared} images compared"
    count = len(report.faults)
    if report.whole:
        console.write(f"{report.out}: whole ({read})")
    else:
        faults = f"{count} fault{'' if count == 1 else 's'}"
        console.write(f"{report.out}: {faults} ({read}); `factory build` again mends lost shards")
