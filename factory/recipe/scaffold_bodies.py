"""The recipes that `factory new` writes, as plain values by name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from factory.models.embedded import EMBEDDED_ID
from factory.models.presets import find_preset
from factory.recipe.articles import article_of
from factory.recipe.model_files import settings_on_disk
from factory.recipe.schema import Model
from factory.recipe.styles import LOW_GUIDANCE, RECOMMENDED, Style

SUBTYPES = "subtypes"
ARTICLE = "article"
"""Variable of recipes with classes such as elephant: `a` or `an`."""
# As many as the study's CIFAR-10; of slower models fewer: a dataset can grow later.
_OF_EMBEDDED, _OF_OTHERS = 200, 100
_LARGEST_SIDE = 256
_SUMMARIES = {
    RECOMMENDED: "The class name in a plain sentence, guidance between 1.5 and 2.",
    SUBTYPES: "A subtype of the class in the prompt, sampled for each image.",
    "base-class": "The class name in a plain sentence.",
    "class-prompt": "The class name alone as prompt.",
    "multi-domain": "Several image domains for every class.",
    "random-guidance": "A guidance scale between 1 and 5, sampled for each image.",
    "all-combined": "The union of the paper's configs.",
}


def label_of(wording: str) -> str:
    """Return the label of a class as typed: spaces become `_`."""
    return "_".join(wording.split())


def is_embedded(model: str | None) -> bool:
    """Return whether a model is the embedded generator."""
    return (model or EMBEDDED_ID).partition("@")[0] == EMBEDDED_ID


def bodies_of(
    classes: Sequence[str],
    model: str | None,
    style: Style,
    subtypes: Mapping[str, Sequence[str]],
) -> dict[str, dict[str, Any]]:
    """Return the recipes by name: recommended, the paper's, subtypes."""
    own_style = style
    if articles := {label_of(name): "an" for name in classes if article_of(name) == "an"}:
        style = _with_article(style)
    model_id, _, revision = (model or EMBEDDED_ID).partition("@")
    preset = find_preset(model_id)
    if (Path(model_id) / "model_index.json").is_file():
        # The recipe is in another folder, where a relative path would not resolve.
        model_id = str(Path(model_id).resolve())
    own = preset.model() if preset else {"id": model_id}
    pinned = own | ({"revision": revision} if revision else {})
    sampling = preset.sampling() if preset else {"guidance_scale": 7.5, "num_inference_steps": 40}
    base = {
        "classes": [
            name if label_of(name) == name else {"label": label_of(name), "prompt": name}
            for name in classes
        ],
        "images_per_class": _OF_EMBEDDED if is_embedded(model) else _OF_OTHERS,
        "prompt": style.prompt,
        **({"variables": {ARTICLE: {"per_class": articles, "default": "a"}}} if articles else {}),
        "sampling": sampling | {"seed": 0},
        "model": pinned,
        "output": {
            "size": _side(model_id),
            "resample": "bilinear",
            "antialias": True,
            "format": "png",
        },
    }
    bodies = _paper_rows(base, style)
    # Models that read guidance as an input have another scale, for which nothing was measured.
    if preset is None or (preset.guided and preset.negative_prompt):
        low = {"extends": "base-class", "sampling": {"guidance_scale": _uniform(*LOW_GUIDANCE)}}
        bodies = {RECOMMENDED: low} | bodies
    if preset is not None and not preset.guided:
        del bodies["random-guidance"]
    bodies["all-combined"] = {"combine": [name for name in bodies if name != RECOMMENDED]}
    if subtypes:
        parent = next(iter(bodies))
        bodies[SUBTYPES] = _subtypes(classes, own_style, subtypes, parent=parent)
        if articles:
            # The article of a class need not be that of its subtypes.
            bodies[SUBTYPES]["variables"][ARTICLE] = None
    return {
        name: {"name": name, "summary": _SUMMARIES[name]} | body for name, body in bodies.items()
    }


def _paper_rows(base: dict[str, Any], style: Style) -> dict[str, dict[str, Any]]:
    """Return the rows of the paper's Table 1 that do not combine others."""
    child = {"extends": "base-class"}
    rows: dict[str, dict[str, Any]] = {
        "base-class": base,
        "class-prompt": child | {"prompt": "{class}"},
        "multi-domain": child
        | {"prompt": style.domains_prompt, "variables": {"domain": list(style.domains)}},
        "random-guidance": child | {"sampling": {"guidance_scale": _uniform(1, 5)}},
    }
    if "variables" in base:
        rows["class-prompt"]["variables"] = {ARTICLE: None}
    if not style.class_alone:
        del rows["class-prompt"]
    return rows


def _with_article(style: Style) -> Style:
    """Return a style whose prompts have a variable in place of the article of the class."""
    texts = (style.prompt, style.domains_prompt)
    prompt, domains = (text.replace("a {class}", f"{{{ARTICLE}}} {{class}}") for text in texts)
    return replace(style, prompt=prompt, domains_prompt=domains)


def _subtypes(
    classes: Sequence[str], style: Style, subtypes: Mapping[str, Sequence[str]], *, parent: str
) -> dict[str, Any]:
    """Return a config whose prompts name a subtype; of other classes the class itself."""
    per_class = {label_of(name): list(subtypes.get(label_of(name), [name])) for name in classes}
    return {
        "extends": parent,
        "prompt": style.prompt.replace("{class}", "{subtype}"),
        "variables": {"subtype": {"per_class": per_class}},
    }


def _uniform(low: float, high: float) -> dict[str, list[float]]:
    return {"uniform": [low, high]}


def _side(model_id: str) -> int:
    """Return the side of stored images: the model's own where it is known and smaller."""
    own = settings_on_disk(Model(id=model_id))
    return min(_LARGEST_SIDE, own.height or _LARGEST_SIDE, own.width or _LARGEST_SIDE)
