"""`factory plan`: show the content and cost of a dataset before it is generated."""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from textwrap import shorten
from typing import Any

from factory.cli.arguments import RECIPE_HELP, add_recipe_changes, recipes_of
from factory.common.console import table, write
from factory.common.errors import UserError
from factory.planner.cost import estimate
from factory.planner.plan import ImageSpec, plan
from factory.planner.sampling_summary import sampling_summary, sampling_texts
from factory.recipe.paths import find_recipe
from factory.recipe.resolved import ResolvedRecipe, plain_recipe

_CHUNK = 1000
_MEASURED = 1000
_SHARES = 12
_WIDEST = 27


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("recipe", metavar="RECIPE", help=RECIPE_HELP)
    add_recipe_changes(parser)
    parser.add_argument(
        "--rows", type=int, default=3, metavar="N", help="example rows per config (default 3)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per image")
    parser.add_argument("--range", metavar="A:B", help="images A to B-1, with --json")
    parser.add_argument(
        "--configs",
        action="store_true",
        help="with --json: one object per config (its resolved recipe and cost), not per image",
    )


def run(args: argparse.Namespace) -> None:
    """Print the plan.

    Raises:
        UserError: The recipes have errors, or the range is invalid.
    """
    if args.rows < 0:
        raise UserError(f"--rows is {args.rows}; give 0 or more")
    if args.range is not None and not args.json:
        raise UserError("--range selects rows of --json; add --json, or use --rows")
    if args.configs and (not args.json or args.range):
        raise UserError("--configs changes the output of --json; add --json and remove --range")
    recipes = recipes_of(args, args.recipe)
    if args.configs:
        for recipe in recipes:
            write(json.dumps(_config(recipe), ensure_ascii=False))
        return
    if args.json:
        for recipe in _asked_for(recipes, args.recipe):
            _write_json(recipe, args.range)
        return
    _write_sets(recipes)
    sampled = [recipe for recipe in recipes if not recipe.is_combination]
    write()
    _write_sampling(sampled)
    names = {recipe.name for recipe in recipes}
    for recipe in sampled:
        write()
        _write_quantities(recipe, beside=names)
        _write_rows(recipe, args.rows)


def _asked_for(recipes: Sequence[ResolvedRecipe], reference: str) -> Sequence[ResolvedRecipe]:
    """Return the recipes to print: for one combination, only itself and not its members."""
    combinations = [one for one in recipes if one.is_combination]
    names_one_file = not find_recipe(reference).is_dir()
    if names_one_file and len(combinations) == 1:
        alone = combinations[0]
        if {one.name for one in recipes} == {alone.name, *(alone.combine or ())}:
            return combinations
    return recipes


def _config(recipe: ResolvedRecipe) -> dict[str, Any]:
    """Return a config's resolved recipe and cost as plain values."""
    cost = estimate(recipe)
    return {
        "name": recipe.name,
        "images": recipe.num_images,
        "recipe": plain_recipe(recipe),
        "sampling": None if recipe.is_combination else sampling_summary(recipe),
        "cost": {
            "images": cost.images,
            "calls": cost.calls,
            "seconds": cost.seconds,
            "device": cost.speed.device if cost.speed else None,
            "source": cost.speed.source if cost.speed else None,
        },
    }


def _write_json(recipe: ResolvedRecipe, chosen: str | None) -> None:
    planned = plan(recipe)
    start, stop = parse_range(chosen, len(planned)) if chosen else (0, len(planned))
    for first in range(start, stop, _CHUNK):
        for row in planned.rows(first, min(first + _CHUNK, stop)):
            write(json.dumps(row.as_row(), ensure_ascii=False))


def parse_range(text: str, length: int) -> tuple[int, int]:
    """Return start and stop of `A:B`; either may be omitted.

    Raises:
        UserError: `text` is not such a range, or exceeds 0:length.
    """
    match = re.fullmatch(r"(\d{0,18}):(\d{0,18})", text)
    if match is None:
        raise UserError(f"--range {text}: expected A:B, such as 0:10")
    start = int(match[1]) if match[1] else 0
    stop = int(match[2]) if match[2] else length
    if not start <= stop <= length:
        raise UserError(f"--range {text}: valid images are 0:{length}")
    return start, stop


def _write_sets(recipes: Sequence[ResolvedRecipe]) -> None:
    rows = [
        (
            recipe.name,
            f"{recipe.num_images:,}",
            str(len(recipe.labels)),
            "-" if recipe.images_per_class is None else f"{recipe.images_per_class:,}",
            "-" if recipe.combine else recipe.model.id,
        )
        for recipe in recipes
    ]
    header = ("config", "images", "classes", "per class", "model")
    write(table(rows, header=header, align="lrrrl"))
    for recipe in recipes:
        if recipe.combine:
            write(f"{recipe.name} combines {', '.join(recipe.combine)}")


def _write_sampling(recipes: Sequence[ResolvedRecipe]) -> None:
    """Write one row per config that generates images; combinations repeat their members."""
    keys = ("guidance", "steps", "scheduler", "size")
    rows = []
    for recipe in recipes:
        texts = sampling_texts(recipe, sampling_summary(recipe))
        cells = (shorten(texts[key], _WIDEST, placeholder=" …") for key in keys)
        rows.append((recipe.name, *cells))
    write(table(rows, header=("config", *keys), align="lrrlr"))


def _cost(recipe: ResolvedRecipe, beside: Collection[str]) -> str:
    cost = estimate(recipe).describe()
    if recipe.same_images_as in beside:
        return f"none with {recipe.same_images_as}, which has the same images; alone {cost}"
    return cost


def _write_quantities(recipe: ResolvedRecipe, *, beside: Collection[str]) -> None:
    write(f"{recipe.name}: {recipe.summary}".rstrip(": "))
    sample = plan(recipe).rows(0, min(_MEASURED, recipe.num_images))
    rows = []
    for one in recipe.prompt:
        total = sum(other.weight for other in recipe.prompt)
        share = f"{one.weight / total:.0%}" if len(recipe.prompt) > 1 else ""
        rows.append(("prompt", one.text, share))
    if recipe.negative_prompt:
        rows.append(("negative_prompt", recipe.negative_prompt, ""))
    for column in recipe.columns:
        drawn = [row.variables[column.name] for row in sample]
        rows.append((column.name, column.quantity.describe(), measured(drawn)))
    sampling = recipe.sampling
    scales = [row.guidance_scale for row in sample]
    rows.append(("guidance_scale", sampling.guidance_scale.describe(), measured(scales)))
    steps = [row.num_inference_steps for row in sample]
    rows.append(("num_inference_steps", sampling.num_inference_steps.describe(), measured(steps)))
    texts = sampling_texts(recipe, sampling_summary(recipe))
    rows += [(key, texts[key], "") for key in ("scheduler", "size", "output", "noise", "seed")]
    header = ("quantity", "value", f"in the first {len(sample):,} images")
    write(table(rows, header=header))
    write(f"cost: {_cost(recipe, beside)}")


def measured(drawn: Sequence[str | int | float | bool | None]) -> str:
    """Summarize sampled values: shares of a few values, or range and mean of numbers."""
    counts = Counter(drawn)
    if len(counts) == 1:
        return ""
    numbers = [float(v) for v in drawn if isinstance(v, int | float)]
    if len(counts) > _SHARES and len(numbers) == len(drawn):
        mean = sum(numbers) / len(numbers)
        return f"{min(numbers):.3g} to {max(numbers):.3g}, mean {mean:.3g}"
    parts = [f"{value} {count / len(drawn):.0%}" for value, count in counts.most_common(_SHARES)]
    more = f", and {len(counts) - _SHARES} more" if len(counts) > _SHARES else ""
    return ", ".join(parts) + more


def _write_rows(recipe: ResolvedRecipe, count: int) -> None:
    rows = plan(recipe).rows(0, min(count, recipe.num_images))
    if rows:
        header = ("index", "label", "prompt", "guidance", "steps", "seed")
        write()
        write(table([_cells(recipe, row) for row in rows], header=header, align="rllrrr"))


def _cells(recipe: ResolvedRecipe, row: ImageSpec) -> tuple[str, ...]:
    return (
        str(row.index),
        recipe.labels[row.label],
        row.prompt,
        f"{row.guidance_scale:.3g}",
        str(row.num_inference_steps),
        str(row.seed),
    )
