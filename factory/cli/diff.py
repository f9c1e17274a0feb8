"""`factory diff A B`: show what changed between two datasets or recipes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from factory.common import console
from factory.common.options import add_json, option
from factory.common.text import cut, plural

if TYPE_CHECKING:
    from factory.inspection.diff import Change, ConfigDifference

_WIDEST = 60
_MANY = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    what = "dataset directory or URL, recipe, folder of recipes, or hf://datasets/ORG/NAME"
    parser.add_argument("before", metavar="A", help=what)
    parser.add_argument("after", metavar="B", help=what)
    option(parser, "--exit-code", "exit with 1 if they differ")
    add_json(parser, "same, settings, configs (each with its changes and shards)")


def run(args: argparse.Namespace) -> int:
    """Compare A and B and print the differences."""
    from factory.inspection.diff import diff

    found = diff(args.before, args.after)
    if args.json:
        console.write_json(found.as_dict())
    elif found.same:
        console.write(f"{args.before} and {args.after} are the same")
    else:
        for change in found.settings:
            console.write(change_line(change))
        for config in found.configs:
            for line in _lines(config):
                console.write(line)
    return 1 if args.exit_code and not found.same else 0


def _lines(config: ConfigDifference) -> Iterator[str]:
    before, after = config.images
    if before is None:
        yield f"{config.name}: only in B, {plural(after or 0, 'image')}"
    elif after is None:
        yield f"{config.name}: only in A, {plural(before, 'image')}"
    elif config.same:
        yield f"{config.name}: the same"
    else:
        effect = "same images" if config.same_images else "different images"
        yield f"{config.name}: {effect}, {before:,} -> {plural(after, 'image')}"
    for change in config.changes:
        yield f"  {change_line(change)}"
    for file in (config.other_bytes or ())[:_MANY]:
        yield f"  different bytes: {file}"
    if len(config.other_bytes or ()) > _MANY:
        yield f"  different bytes: {len(config.other_bytes or ()) - _MANY} more files"
    if config.shards is not None and not config.same:
        one = config.shards
        counts = f"{one.kept} kept, {one.completed} completed, {one.generated} generated"
        yield f"  shards: {counts} ({one.why})"
    elif before is not None and after is not None and after < before:
        yield "  shards: none (a dataset is never shortened; build into another directory)"


def change_line(change: Change) -> str:
    """Return a change as one line; long values are shortened."""
    return f"{change.key}: {_short(change.before)} -> {_short(change.after)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cut(text, _WIDEST)
