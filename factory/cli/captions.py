"""`factory captions RECIPE --llm MODEL`: let a language model write captions for prompts."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from factory.cli.arguments import RECIPE_HELP
from factory.common import console
from factory.common.devices import find_device
from factory.common.errors import UserError
from factory.common.options import (
    add_device,
    add_json,
    add_out,
    add_quiet,
    add_seed,
    check_file,
    made,
    option,
    positive,
)
from factory.common.whole_files import replace_text
from factory.recipe.caption_writer import KINDS, Captions, Kind, write_captions
from factory.recipe.library import load_recipes

if TYPE_CHECKING:
    from factory.models.instruct import InstructModel

_DESCRIPTION = """\
Write a table of captions for each class, to be used in prompts like "a photo of a {class},
{context}": contexts, subtypes or definitions. Lines that repeat an earlier one or name another
class are left out. This prepares a recipe: a build reads the table, whose hash the recipe stores,
and no model.
"""
_PROMPTS: dict[Kind, str] = {
    "contexts": "a photo of a {class}, {context}",
    "subtypes": "a photo of a {class}, {subtype}",
    "definitions": "a photo of a {class}, {definition}",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = _DESCRIPTION
    add = partial(option, parser)
    parser.add_argument("recipe", metavar="RECIPE", help=RECIPE_HELP)
    add("--llm ID[@REVISION]", "instruct model of transformers, Hub id or directory", required=True)
    add(
        "--kind KIND",
        'contexts: phrases such as "in deep snow at dusk"; subtypes: names such as "tabby cat"; '
        "definitions: one sentence each (default: contexts)",
        choices=KINDS,
        default="contexts",
    )
    add("--per-class N", "captions of each class", positive, required=True)
    add("--any-class", "write one list of contexts for all classes; the model is given no class")
    add_out(parser, "FILE", "the table, .csv", required=True)
    add_seed(parser, "the sampled texts")
    add_device(parser)
    add_json(parser, "out, kind, model, revision, sha256, captions, left_out, recipe")
    add_quiet(parser)


def run(args: argparse.Namespace) -> None:
    """Ask the model, write the table, and print the lines of the recipe that use it."""
    out: Path = args.out
    check_file("--out", out)
    if out.suffix.lower() != ".csv":
        raise UserError(f"--out {out}: is written as CSV; end the name in .csv")
    if out.exists():
        raise UserError(f"--out {out}: exists, and a recipe may use it; name another file")
    if args.any_class and args.kind != "contexts":
        raise UserError(
            f"--any-class: {args.kind} belong to a class; leave it out, or choose --kind contexts"
        )
    recipe = load_recipes(args.recipe)[0]

    from factory.models.instruct import load_instruct

    model = load_instruct(args.llm, option="--llm", device=str(find_device(args.device)))
    found = []
    total = 1 if args.any_class else len(recipe.classes)
    with console.progress(total, unit="class", description="captions") as bar:
        for captions in write_captions(
            recipe,
            lambda request: model.reply(
                request.text,
                example=request.example,
                most_tokens=request.most_tokens,
                seed=request.seed,
            ),
            kind=args.kind,
            count=args.per_class,
            seed=args.seed,
            of_any_class=args.any_class,
        ):
            found.append(captions)
            bar.update()
    replace_text(made(out), _table(found, model))
    _report(args, found, model)


def _table(found: list[Captions], model: InstructModel) -> str:
    """Return the table as CSV: `label` (unless for any class), `text` and the model of each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    labels = found[0].label is not None
    writer.writerow([*(["label"] if labels else []), "text", "written_by"])
    for one in found:
        for line in one.texts:
            by = f"{Path(model.name).name}@{model.revision}"
            writer.writerow([*([one.label] if labels else []), line, by])
    return text.getvalue()


def _report(args: argparse.Namespace, found: list[Captions], model: InstructModel) -> None:
    from factory.distributions.caption_texts import captions_of
    from factory.distributions.captions import CaptionSource

    label = None if args.any_class else "label"
    place = CaptionSource(file=str(args.out), label_column=label).place
    sha256 = captions_of(place, sha256=None).sha256
    left_out = sum((one.left_out for one in found), Counter[str]())
    count = sum(len(one.texts) for one in found)
    by_class = "" if args.any_class else "label_column: label, "
    where = f"file: {json.dumps(str(args.out))}, {by_class}"
    lines = [
        f'prompt: "{_PROMPTS[args.kind]}"',
        "variables:",
        f"  {args.kind.removesuffix('s')}: {{captions: {{{where}sha256: {sha256}}}}}",
    ]
    if args.json:
        console.write_json(
            {
                "out": str(args.out),
                "kind": args.kind,
                "model": model.name,
                "revision": model.revision,
                "sha256": sha256,
                "captions": count,
                "left_out": dict(left_out),
                "recipe": "\n".join(lines),
            }
        )
        return
    reasons = ", ".join(f"{number} {reason}" for reason, number in left_out.most_common())
    console.write(f"{args.out}: {count} {args.kind}; lines left out: {reasons or 'none'}")
    console.write("use them in a recipe:")
    for line in lines:
        console.write(f"  {line}")
