"""Join the commands (one module of `eval.verbs` each) into one command line."""

from __future__ import annotations

import argparse

from eval.verbs import clip, digits, export, gap, label, predict, score, study, table
from factory.common.console import Parser

_VERBS = (score, predict, export, table, clip, gap, study, label, digits)


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
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for verb in _VERBS:
        one = verbs.add_parser(verb.NAME, help=verb.HELP)
        verb.add_arguments(one)
        one.set_defaults(run=verb.run)
    return parser
