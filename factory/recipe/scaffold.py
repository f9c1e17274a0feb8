"""Write a folder of recipes from class names, for `factory new`.

A label becomes a column value and often a folder name, so spaces become `_`. The prompt keeps the
name as typed.
"""

import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from factory.common.errors import Fault, UserError
from factory.common.text import suggest
from factory.data.columns import CONFIG_NAME
from factory.models.embedded import EMBEDDED_ID
from factory.recipe.json_schema import schema_text
from factory.recipe.library import load_recipes
from factory.recipe.resolved import dump_yaml
from factory.recipe.scaffold_bodies import SUBTYPES, bodies_of, is_embedded, label_of
from factory.recipe.styles import RECOMMENDED, STYLES, Style, readme_text

_SCHEMA = "# yaml-language-server: $schema={schema}"

_HEADER = """\
{schema}
# Question: {question}
# Command: data-factory build {name}/{config}.yaml out/{name}
# Images: {images:,} per class, {total:,} in total; `data-factory plan {name}/{config}.yaml`
#   estimates the cost.
"""
_EMBEDDED_LICENCE = """\
# Licence: the weights of the model `embedded` are for research only; they were trained on image
#   collections without clear licences. The package's own code is Apache-2.0.
"""

_QUESTIONS = {
    RECOMMENDED: "is low guidance better than that of base-class? Start with this config.",
    SUBTYPES: "do subtypes in the prompt make images of a class more varied? Not measured.",
    "base-class": "how good is a plain prompt? This is the baseline for the other configs.",
    "class-prompt": "is the class name alone better than a sentence?",
    "multi-domain": "are images in many domains better for training than photos alone?",
    "random-guidance": "does a guidance scale sampled for each image add useful diversity?",
    "all-combined": "are the paper's configs together better than each alone? It adds no images.",
}


def class_names(given: Sequence[str]) -> list[str]:
    """Return class names with single spaces.

    Raises:
        UserError: There are none, or one is given twice.
    """
    names = [" ".join(one.split()) for one in given if one.strip()]
    if not names:
        raise UserError('--class: no class is named; write e.g. --class heron --class "crane bird"')
    labels = [label_of(name) for name in names]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise UserError(f"--class: {', '.join(twice)} is given twice; remove one")
    return names


def parse_subtypes(given: Sequence[str], *, classes: Sequence[str]) -> dict[str, list[str]]:
    """Return the subtypes of classes, by label.

    Args:
        given: Texts `CLASS=A,B`.
        classes: Class names as typed.

    Raises:
        UserError: A text has another form, or its class does not exist or is given twice.
    """
    labels, found = {label_of(name) for name in classes}, dict[str, list[str]]()
    for text in given:
        name, _, listed = text.partition("=")
        label = label_of(name)
        names = [" ".join(one.split()) for one in listed.split(",") if one.strip()]
        if not names:
            raise UserError(f'--subtypes {text}: write CLASS=A,B, e.g. "bird=goose,black stork"')
        if label not in labels:
            hint = suggest(label, sorted(labels))
            raise UserError(f"--subtypes {text}: no class {label!r}; {hint}")
        if label in found:
            raise UserError(f"--subtypes: {label} is given twice; write all its subtypes in one")
        found[label] = names
    return found


def scaffold(
    name: str,
    *,
    classes: Sequence[str],
    out: Path,
    model: str | None = None,
    style: str = "photo",
    subtypes: Mapping[str, Sequence[str]] | None = None,
) -> list[Path]:
    """Write a folder of recipes.

    Args:
        name: Name of the folder.
        classes: Class names as typed, each once.
        out: Parent of the new folder.
        model: `ID` or `ID@REVISION`; default: the embedded generator.
        style: A key of `STYLES`.
        subtypes: Names of subtypes by label, for a config of their own.

    Returns:
        The files: recipes in reading order, then the schema and the README.

    Raises:
        UserError: The name is not a valid folder name, or the folder exists. Nothing is written.
    """
    if not CONFIG_NAME.fullmatch(name):
        raise UserError(
            f"name {name!r} cannot name a folder; use letters, digits, '.', '_' and '-'"
        )
    folder = out / name
    if folder.exists():
        raise UserError(f"{folder} exists; nothing is overwritten: choose another name, or --out")
    bodies = bodies_of(classes, model, STYLES[style], subtypes or {})
    _refuse_faults(bodies, model)
    folder.mkdir(parents=True)
    paths = []
    for set_name, body in bodies.items():
        path = folder / f"{set_name}.yaml"
        header = _header(set_name, bodies, folder=folder, style=STYLES[style], model=model)
        path.write_text(header + dump_yaml(body), encoding="utf-8")
        paths.append(path)
    # Beside the recipes, where editors find it.
    schema = folder / "schema.json"
    schema.write_text(schema_text(), encoding="utf-8")
    readme = folder / "README.md"
    text = readme_text(
        list(bodies),
        classes=classes,
        folder=folder,
        generator=model or EMBEDDED_ID,
        note=STYLES[style].note,
    )
    readme.write_text(text, encoding="utf-8")
    return [*paths, schema, readme]


def _header(
    set_name: str,
    bodies: Mapping[str, dict[str, Any]],
    *,
    folder: Path,
    style: Style,
    model: str | None,
) -> str:
    """Return the comments above a recipe."""
    base, members = bodies["base-class"], bodies[set_name].get("combine", [set_name])
    images = base["images_per_class"] * len(members)
    header = _HEADER.format(
        schema=_SCHEMA.format(schema="schema.json"),
        question=_QUESTIONS[set_name],
        name=folder.name,
        config=set_name,
        images=images,
        total=images * len(base["classes"]),
    )
    if set_name == RECOMMENDED:
        text = f"Measured: {style.measured}"
        lines = textwrap.wrap(text, width=98, subsequent_indent="  ", break_on_hyphens=False)
        header += "".join(f"# {line}\n" for line in lines)
    return header + (_EMBEDDED_LICENCE if is_embedded(model) else "")


def _refuse_faults(bodies: dict[str, dict[str, Any]], model: str | None) -> None:
    """Load the recipes from a temporary folder first, so that only valid recipes are written."""
    with tempfile.TemporaryDirectory() as elsewhere:
        for set_name, body in bodies.items():
            (Path(elsewhere) / f"{set_name}.yaml").write_text(dump_yaml(body), encoding="utf-8")
        try:
            load_recipes(elsewhere)
        except UserError as error:
            place = "--model" if any(f.key == "model.id" for f in error.faults) else "--class"
            messages = dict.fromkeys(fault.message for fault in error.faults)
            raise UserError([Fault(message, file=place) for message in messages]) from None
