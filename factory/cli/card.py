"""`factory card OUT`: regenerate the card of a dataset, with scores if there are any."""

from __future__ import annotations

import argparse
from pathlib import Path

from factory.common import console
from factory.common.errors import UserError
from factory.common.program import command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("out", metavar="OUT", help="the dataset directory")
    parser.add_argument(
        "--scores",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help=f"scores-*.json from `{command('score')}`, or run folders that contain some; copied "
        "to OUT/scores.json and shown until the dataset's rows change",
    )


def run(args: argparse.Namespace) -> None:
    """Write the card.

    Raises:
        UserError: OUT is not a finished dataset, or a scores file belongs to a model that was
            trained on other data.
    """
    from factory.card.derived import publish
    from factory.card.page import FILE_NAME
    from factory.card.scores import keep, kept_scores
    from factory.common.inside import require_own
    from factory.common.storage import is_local, open_path
    from factory.shards.generations import newest

    out = open_path(args.out)
    if is_local(out):
        require_own(out)
    manifest = newest(out).manifest
    if manifest is None:
        raise UserError(
            f"{args.out}: is not a dataset; name a directory written by `{command('build')}`"
        )
    if not manifest.in_order():
        raise UserError(f"{args.out}: no config is complete yet; resume its build first")
    if args.scores:
        keep(out, manifest, [file for path in args.scores for file in _files(path)])
    written = publish(out, card=True).manifest
    assert written is not None, "it was read above"
    shown = len(kept_scores(out, written))
    console.write(f"{out / FILE_NAME}: {shown} score{'' if shown == 1 else 's'}")


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("scores-*.json"))
    if not found:
        raise UserError(
            f"{path}: contains no scores-*.json; run `{command(f'score {path} --real DATASET')}`"
        )
    return found
