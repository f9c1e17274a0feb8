"""Join the commands (one module of `eval.commands` each) into one command line."""

from __future__ import annotations

import argparse

from eval.commands import clip, digits, gap, label, predict, score, study, table
from factory.common.console import Parser
from factory.common.options import add_version

_COMMANDS = (score, predict, table, clip, gap, study, label, digits)


def main(argv: list[str] | None = None) -> int | None:
    """Run one command; `argv` defaults to `sys.argv[1:]`."""
    args = _parser().parse_args(argv)
    status: int | None = args.run(args)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="eval",
        description="Scores trained models on real images, tabulates the scores, and asks models "
        "about photos.",
    )
    add_version(parser)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        one = commands.add_parser(command.NAME, help=command.HELP)
        command.add_arguments(one)
        one.set_defaults(run=command.run)
    return parser
