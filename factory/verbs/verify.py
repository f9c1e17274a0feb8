"""`factory verify OUT`: is a set whole, and does every row say what was planned?"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from factory import console

if TYPE_CHECKING:
    from factory.verify import VerifyReport

NAME = "verify"
HELP = "Check every file, row and picture of a set against its manifest, recipes and plan."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("out", metavar="OUT", help="the set's directory")
    parser.add_argument("--config", metavar="C", help="only this config's shards")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Check, name each fault, and say 1 if there is any."""
    from factory.verify import verify_set

    report = verify_set(args.out, config=args.config, show_progress=not (args.quiet or args.json))
    if args.json:
        console.write(json.dumps(_plain(report), ensure_ascii=False, indent=2))
    else:
        _tell(report)
    return 0 if report.whole else 1


def _plain(report: VerifyReport) -> dict[str, object]:
    return {
        "out": report.out,
        "whole": report.whole,
        "configs": list(report.configs),
        "shards": report.shards,
        "rows": report.rows,
        "faults": [fault.as_dict() for fault in report.faults],
    }


def _tell(report: VerifyReport) -> None:
    for fault in report.faults:
        console.write(str(fault))
    read = f"{report.shards} shards, {report.rows:,} rows"
    count = len(report.faults)
    if report.whole:
        console.write(f"{report.out}: whole ({read})")
    else:
        faults = f"{count} fault{'' if count == 1 else 's'}"
        console.write(f"{report.out}: {faults} ({read}); `factory build` again mends lost shards")
