"""`factory status OUT`: show the progress of a build."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from factory.common import console
from factory.common.options import add_json

if TYPE_CHECKING:
    from factory.inspection.status import Status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("out", metavar="OUT", help="dataset directory or URL")
    add_json(parser, "complete, images_per_s, seconds_left, configs, workers, notes")


def run(args: argparse.Namespace) -> None:
    """Read the directory and print a table."""
    from factory.inspection.status import status

    found = status(args.out)
    if args.json:
        console.write_json(found.as_dict())
    else:
        _tell(found)


def _tell(found: Status) -> None:
    rows = [
        [
            one.name,
            *map(str, (one.shards, one.done, one.running, one.missing)),
            f"{one.images_done + one.images_kept:,} of {one.images:,}",
            str(one.failed),
            f"{one.kind}, {'complete' if one.complete else 'unfinished'}",
        ]
        for one in found.configs
    ]
    header = ["config", "shards", "done", "running", "missing", "images", "failed", "state"]
    console.write(console.table(rows, header=header, align="lrrrrrrl"))
    console.write(f"{_speed(found)}, {_time_left(found)}")
    for note in found.notes:
        console.log(f"note: {note}")


def _speed(found: Status) -> str:
    if found.complete:
        return "finished"
    if found.images_per_s is None:
        return "speed not known yet"
    return f"{found.images_per_s:.3g} images/s"


def _time_left(found: Status) -> str:
    from factory.planner.cost import duration

    if found.complete:
        return "nothing left"
    if found.seconds_left is None:
        return "time left not known"
    return f"about {duration(found.seconds_left)} left"
