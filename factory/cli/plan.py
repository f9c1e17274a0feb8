"""`factory plan`: show the content and cost of a dataset before it is generated."""

import argparse
import re
from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial
from textwrap import shorten
from typing import Any

from factory.cli.arguments import RECIPE_HELP, add_recipe_changes, note_dropped_keys, recipes_of
from factory.common.console import log, table, write, write_json
from factory.common.errors import UserError
from factory.common.options import add_json, option
from factory.common.text import plural
from factory.planner.cost import duration, estimate
from factory.planner.plan import ImageSpec, plan
from factory.planner.sampling_summary import sampling_summary, sampling_texts
from factory.recipe.resolved import ResolvedRecipe, plain_recipe

_CHUNK = 1000
_MEASURED = 1000
_SHARES = 12
_WIDEST = 27


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("recipe", metavar="RECIPE", help=RECIPE_HELP)
    add_recipe_changes(parser)
    add = partial(option, parser)
    add("--rows N", "rows to show per config (default: 3)", int, default=3, meaning="rows")
    add_json(parser, "configs (each with name, images, recipe, sampling, cost)")
    add("--jsonl", "print every row as a line of JSON instead of text")
    add("--range A:B", "with --jsonl: only images A to B-1")
    # The old way to ask for what --json prints, one line per config.
    parser.add_argument("--configs", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> None:
    """Print the plan."""
    if args.rows < 0:
        raise UserError(f"--rows {args.rows}: expected 0 or more")
    _respell(args)
    if args.range is not None and not args.jsonl:
        raise UserError("--range selects rows of --jsonl; add --jsonl, or use --rows")
    if args.jsonl and args.json:
        raise UserError("--json and --jsonl print different things; remove one of them")
    recipes = recipes_of(args, args.recipe, members=not args.jsonl)
    note_dropped_keys(recipes)
    if args.configs:
        for recipe in recipes:
            write_json(_config(recipe), indent=None)
    elif args.json:
        write_json({"configs": [_config(recipe) for recipe in recipes]})
    elif args.jsonl:
        for recipe in recipes:
            _write_rows_as_json(recipe, args.range)
    else:
        _write_text(recipes, rows=args.rows)


def _respell(args: argparse.Namespace) -> None:
    """Accept the options of earlier versions, in which --json printed lines."""
    if args.configs:
        if not args.json or args.range:
            raise UserError("--configs is no longer needed; write --json alone")
        log("--json --configs is now --json alone, which prints one document")
    elif args.json and args.range is not None:
        log("--json --range is now called --jsonl --range")
        args.json, args.jsonl = False, True


def _write_text(recipes: Sequence[ResolvedRecipe], *, rows: int) -> None:
    _write_sets(recipes)
    sampled = [recipe for recipe in recipes if not recipe.is_combination]
    write()
    _write_sampling(sampled)
    names = {recipe.name for recipe in recipes}
    for recipe in sampled:
        write()
        _write_quantities(recipe, beside=names)
        _write_rows(recipe, rows)
    if len(sampled) > 1:
        write(f"\n{_total([one for one in sampled if one.same_images_as not in names])}")


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


def _write_rows_as_json(recipe: ResolvedRecipe, chosen: str | None) -> None:
    planned = plan(recipe)
    start, stop = parse_range(chosen, len(planned)) if chosen else (0, len(planned))
    for first in range(start, stop, _CHUNK):
        for row in planned.rows(first, min(first + _CHUNK, stop)):
            write_json(row.as_row(), indent=None)


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
        raise UserError(
            f"--range {text}: the config has images 0:{length}; give A:B with "
            f"0 <= A <= B <= {length}"
        )
    return start, stop


def _per_class(recipe: ResolvedRecipe) -> str:
    """Return the images per class, as lowest and highest number if they differ."""
    if recipe.is_union:
        return "-"
    least, most = min(recipe.class_counts), max(recipe.class_counts)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _write_sets(recipes: Sequence[ResolvedRecipe]) -> None:
    rows = [
        (
            recipe.name,
            f"{recipe.num_images:,}",
            str(len(recipe.labels)),
            _per_class(recipe),
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
    """Write the sampling settings as a table, one row per config."""
    texts = {one.name: sampling_texts(one, sampling_summary(one)) for one in recipes}
    limited = ["interval"] if any("interval" in own for own in texts.values()) else []
    keys = ("guidance", *limited, "steps", "scheduler", "size")
    rows = [
        (name, *(shorten(own.get(key, "all steps"), _WIDEST, placeholder=" …") for key in keys))
        for name, own in texts.items()
    ]
    write(table(rows, header=("config", *keys), align=f"lr{'r' * len(limited)}rlr"))


def _total(recipes: Sequence[ResolvedRecipe]) -> str:
    """Return the cost of all configs as one line, the time if the speed of each is known."""
    costs = [estimate(recipe) for recipe in recipes]
    text = f"total: {plural(sum(one.images for one in costs), 'image')}"
    devices = {one.speed.device for one in costs if one.speed}
    seconds = [one.seconds for one in costs if one.seconds is not None]
    if len(devices) > 1 or len(seconds) < len(costs):
        return text
    return f"{text}, about {duration(sum(seconds))} on {devices.pop()}"


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
        sampled = [row.variables[column.name] for row in sample]
        rows.append((column.name, column.quantity.describe(), measured(sampled)))
    sampling = recipe.sampling
    scales = [row.guidance_scale for row in sample]
    rows.append(("guidance_scale", sampling.guidance_scale.describe(), measured(scales)))
    if sampling.guidance_interval:
        rows.append(("guidance_interval", str(sampling.guidance_interval.numbers), ""))
    steps = [row.num_inference_steps for row in sample]
    rows.append(("num_inference_steps", sampling.num_inference_steps.describe(), measured(steps)))
    texts = sampling_texts(recipe, sampling_summary(recipe))
    rows += [(key, texts[key], "") for key in ("scheduler", "size", "output", "noise", "seed")]
    header = ("quantity", "value", f"in the first {len(sample):,} images")
    write(table(rows, header=header))
    write(f"cost: {_cost(recipe, beside)}")


def measured(sampled: Sequence[str | int | float | bool | None]) -> str:
    """Summarize sampled values: shares of a few values, or range and mean of numbers."""
    counts = Counter(sampled)
    if len(counts) == 1:
        return ""
    numbers = [float(v) for v in sampled if isinstance(v, int | float)]
    if len(counts) > _SHARES and len(numbers) == len(sampled):
        mean = sum(numbers) / len(numbers)
        return f"{min(numbers):.3g} to {max(numbers):.3g}, mean {mean:.3g}"
    parts = [f"{value} {count / len(sampled):.0%}" for value, count in counts.most_common(_SHARES)]
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
