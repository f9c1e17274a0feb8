"""`factory push OUT ORG/NAME`: publish a dataset on the Hub in one commit, checked by hash."""

from __future__ import annotations

import argparse
import signal
from typing import TYPE_CHECKING

from factory.common import console
from factory.common.options import (
    PUSH_FIELDS,
    add_dry_run,
    add_json,
    add_publication,
    add_quiet,
    add_replace_card,
)
from factory.common.stop_signals import Stopped
from factory.common.text import plural, size

if TYPE_CHECKING:
    from factory.hub.publish import PublishReport


_AGAIN = "run the same command again; transferred data is kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("out", metavar="OUT", help="dataset directory or URL")
    parser.add_argument(
        "repo_id", metavar="ORG/NAME", help="dataset repository; created if missing"
    )
    add_publication(parser)
    add_replace_card(parser)
    parser.add_argument(
        "--report",
        action="store_true",
        help="also send OUT/report.html, the page that the command `report` writes",
    )
    add_dry_run(parser)
    add_json(parser, PUSH_FIELDS)
    add_quiet(parser, of_libraries=False)


def run(args: argparse.Namespace) -> None:
    """Push the dataset and print what was sent."""
    from factory.sharing.push_dataset import push

    try:
        report = push(
            args.out,
            args.repo_id,
            revision=args.revision,
            private=args.private,
            tag=args.tag,
            message=args.commit_message,
            replace_card=args.replace_card,
            report=args.report,
            dry_run=args.dry_run,
        )
    except KeyboardInterrupt:
        raise Stopped(signal.SIGINT, remedy=_AGAIN) from None
    if args.json:
        console.write_json(report.as_dict())
    else:
        _tell(report, dry_run=args.dry_run)


def _tell(report: PublishReport, *, dry_run: bool) -> None:
    plan, where = report.plan, report.target.url
    counts = (
        f"{plural(len(plan.add), 'file')} to send ({size(plan.add_bytes)}), "
        f"{len(plan.delete)} to remove, "
        f"{len(plan.unchanged)} unchanged ({size(plan.unchanged_bytes)})"
    )
    if dry_run:
        made = "would be created; " if report.created else ""
        console.write(f"{where}: {made}{counts}; nothing was changed (--dry-run)")
        for path in plan.add:
            console.write(f"  send    {path}")
        for path in plan.delete:
            console.write(f"  remove  {path}")
        return
    if report.committed:
        console.write(f"{where}: commit {str(report.commit)[:8]}, {_transfer(report)}")
        console.write(
            f"{plural(len(plan.add), 'file')} sent, {len(plan.delete)} removed, "
            f"{len(plan.unchanged)} unchanged; every hash matches the manifest"
        )
    else:
        console.write(f"{where}: up to date at {str(report.commit)[:8]}, no commit made")
    revision = report.tag or str(report.commit)
    console.write("next:")
    console.write("  from datasets import load_dataset")
    console.write(f'  load_dataset("{report.target.repo_id}", revision="{revision}")')


def _transfer(report: PublishReport) -> str:
    if report.sent_bytes is None:
        return f"at most {size(report.plan.add_bytes)} sent"
    return f"{size(report.sent_bytes)} sent, {size(report.reused_bytes or 0)} reused"
