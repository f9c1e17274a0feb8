"""`factory check`: report errors and warnings about recipes."""

import argparse
from dataclasses import asdict

from factory.cli.arguments import (
    RECIPE_HELP,
    add_allow_cut_prompts,
    add_recipe_changes,
    note_dropped_keys,
    recipes_of,
)
from factory.common.console import log, write, write_json
from factory.common.errors import Fault, UserError, without_repeats
from factory.common.options import add_json, option
from factory.common.text import plural
from factory.planner.cut_prompts import check_prompts
from factory.recipe.lint import lint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("recipe", nargs="+", metavar="RECIPE", help=RECIPE_HELP)
    option(parser, "--strict", "treat warnings as errors")
    add_allow_cut_prompts(parser)
    add_recipe_changes(parser)
    add_json(parser, "ok, recipes, images, errors, warnings (each with message, file, line)")


def run(args: argparse.Namespace) -> None:
    """Check every named recipe."""
    faults: list[Fault] = []
    warnings: list[Fault] = []
    recipes = images = 0
    for reference in args.recipe:
        try:
            loaded = recipes_of(args, reference)
            note_dropped_keys(loaded)
        except UserError as error:
            faults += error.faults
            continue
        warnings += lint(loaded)
        cut, partly_cut = check_prompts(loaded)
        warnings += partly_cut
        if args.allow_cut_prompts:
            warnings += cut
        else:
            faults += cut
        recipes += len(loaded)
        images += sum(one.num_images for one in loaded if not one.is_combination)
    warnings = without_repeats(warnings)
    if args.strict:
        faults, warnings = faults + warnings, []
    faults = list(dict.fromkeys(faults))
    for warning in warnings:
        log(f"warning: {warning}")
    if args.json:
        write_json(
            {
                "ok": not faults,
                "recipes": recipes,
                "images": images,
                "errors": [asdict(fault) for fault in faults],
                "warnings": [asdict(warning) for warning in warnings],
            }
        )
    if faults:
        raise UserError(faults)
    if not args.json:
        write(f"ok: {plural(recipes, 'recipe')}, {plural(images, 'image')} to generate")
