"""Joins the verbs, a module of `factory.cli` each, to one command line: `factory VERB ...`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from factory.cli import (
    build,
    card,
    check,
    diff,
    gate,
    new,
    plan,
    preview,
    push,
    recipes,
    replay,
    status,
    tidy,
    verify,
)
from factory.common.console import Parser
from factory.common.version import VERSION

_VERBS = (
    check,
    plan,
    preview,
    build,
    gate,
    status,
    verify,
    replay,
    diff,
    card,
    tidy,
    push,
    recipes,
    new,
)

_EPILOG = """\
start here:
  factory recipes list                       the recipes that ship
  factory plan quickstart                    what a set would hold, before anything is drawn
  accelerate launch factory build quickstart out/digits
"""


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Parse the command line and run its verb.

    Args:
        arguments: Default: those of the process.

    Returns:
        The exit status; None is 0.

    Raises:
        UserError: Anything the user can mend.
        Failure: Anything the machine did.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    status: int | None = options.run(options)
    return status


def _parser() -> Parser:
    parser = Parser(
        prog="factory",
        description="Draws image datasets for training classifiers from recipes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"factory {VERSION}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in _VERBS:
        one = verbs.add_parser(verb.NAME, help=verb.HELP, description=verb.HELP)
        verb.add_arguments(one)
        one.set_defaults(run=verb.run)
    return parser
