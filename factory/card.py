"""The card of a set, `README.md`: what people read, and what `load_dataset` reads.

The YAML header lists the configs. Each entry carries a fingerprint of its shards: `load_dataset` of
a local directory caches by this header alone, so without it a set that was grown or drawn anew
would give its old rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from factory.existing import RECIPES
from factory.manifest import GateEntry, Manifest
from factory.shards import DATA, fingerprint
from factory.storage import AnyPath, local_copy, write_text

if TYPE_CHECKING:
    from factory.recipe import ResolvedRecipe

FILE_NAME = "README.md"
_TEMPLATE = "set.md.jinja"
_MANY = 5
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
)


def write_card(out: AnyPath, manifest: Manifest) -> None:
    """Write the card of a set; configs that are not complete are left out.

    Args:
        out: The set's directory, with `recipes/`.
        manifest: With shards and hashes.
    """
    write_text(out / FILE_NAME, card_text(out, manifest))


def card_text(out: AnyPath, manifest: Manifest) -> str:
    """Return the card's text: YAML header and body."""
    from factory.library import load_recipe, packaged_dir

    names = manifest.in_order()
    with local_copy(out / RECIPES) as folder:
        recipes = {name: load_recipe(folder / f"{name}.yaml") for name in names}
    template = _environment(packaged_dir("dataset_cards")).get_template(_TEMPLATE)
    text: str = template.render(
        header=header(manifest), **_contents(manifest, [recipes[name] for name in names])
    )
    return text


def header(manifest: Manifest) -> str:
    """Return the card's YAML header, without the lines of dashes."""
    import yaml

    fields = {
        "pretty_name": _title(manifest.labels),
        "license": "other",
        "license_name": "model-terms",
        "task_categories": ["image-classification"],
        "size_categories": [_size_category(_num_stored(manifest))],
        "tags": ["synthetic", "diffusers", "text-to-image", "data-factory"],
        "configs": _config_entries(manifest),
    }
    text: str = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=120)
    return text


def _config_entries(manifest: Manifest) -> list[dict[str, Any]]:
    entries = []
    for place, name in enumerate(manifest.in_order()):
        leaves = manifest.leaves(name)
        paths = [f"{DATA}/{leaf}/train-*.parquet" for leaf in leaves]
        hashes = [shard.sha256 for leaf in leaves for shard in manifest.configs[leaf].shards]
        entry: dict[str, Any] = {"config_name": name}
        if place == 0:
            entry["default"] = True
        entry["description"] = f"shards {fingerprint(hashes)}"
        entry["data_files"] = [{"split": "train", "path": paths if len(paths) > 1 else paths[0]}]
        entries.append(entry)
    return entries


def _contents(manifest: Manifest, recipes: Sequence[ResolvedRecipe]) -> dict[str, Any]:
    """Return what the template's body is filled with."""
    drawn = [recipe for recipe in recipes if not recipe.is_combination]
    return {
        "title": _title(manifest.labels),
        "num_images": _num_stored(manifest),
        "labels": list(manifest.labels),
        "variables": [name for name in manifest.variables if name not in manifest.measured],
        "gates": [_gate(gate) for gate in manifest.gates.values()],
        "configs": [_config_row(manifest, recipe) for recipe in recipes],
        "combinations": [
            {"name": recipe.name, "text": _combination(manifest, recipe.name)}
            for recipe in recipes
            if recipe.is_combination
        ],
        "distributions": [
            {"config": recipe.name, "variable": name, "text": variable.describe()}
            for recipe in drawn
            for name, variable in sorted(recipe.variables.items())
        ],
        "provenance": [_provenance(recipe) for recipe in drawn],
        "failed": [
            {
                "config": recipe.name,
                "count": len(manifest.configs[recipe.name].failed),
                "reasons": ", ".join(
                    sorted({one.reason for one in manifest.configs[recipe.name].failed})
                ),
            }
            for recipe in recipes
            if manifest.configs[recipe.name].failed
        ],
        "models": list(dict.fromkeys(recipe.model.id for recipe in drawn)),
        "settings": manifest.settings.as_dict(),
        "device": manifest.device,
        "versions": manifest.versions,
    }


def _gate(gate: GateEntry) -> dict[str, str]:
    revision = f" at {gate.revision[:12]}" if gate.revision else ""
    limits = [f"{name} {value:g}" for name, value in gate.thresholds.items()]
    return {
        "columns": ", ".join(f"`{name}`" for name in gate.columns),
        "method": gate.method,
        "model": f"{gate.model}{revision}" if gate.model else "",
        "limits": ", ".join(limits),
    }


def _config_row(manifest: Manifest, recipe: ResolvedRecipe) -> dict[str, Any]:
    images = manifest.num_images(recipe.name)
    row = {
        "name": recipe.name,
        "images": images,
        "images_per_class": images // len(manifest.labels),
        "summary": recipe.summary,
        "source": recipe.source,
        "prompt": "",
        "guidance_scale": "",
        "num_inference_steps": "",
    }
    if recipe.is_combination:
        return row
    return row | {
        "prompt": _prompts(recipe),
        "guidance_scale": recipe.sampling.guidance_scale.describe(),
        "num_inference_steps": recipe.sampling.num_inference_steps.describe(),
    }


def _prompts(recipe: ResolvedRecipe) -> str:
    total = sum(one.weight for one in recipe.prompt)
    if len(recipe.prompt) == 1:
        return recipe.prompt[0].text
    shown = [f"{one.text} ({one.weight / total:.0%})" for one in recipe.prompt[:_MANY]]
    more = [f"and {len(recipe.prompt) - _MANY} more"] if len(recipe.prompt) > _MANY else []
    return "; ".join([*shown, *more])


def _combination(manifest: Manifest, name: str) -> str:
    entry = manifest.configs[name]
    members = ", ".join(f"`{member}`" for member in entry.members)
    if entry.kind == "union":
        return f"reads the files of {members}."
    return f"holds copies of rows of {members}, the same number of each."


def _provenance(recipe: ResolvedRecipe) -> dict[str, str]:
    model, output = recipe.model, recipe.output
    own = model.height is None and model.width is None
    drawn = "the model's own size" if own else f"{model.width} x {model.height}"
    kept = "as drawn" if output.shape is None else f"{output.shape[1]} x {output.shape[0]}"
    smooth = ", anti-aliased" if output.antialias else ""
    how = "" if output.shape is None else f", {output.resample}{smooth}"
    return {
        "config": recipe.name,
        "model": model.id,
        "revision": model.revision or "",
        "scheduler": model.scheduler or "the model's own",
        "drawn": drawn,
        "kept": f"{kept}{how}, {output.format}",
    }


def _title(labels: Sequence[str]) -> str:
    """Name a set by its classes: a directory's name would change with every copy."""
    shown = ", ".join(label.replace("_", " ") for label in labels[:3])
    more = f" and {len(labels) - 3} more" if len(labels) > 3 else ""
    return f"Synthetic images: {shown}{more}"


def _num_stored(manifest: Manifest) -> int:
    return sum(entry.rows for entry in manifest.configs.values() if entry.complete)


def _size_category(images: int) -> str:
    return next((name for limit, name in _SIZES if images < limit), "n>1T")


def _environment(folder: AnyPath) -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    return environment


def _cell(value: object) -> str:
    """Make text safe inside a line or table cell of Markdown."""
    text = " ".join(str(value).split())
    for mark in ("\\", "|", "`", "<", "*", "_"):
        text = text.replace(mark, f"\\{mark}")
    return text
