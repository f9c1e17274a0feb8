"""`factory card OUT`: regenerate the card of a dataset, with scores if there are any."""

import argparse
import shlex
from pathlib import Path

from factory.common import console
from factory.common.errors import UserError
from factory.common.options import option
from factory.common.program import command
from factory.common.text import plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("out", metavar="OUT", help="dataset directory or URL")
    option(
        parser,
        "--scores FILE",
        f"scores-*.json from `{command('score')}`, or a run folder that contains some; copied "
        "to OUT/scores.json and shown until the dataset's rows change; may be repeated",
        Path,
        nargs="+",
        many=True,
    )


def run(args: argparse.Namespace) -> None:
    """Write the card."""
    from factory.card.page import FILE_NAME
    from factory.card.reader_files import publish
    from factory.card.scores import keep, kept_scores
    from factory.common.dataset_files import no_dataset
    from factory.common.local_paths import require_own
    from factory.common.storage import is_local, open_path
    from factory.shards.generations import newest

    out = open_path(args.out)
    if is_local(out):
        require_own(out)
    manifest = newest(out).manifest
    if manifest is None:
        raise no_dataset(out)
    if not manifest.in_order():
        raise UserError(f"{args.out}: no config is complete yet; resume its build first")
    if args.scores:
        keep(out, manifest, [file for path in _paths(args.scores) for file in _files(path)])
    shown = len(kept_scores(out, publish(out, card=True).written))
    console.write(f"{out / FILE_NAME}: {plural(shown, 'score')}")


def _paths(given: list[list[Path]]) -> list[Path]:
    """Return the values of a repeated option that once took several."""
    found = [path for paths in given for path in paths]
    if len(found) > len(given):
        shown = " ".join(f"--scores {shlex.quote(str(path))}" for path in found)
        console.log(f"several files after one --scores are now written {shown}")
    return found


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("scores-*.json"))
    if not found:
        raise UserError(
            f"{path}: contains no scores-*.json; run `{command(f'score {path} --real DATASET')}`"
        )
    return found
