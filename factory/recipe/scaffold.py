"""Write a folder of recipes from class names, for `factory new`.

A label becomes a column value and often a folder name, so spaces become `_`. The prompt keeps the
name as typed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from factory.common.errors import Fault, UserError
from factory.data.columns import CONFIG_NAME
from factory.models.embedded import EMBEDDED_ID
from factory.models.presets import find_preset
from factory.recipe.json_schema import schema_text
from factory.recipe.library import load_recipes
from factory.recipe.resolved import dump_yaml

_IMAGES_PER_CLASS = 100
_SCHEMA = "# yaml-language-server: $schema={schema}"

_HEADER = """\
{schema}
# Question: {question}
# Command: data-factory build {folder} out/{name}
# Images: {images:,} per class, {total:,} in total; `data-factory plan {folder}` estimates the cost.
"""
_EMBEDDED_LICENCE = """\
# Licence: the weights of the model `embedded` are for research only; they were trained on image
#   collections without clear licences. The package's own code is Apache-2.0.
"""

_QUESTIONS = {
    "base-class": "how good is a plain prompt? This is the baseline for the other configs.",
    "class-prompt": "is the class name alone better than a sentence?",
    "multi-domain": "are images in many domains better for training than photos alone?",
    "random-guidance": "does a guidance scale sampled for each image add useful diversity?",
    "all-combined": "are all configs together better than each alone? No image is generated twice.",
}
_SUMMARIES = {
    "base-class": "The class name in a plain sentence.",
    "class-prompt": "The class name alone as prompt.",
    "multi-domain": "Ten image domains for every class.",
    "random-guidance": "A guidance scale between 1 and 5, sampled for each image.",
    "all-combined": "The union of the other configs.",
}
DOMAINS = (
    "photo",
    "drawing",
    "painting",
    "sketch",
    "collage",
    "poster",
    "digital art image",
    "rock drawing",
    "stick figure",
    "3D rendering",
)


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


def label_of(wording: str) -> str:
    """Return the label of a class as typed: spaces become `_`."""
    return "_".join(wording.split())


def scaffold(
    name: str, *, classes: Sequence[str], out: Path, model: str | None = None
) -> list[Path]:
    """Write a folder of recipes.

    Returns:
        The files: recipes in reading order, then the schema.

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
    bodies = _bodies(classes, model)
    _refuse_faults(bodies, model)
    folder.mkdir(parents=True)
    paths = []
    for set_name, body in bodies.items():
        images = _IMAGES_PER_CLASS * (len(bodies) - 1 if set_name == "all-combined" else 1)
        header = _HEADER.format(
            schema=_SCHEMA.format(schema="schema.json"),
            question=_QUESTIONS[set_name],
            folder=folder.as_posix(),
            name=name,
            images=images,
            total=images * len(classes),
        )
        if _is_embedded(model):
            header += _EMBEDDED_LICENCE
        path = folder / f"{set_name}.yaml"
        path.write_text(header + dump_yaml(body), encoding="utf-8")
        paths.append(path)
    # Beside the recipes, where editors find it.
    schema = folder / "schema.json"
    schema.write_text(schema_text(), encoding="utf-8")
    return [*paths, schema]


def _refuse_faults(bodies: dict[str, dict[str, object]], model: str | None) -> None:
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


def _is_embedded(model: str | None) -> bool:
    return (model or EMBEDDED_ID).partition("@")[0] == EMBEDDED_ID


def _bodies(classes: Sequence[str], model: str | None) -> dict[str, dict[str, object]]:
    model_id, _, revision = (model or EMBEDDED_ID).partition("@")
    preset = find_preset(model_id)
    if (Path(model_id) / "model_index.json").is_file():
        # The recipe is in another folder, where a relative path would not resolve.
        model_id = str(Path(model_id).resolve())
    own = preset.model() if preset else {"id": model_id}
    pinned = own | ({"revision": revision} if revision else {})
    sampling = preset.sampling() if preset else {"guidance_scale": 7.5, "num_inference_steps": 40}
    base: dict[str, object] = {
        "classes": [
            name if label_of(name) == name else {"label": label_of(name), "prompt": name}
            for name in classes
        ],
        "images_per_class": _IMAGES_PER_CLASS,
        "prompt": "an image of a {class}",
        "sampling": sampling | {"seed": 0},
        "model": pinned,
        "output": {
            "size": 64 if _is_embedded(model) else 256,
            "resample": "bilinear",
            "antialias": True,
            "format": "png",
        },
    }
    child: dict[str, object] = {"extends": "base-class"}
    bodies: dict[str, dict[str, object]] = {
        "base-class": base,
        "class-prompt": child | {"prompt": "{class}"},
        "multi-domain": child
        | {"prompt": "a {domain} of a {class}", "variables": {"domain": list(DOMAINS)}},
        "random-guidance": child | {"sampling": {"guidance_scale": {"uniform": [1, 5]}}},
    }
    if preset is not None and not preset.guided:
        del bodies["random-guidance"]
    bodies["all-combined"] = {"combine": list(bodies)}
    return {
        name: {"name": name, "summary": _SUMMARIES[name]} | body for name, body in bodies.items()
    }
