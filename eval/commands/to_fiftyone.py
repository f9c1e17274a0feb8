"""`eval to-fiftyone OUT`: write a dataset as a folder that FiftyOne imports."""

from __future__ import annotations

import argparse
import shlex
from functools import partial
from pathlib import Path

from factory.common import console
from factory.common.errors import UserError
from factory.common.options import add_json, add_out, add_quiet, check_folder, option
from factory.common.text import plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Write the images of a dataset as files, and their rows as samples, into a folder of "
        "FiftyOne's format FiftyOneDataset. Classes become the field ground_truth, all other "
        "columns fields, configs tags. FiftyOne does not have to be installed."
    )
    add = partial(option, parser)
    parser.add_argument("out", type=Path, metavar="OUT", help="directory of a finished dataset")
    add_out(parser, "DIR", "must not exist yet", required=True, dest="to")
    add("--config NAME", "config of the dataset (default: all)", default="")
    add("--filter EXPR", "keep only matching rows of the dataset; e.g. 'clip_score > 0.25'")
    add_json(parser, "folder, samples, bytes, renamed, left_out, load")
    add_quiet(parser)


def run(args: argparse.Namespace) -> None:
    """Write the folder, and print how FiftyOne imports it."""
    check_folder("--out", args.to)
    if args.to.resolve().is_relative_to(args.out.resolve()):
        raise UserError(f"--out {args.to}: is in the dataset {args.out}; name a folder outside it")

    from eval.fiftyone_folder import check_new, images_once, write_folder
    from eval.viewer.rows import open_rows
    from factory.data.row_filter import filter_option

    check_new(args.to)
    rows = open_rows(args.out)
    with filter_option():
        chosen = images_once(rows, rows.matching(args.config, args.filter or ""))
    if not len(chosen):
        raise UserError(f"{args.out}: no rows match --config and --filter; nothing was written")
    with console.progress(len(chosen), unit="image", description="images") as bar:
        found = write_folder(rows, chosen, args.to, advance=bar.update)
    # With "=", a name may start with a hyphen.
    load = (
        f"fiftyone datasets create --name={shlex.quote(args.to.name)} "
        f"--dataset-dir={shlex.quote(str(args.to))} --type=fiftyone.types.FiftyOneDataset"
    )
    if args.json:
        console.write_json(
            {
                "folder": str(args.to),
                "samples": found.num_samples,
                "bytes": found.num_bytes,
                "renamed": found.renamed,
                "left_out": found.left_out,
                "load": load,
            }
        )
        return
    megabytes = found.num_bytes / 1e6
    console.write(f"{args.to}: {plural(found.num_samples, 'image')}, {megabytes:.1f} MB")
    for column, name in found.renamed.items():
        console.write(f"column {column} becomes field {name}: FiftyOne allows no field {column}")
    if found.left_out:
        console.write(f"columns left out: {', '.join(found.left_out)}")
    console.write(f"import it where FiftyOne is installed:\n  {load}")
