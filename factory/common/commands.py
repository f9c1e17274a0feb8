"""Join commands, one module each, into one command line.

Only the module of the command that was typed is imported, so `--help` is fast.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

from factory.common import program
from factory.common.console import Parser
from factory.common.imports import without_garbage_collection
from factory.common.version import VERSION


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        module: Dotted name of the module with its `add_arguments(parser)` and `run(args)`.
        help: What it does, in one line.
    """

    module: str
    help: str


Groups = Mapping[str, Mapping[str, Command]]
"""Commands by title of their group and by name."""


def run_command(
    groups: Groups,
    arguments: Sequence[str] | None,
    *,
    start: str,
    description: str,
    epilog: str = "",
) -> int | None:
    """Parse a command line and run its command.

    Args:
        groups: All commands.
        arguments: Default: `sys.argv[1:]`. A call with arguments starts no other processes.
        start: How the program is typed.
        description: What it is for.
        epilog: Text below the commands.

    Returns:
        The exit status; None is 0.
    """
    words = sys.argv[1:] if arguments is None else arguments
    parser = make_parser(groups, words, start=start, description=description, epilog=epilog)
    options = parser.parse_args(words)
    options.may_start_processes = arguments is None
    status: int | None = options.run(options)
    return status


def make_parser(
    groups: Groups,
    words: Sequence[str],
    *,
    start: str,
    description: str = "",
    epilog: str = "",
) -> Parser:
    """Return the parser of a command line; only the command named first has its options."""
    parser = Parser(
        prog=start,
        usage=f"{start} COMMAND ...",
        description=f"{description}\n\n{_listing(groups)}",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_version())
    subparsers = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", help=argparse.SUPPRESS, prog=start
    )
    known = {name: command for commands in groups.values() for name, command in commands.items()}
    # The others are needed only to name a word that is none of them.
    for name in words[:1] if known.keys() & set(words[:1]) else known:
        one = subparsers.add_parser(name, description=known[name].help)
        if name in words[:1]:
            with without_garbage_collection():
                module = import_module(known[name].module)
            module.add_arguments(one)
            if "--version" not in one._option_string_actions:
                one.add_argument("--version", action="version", version=_version())
            one.set_defaults(run=module.run)
    return parser


def _version() -> str:
    return f"{program.NAME} {VERSION}"


def command_parsers(commands: Mapping[str, Command], *, start: str) -> dict[str, Parser]:
    """Return the complete parser of each command, for documentation and tests."""
    parsers = {}
    for name, command in commands.items():
        parsers[name] = Parser(prog=f"{start} {name}", description=command.help)
        import_module(command.module).add_arguments(parsers[name])
    return parsers


def _listing(groups: Groups) -> str:
    width = max(len(name) for commands in groups.values() for name in commands)
    blocks = [
        "\n".join([f"{title}:", *(f"  {n:<{width}}  {c.help}" for n, c in commands.items())])
        for title, commands in groups.items()
    ]
    return "\n\n".join(blocks)
