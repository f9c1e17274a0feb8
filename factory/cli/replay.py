"""`factory replay OUT --config C --index I`: regenerate one image from its row."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from factory.cli.arguments import add_allow_local_model, add_allow_pickle
from factory.common import console
from factory.common.options import (
    add_device,
    add_json,
    add_out,
    add_quiet,
    check_image_file,
    made,
    option,
)

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
    parser.add_argument("out", metavar="OUT", help="dataset directory or URL")
    add = partial(option, parser)
    add("--config NAME", "config of the dataset (default: the only one)")
    add("--index I", "the image's index in the config, from 0", int, required=True)
    add("--alone", "generate without the other rows of its batch")
    add_device(parser, None)
    add_out(parser, "FILE", "both images side by side", dest="sheet")
    add_allow_pickle(parser)
    add_allow_local_model(parser)
    add_quiet(parser)
    add_json(parser, "config, row, same_bytes, pixels, differing, max_difference, mean_difference")


def run(args: argparse.Namespace) -> int:
    """Regenerate and compare; return 0 if the bytes are identical."""
    from factory.inspection.replay import replay

    sheet: Path | None = args.sheet
    check_image_file("--out", sheet)
    done = replay(
        args.out,
        config=args.config,
        index=args.index,
        alone=args.alone,
        device=args.device,
        allow_pickle=args.allow_pickle,
        allow_local_model=args.allow_local_model,
    )
    if sheet is not None:
        done.sheet().save(made(sheet))
    if args.json:
        console.write_json(_plain(done))
    else:
        _tell(done, sheet)
    return 0 if done.regenerated.same_bytes else 1


def _plain(done: Replay) -> dict[str, object]:
    one = done.regenerated
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


def _tell(done: Replay, sheet: Path | None) -> None:
    one = done.regenerated
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
    if sheet is not None:
        console.write(f"side by side: {sheet}")
