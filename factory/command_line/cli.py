"""Join the commands of `factory`, `train` and `eval`.

To add a command, add it to its package's list (or to `_OWN`) and its name to a group.
"""

import os
from collections.abc import Sequence

import eval.cli
from factory.cli import main as factory_cli
from factory.common.commands import Command, make_parser, run_command
from factory.common.entry import run_main
from factory.common.program import NAME, start_of

_GROUPS = {
    "make a dataset": "new recipes models captions check plan preview build grow",
    "look at it": "view to-fiftyone status verify replay diff gate card tidy",
    "train and score": "train digits label score table report predict export clip gap study",
    "share": "push",
    "set up": "doctor completion",
}
_OWN = {
    "train": Command("train.cli", "Train any timm model on an image dataset."),
    "grow": Command(
        "factory.command_line.grow", "Add images that a trained classifier is unsure of."
    ),
    "completion": Command(
        "factory.command_line.completion", "Print a script that completes commands."
    ),
}
COMMANDS = {**factory_cli.COMMANDS, **eval.cli.COMMANDS, **_OWN}
GROUPS = {
    title: {name: COMMANDS[name] for name in names.split()} for title, names in _GROUPS.items()
}


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Run one command; `arguments` defaults to `sys.argv[1:]`.

    Raises:
        UserError: The user can fix the input.
        Failure: The disk, network, device or another process failed.
    """
    return run_command(
        GROUPS,
        arguments,
        start=start_of("factory.command_line"),
        description="Generate labelled image datasets from recipes, train classifiers on them, "
        "and score these on real images.",
        epilog=factory_cli.first_steps(),
    )


def start() -> None:
    """Run the command line in `sys.argv` and exit; a shell that completes a line asks here too."""
    if "_ARGCOMPLETE" in os.environ:
        from argcomplete import autocomplete

        words = os.environ["COMP_LINE"].split()[1:]
        autocomplete(make_parser(GROUPS, words, start=NAME))
    run_main(main)
