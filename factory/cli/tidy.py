"""`factory tidy OUT`: remove files that a dataset no longer lists."""

import argparse

from factory.common import console
from factory.common.options import add_json, option
from factory.common.text import plural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("out", metavar="OUT", help="dataset directory or URL")
    option(
        parser,
        "--delete",
        "remove the files; without it they are only listed. Files that the dataset lists, "
        "shards of incomplete configs, and files with unknown names are never removed",
    )
    add_json(parser, "out, files (each with its bytes), unfinished, removed, put_back")


def run(args: argparse.Namespace) -> None:
    """List the leftover files; remove them with --delete."""
    from factory.builder.tidy import tidy
    from factory.common.errors import Failure
    from factory.common.storage import answering, open_path

    out = open_path(args.out)
    with answering(out):
        found = tidy(out, delete=args.delete)
    if args.json:
        console.write_json(
            {
                "out": str(out),
                "files": dict(found.files),
                "unfinished": list(found.unfinished),
                "removed": found.removed,
                "put_back": list(found.put_back),
            }
        )
    else:
        for file, size in found.files.items():
            console.write(f"{file} ({size:,} bytes)")
    for name in found.unfinished:
        console.log(f"note: {name} is not complete; its shards were not touched")
    for file in found.put_back:
        done = "was put back" if args.delete else "is put back by --delete unless it is left over"
        console.log(f"note: {file} {done}; a tidy that was stopped had put it aside")
    if args.delete and found.removed < len(found.files):
        raise Failure(
            f"{out}: another process changed this dataset in the meantime; removed "
            f"{found.removed} of {plural(len(found.files), 'file')}; run the same command again"
        )
    if args.json:
        return
    done = "removed" if args.delete else "left over; --delete removes them"
    console.write(f"{out}: {plural(len(found.files), 'file')} {done}")
