"""`factory replay OUT --config C --index I`: regenerate one image from its row."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from factory.cli.arguments import add_allow_pickle
from factory.common import console
from factory.common.errors import UserError

if TYPE_CHECKING:
    from factory.inspection.replay import Replay

_EPILOG = """\
The other rows of the image's batch are generated too, because rounding depends on the batch. On
the dataset's hardware and library versions the bytes are identical and the exit status is 0. With
--alone, or on another machine, pixels may differ by rounding, and the exit status is 1.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = _EPILOG
    parser.add_argument("out", metavar="OUT", help="dataset directory")
    parser.add_argument("--config", required=True, metavar="C", help="config of the dataset")
    parser.add_argument(
        "--index",
        required=True,
        type=int,
        metavar="I",
        help="the image's index in the config, from 0",
    )
    parser.add_argument(
        "--alone", action="store_true", help="generate without the other rows of its batch"
    )
    parser.add_argument("--device", metavar="D", help="device, e.g. cpu (default: the dataset's)")
    parser.add_argument(
        "--out", dest="picture", metavar="FILE.png", help="save both images side by side"
    )
    add_allow_pickle(parser)
    parser.add_argument("--json", action="store_true", help="print row and difference as JSON")


def run(args: argparse.Namespace) -> int:
    """Regenerate and compare; return 0 if the bytes are identical."""
    from factory.inspection.replay import replay

    picture = Path(args.picture) if args.picture else None
    if picture is not None and picture.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UserError(f"{picture}: not an image file name; end it in .png, .jpg or .webp")
    done = replay(
        args.out,
        config=args.config,
        index=args.index,
        alone=args.alone,
        device=args.device,
        allow_pickle=args.allow_pickle,
    )
    if picture is not None:
        picture.parent.mkdir(parents=True, exist_ok=True)
        done.sheet().save(picture)
    if args.json:
        console.write(json.dumps(_plain(done), ensure_ascii=False, indent=2))
    else:
        _tell(done, picture)
    return 0 if done.redrawn.same_bytes else 1


def _plain(done: Replay) -> dict[str, object]:
    one = done.redrawn
    return {
        "config": done.config,
        "row": one.spec.as_row(),
        "same_bytes": one.same_bytes,
        "pixels": one.pixels,
        "differing": one.differing,
        "max_difference": one.max_difference,
        "mean_difference": one.mean_difference,
        "alone": done.alone,
        "notes": list(done.notes),
    }


def _tell(done: Replay, picture: Path | None) -> None:
    one = done.redrawn
    row = one.spec.as_row().items()
    console.write(console.table([[name, str(value)] for name, value in row]))
    console.write(f"regenerated: {one.describe()}")
    if not one.same_bytes:
        if done.alone:
            console.log(
                "note: generated without the rows of its batch; omit --alone to get the same bytes"
            )
        for note in done.notes:
            console.log(f"note: {note}")
    if picture is not None:
        console.write(f"side by side: {picture}")
