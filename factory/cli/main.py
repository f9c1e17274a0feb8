"""Join the commands (one module of `factory.cli` each) into one command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from factory.cli import (
    build,
    card,
    check,
    diff,
    doctor,
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
    doctor,
)

_EPILOG = """\
start here:
  factory recipes list                       list the packaged recipes
  factory plan quickstart                    show what a build would generate
  accelerate launch factory build quickstart out/digits
"""


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Parse the command line and run its command.

    Args:
        arguments: Default: `sys.argv[1:]`.

    Returns:
        The exit status; None is 0.

    Raises:
        UserError: The user can fix the input.
        Failure: The disk, network, device or another process failed.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    status: int | None = options.run(options)
    return status


def _parser() -> Parser:
    parser = Parser(
        prog="factory",
        description="Generate labelled image datasets from recipes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"factory {VERSION}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    for verb in _VERBS:
        one = verbs.add_parser(verb.NAME, help=verb.HELP, description=verb.HELP)
        verb.add_arguments(one)
        one.set_defaults(run=verb.run)
    return parser
