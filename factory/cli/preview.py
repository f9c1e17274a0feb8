"""`factory preview RECIPE --out sheet.png`: generate a contact sheet of a recipe's images."""

from __future__ import annotations

import argparse
from pathlib import Path

from factory.cli.arguments import add_allow_pickle, add_sampling_changes
from factory.common import console
from factory.common.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("recipe", metavar="RECIPE", help="recipe file or packaged name")
    parser.add_argument("--out", default="preview.png", metavar="FILE", help="default preview.png")
    parser.add_argument(
        "--vary",
        metavar="NAME",
        help="a variable, guidance_scale, or class (default: the first variable, else class)",
    )
    parser.add_argument("--rows", type=int, default=4, metavar="N", help="default 4")
    parser.add_argument("--columns", type=int, default=10, metavar="N", help="maximum, default 10")
    parser.add_argument(
        "--class", dest="class_name", metavar="LABEL", help="class to show (default: the first)"
    )
    add_sampling_changes(parser)
    add_allow_pickle(parser)


def run(args: argparse.Namespace) -> None:
    """Generate the contact sheet and print its path."""
    from factory.cli.arguments import warn_of_unknown_words
    from factory.inspection.preview import preview
    from factory.recipe.library import load_recipe

    out = Path(args.out)
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UserError(f"{out}: not an image file name; end it in .png, .jpg or .webp")
    recipe = load_recipe(
        args.recipe, overrides=args.overrides, model=args.model, sampling=args.sampling
    )
    warn_of_unknown_words([recipe])
    made = preview(
        recipe,
        vary=args.vary,
        rows=args.rows,
        columns=args.columns,
        class_name=args.class_name,
        allow_pickle=args.allow_pickle,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    made.sheet.save(out)
    console.write(f"{out}: {made.sheet.width} x {made.sheet.height} pixels")
    console.write(made.sampling)
