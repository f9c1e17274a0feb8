"""`factory status OUT`: show the progress of a build."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from factory.common import console

if TYPE_CHECKING:
    from factory.inspection.status import Status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("out", metavar="OUT", help="dataset directory or URL")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(args: argparse.Namespace) -> None:
    """Read the directory and print a table."""
    from factory.inspection.status import status

    found = status(args.out)
    if args.json:
        console.write(json.dumps(found.as_dict(), ensure_ascii=False, indent=2))
    else:
        _tell(found)


def _tell(found: Status) -> None:
    rows = [
        [
            one.name,
            *map(str, (one.shards, one.done, one.running, one.missing)),
            f"{one.images_done:,} of {one.images:,}",
            str(one.failed),
            _state(one.kind, complete=one.complete),
        ]
        for one in found.configs
    ]
    header = ["config", "shards", "done", "running", "missing", "images", "failed", "state"]
    console.write(console.table(rows, header=header, align="lrrrrrrl"))
    console.write(f"{_speed(found)}, {_time_left(found)}")
    for note in found.notes:
        console.log(f"note: {note}")


def _state(kind: str, *, complete: bool) -> str:
    return f"{kind}, {'complete' if complete else 'unfinished'}"


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
