"""`factory preview RECIPE --out sheet.png`: generate a contact sheet of recipes' images."""

import argparse
from functools import partial
from pathlib import Path

from factory.cli.arguments import (
    RECIPE_HELP,
    add_allow_pickle,
    add_offload,
    add_sampling_changes,
)
from factory.common import console
from factory.common.options import (
    add_device,
    add_out,
    add_quiet,
    check_image_file,
    made,
    option,
    positive,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("recipe", metavar="RECIPE", help=RECIPE_HELP)
    default = Path("preview.png")
    add_out(parser, "FILE", f"the contact sheet (default: {default})", default=default)
    add = partial(option, parser)
    add(
        "--vary NAME",
        "a variable, guidance_scale, or class (default: the first variable, else class)",
    )
    add("--rows N", "rows to show (default: 4)", positive, default=4, meaning="rows")
    add("--columns N", "most columns to show (default: 10)", positive, default=10)
    add(
        "--class NAME",
        "class to show (default: the first)",
        dest="class_name",
        meaning="class name",
    )
    add_sampling_changes(parser)
    add_device(parser)
    add_allow_pickle(parser)
    add_offload(parser)
    add_quiet(parser)


def run(args: argparse.Namespace) -> None:
    """Generate the contact sheet and print its path."""
    from factory.cli.arguments import note_dropped_keys, warn_of_unknown_words
    from factory.inspection.preview import preview
    from factory.recipe.library import load_recipes

    out: Path = args.out
    check_image_file("--out", out)
    recipes = load_recipes(
        args.recipe,
        overrides=args.overrides,
        model=args.model,
        sampling=args.sampling,
        members=False,
    )
    note_dropped_keys(recipes)
    warn_of_unknown_words(recipes)
    console.log_loading()
    done = preview(
        recipes,
        vary=args.vary,
        rows=args.rows,
        columns=args.columns,
        class_name=args.class_name,
        device=args.device,
        allow_pickle=args.allow_pickle,
        offload=args.offload,
    )
    done.sheet.save(made(out))
    console.write(f"{out}: {done.sheet.width} x {done.sheet.height} pixels")
    console.write(done.sampling)
