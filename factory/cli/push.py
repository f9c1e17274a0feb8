"""`factory push OUT ORG/NAME`: publish a dataset on the Hub in one commit, checked by hash."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from factory.common import console

if TYPE_CHECKING:
    from factory.hub.publish import PublishReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("out", metavar="OUT", help="dataset directory")
    parser.add_argument(
        "repo_id", metavar="ORG/NAME", help="dataset repository; created if missing"
    )
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument("--tag", metavar="TAG", help="tag the commit, e.g. v1")
    parser.add_argument("--message", metavar="TEXT", help="title of the commit")
    parser.add_argument(
        "--revision", metavar="BRANCH", help="branch, created if missing (default: main)"
    )
    parser.add_argument(
        "--replace-card",
        action="store_true",
        help="overwrite edits of the card on the Hub (default: stop and show them)",
    )
    parser.add_argument("--dry-run", action="store_true", help="compare only; change nothing")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(args: argparse.Namespace) -> None:
    """Push the dataset and print what was sent."""
    from factory.sharing.push_dataset import push

    report = push(
        args.out,
        args.repo_id,
        revision=args.revision,
        private=args.private,
        tag=args.tag,
        message=args.message,
        replace_card=args.replace_card,
        dry_run=args.dry_run,
        show_progress=not args.quiet,
    )
    if args.json:
        console.write(json.dumps(_plain(report), indent=2))
    else:
        _tell(report, dry_run=args.dry_run)


def _plain(report: PublishReport) -> dict[str, object]:
    return {
        "repo_id": report.target.repo_id,
        "branch": report.target.revision,
        "url": report.target.url,
        "commit": report.commit,
        "created": report.created,
        "committed": report.committed,
        "tag": report.tag,
        "added": list(report.plan.add),
        "deleted": list(report.plan.delete),
        "unchanged": len(report.plan.unchanged),
        "add_bytes": report.plan.add_bytes,
        "sent_bytes": report.sent_bytes,
        "reused_bytes": report.reused_bytes,
        "retries": report.num_retries,
    }


def _tell(report: PublishReport, *, dry_run: bool) -> None:
    plan, where = report.plan, report.target.url
    counts = (
        f"{len(plan.add)} files to send ({_size(plan.add_bytes)}), {len(plan.delete)} to remove, "
        f"{len(plan.unchanged)} unchanged ({_size(plan.unchanged_bytes)})"
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
            f"{len(plan.add)} files sent, {len(plan.delete)} removed, "
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
        return f"at most {_size(report.plan.add_bytes)} sent"
    return f"{_size(report.sent_bytes)} sent, {_size(report.reused_bytes or 0)} reused"


def _size(num_bytes: int) -> str:
    size = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")
