"""The commands of `factory`, one module of `factory.cli` each."""

from collections.abc import Sequence

from factory.common.commands import Command, run_command
from factory.common.program import command, start_of

_HELP = {
    "check": "Check recipes: report all errors at once, with file and line, and warnings.",
    "plan": "Show a dataset before it is generated: images, sampled values, example rows, cost.",
    "preview": "Generate a contact sheet: images in a row share their noise, columns vary one "
    "thing.",
    "build": "Generate a dataset from a recipe; run the same command again to resume.",
    "gate": "Add quality columns to a finished dataset: CLIP score, class margin, safety flag, "
    "near-duplicates, label issues, marks.",
    "status": "Show the progress of a build: shards done, running and missing, speed, time left.",
    "verify": "Check every file, row and image of a dataset against its manifest, recipes and "
    "plan.",
    "replay": "Regenerate one image of a dataset from its row and compare it with the stored one.",
    "diff": "Compare two datasets or recipes; show which shards would be generated again.",
    "card": "Regenerate a dataset's card: README.md, contact sheet, plots, scores on real images.",
    "tidy": "List files that interrupted builds left in a dataset's directory; --delete removes "
    "them.",
    "push": "Publish a finished dataset on the Hub; run again, it sends only what changed.",
    "recipes": "List, show, compare and share recipes: packaged ones, files, those on the Hub.",
    "models": "List the models that --model accepts by name: settings, licence, size, speed.",
    "captions": "Let a language model write captions for prompts, as a table that recipes use.",
    "doctor": "Report whether this machine can build, and with --model what batch size fits.",
    "new": "Create a folder of ready recipes from class names.",
}
COMMANDS = {name: Command(f"factory.cli.{name}", text) for name, text in _HELP.items()}


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Parse the command line and run its command.

    Returns:
        The exit status; None is 0.

    Raises:
        UserError: The user can fix the input.
        Failure: The disk, network, device or another process failed.
    """
    return run_command(
        {"commands": COMMANDS},
        arguments,
        start=start_of("factory"),
        description="Generate labelled image datasets from recipes.",
        epilog=first_steps(),
    )


def first_steps() -> str:
    """Return what to type first, for help texts."""
    steps = {
        "recipes list": "list the packaged recipes",
        "plan quickstart": "show what a build would generate",
        "build quickstart out/digits": "generate it, on all of this machine",
    }
    lines = {command(line): text for line, text in steps.items()}
    width = max(map(len, lines))
    return "\n".join(["start here:", *(f"  {a:<{width}}  {b}" for a, b in lines.items())])
