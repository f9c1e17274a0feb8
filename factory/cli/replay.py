"""`factory replay OUT --config C --index I`: one image drawn again from its row."""

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

NAME = "replay"
HELP = "Draw one image of a set again from its row, and show how it differs from the stored one."
_EPILOG = """\
The rows that were drawn in one batch with the image are drawn too, since the last digits of a
picture depend on them: on the hardware and versions of the set that gives the same bytes, and
status 0. With --alone, or on another machine, pixels may differ by rounding, and status is 1.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.epilog = _EPILOG
    parser.add_argument("out", metavar="OUT", help="the set's directory")
    parser.add_argument("--config", required=True, metavar="C", help="a config of the set")
    parser.add_argument(
        "--index", required=True, type=int, metavar="I", help="the image's place in it, from 0"
    )
    parser.add_argument("--alone", action="store_true", help="without the rows of its batch")
    parser.add_argument("--device", metavar="D", help="another device than the set's, e.g. cpu")
    parser.add_argument("--out", dest="picture", metavar="FILE.png", help="both side by side")
    add_allow_pickle(parser)
    parser.add_argument("--json", action="store_true", help="row and difference as JSON")


def run(args: argparse.Namespace) -> int:
    """Draw, compare, and say 0 where the bytes are the same."""
    from factory.inspection.replay import replay

    picture = Path(args.picture) if args.picture else None
    if picture is not None and picture.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UserError(f"{picture}: is no picture's name; end it in .png, .jpg or .webp")
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
    console.write(f"drawn again: {one.describe()}")
    if not one.same_bytes:
        if done.alone:
            console.log(
                "note: drawn without the rows of its batch; leave out --alone for its bytes"
            )
        for note in done.notes:
            console.log(f"note: {note}")
    if picture is not None:
        console.write(f"side by side: {picture}")
