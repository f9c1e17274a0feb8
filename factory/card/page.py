"""The card of a dataset, `README.md`, written from manifest, recipes and a template.

`factory.card.header` makes the header, `factory.card.facts` the facts about recipes, and
`factory.card.images` the images.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from factory.card.facts import contents, model_ids, title
from factory.card.header import built_fields, config_entries, general_fields, to_yaml
from factory.card.images import PLOTS, write_images
from factory.card.scores import Score, kept_scores
from factory.common import card_notes, console
from factory.common.card_notes import FILE_NAME
from factory.common.dataset_files import SHEET
from factory.common.markup import cell, code, table_cell
from factory.common.storage import AnyPath, write_bytes, write_text
from factory.data.columns import TEMPLATE
from factory.recipe.paths import packaged_dir
from factory.recipe.resolved import ResolvedRecipe
from factory.shards.directory import stored_recipes
from factory.shards.manifest import GateEntry, Manifest

__all__ = ["FILE_NAME", "at_home", "config_entries", "facts", "render", "write_card"]

REPLACED = ".README.replaced.md"
"""Copy of a card that people had changed before `write_card` replaced it; a hidden file.

Later copies are numbered: `.README.replaced-2.md`.
"""
_TEMPLATE = "set.md.jinja"
_LOCATION = "path/to/this/directory"
_HUB_NOTE = " On the Hub, use the repository id instead of the directory."
_HUB_NOTES = (_HUB_NOTE, " Once the set is on the Hub, its id stands in place of the directory.")
"""Also as older versions wrote it."""
_LOADING = re.compile(rb"^## Load it\r?$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_PLACES = (re.compile(rb'(load_dataset\(")[^"]*'), re.compile(rb'(create_dataset\("hfds/)[^"]*'))


def write_card(
    out: AnyPath, manifest: Manifest, known: Mapping[str, ResolvedRecipe] | None = None
) -> None:
    """Write the card of a dataset and its images, without incomplete configs.

    Args:
        out: The dataset's directory. Scores in `scores.json` are shown.
        manifest: Manifest with shards and hashes.
        known: Recipes by config, as they are stored; others are read from `recipes/`.
    """
    known = dict(known or {})
    if unknown := [name for name in manifest.in_order() if name not in known]:
        known |= stored_recipes(out, unknown)
    recipes = [known[name] for name in manifest.in_order()]
    images = write_images(out, manifest, [one for one in recipes if not one.is_combination])
    scores = kept_scores(out, manifest)
    body = _text(manifest, recipes, images=images, scores=scores)
    _replace(out, body)


def _replace(out: AnyPath, body: str) -> None:
    """Write a card with the notes of the existing one.

    Text that people write between the last check and the rename, some milliseconds, is lost: no
    file system can replace a file only if it is unchanged.
    """
    path = out / FILE_NAME
    seen = None
    while (there := _bytes_of(path)) != seen:
        seen, notes = there, _kept_notes(out, there, body)
    write_text(path, card_notes.write_card(body, notes))


def _bytes_of(path: AnyPath) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _kept_notes(out: AnyPath, replaced: bytes, body: str) -> str:
    """Return the notes of the existing card; keep a copy of the card if people changed it."""
    old = card_notes.read_card(replaced.decode(errors="replace"))
    if replaced and not old.body_sealed and not card_notes.same_body(old.body, body):
        name = _keep(out, replaced)
        console.log(
            f"{out / FILE_NAME} was edited by hand and is replaced; the edited text is saved as "
            f"{name}. Notes below the line `{card_notes.LINE} ... -->` are kept"
        )
    return old.notes


def _keep(out: AnyPath, replaced: bytes) -> str:
    """Write a copy beside earlier ones; return its name."""
    for number in itertools.count(1):
        name = REPLACED if number == 1 else REPLACED.replace(".md", f"-{number}.md")
        if _bytes_of(out / name) == replaced:
            return name
        if write_bytes(out / name, replaced, exclusive=True):
            return name
    raise AssertionError("there is always another name")


def at_home(content: bytes, repo_id: str) -> bytes:
    """Return a card for the Hub: its section "Load it" names the repository.

    Args:
        content: A card. Other sections, and text that people added, stay unchanged.
        repo_id: `ORG/NAME`, in place of a directory or of the repository it was downloaded from.
    """

    def moved(found: re.Match[bytes]) -> bytes:
        section = found[0]
        for note in _HUB_NOTES:
            section = section.replace(note.encode(), b"")
        for place in _PLACES:
            section = place.sub(lambda one: one[1] + repo_id.encode(), section, count=1)
        return section

    return _LOADING.sub(moved, content, count=1)


def render(header: Mapping[str, Any], filled: Mapping[str, Any]) -> str:
    """Fill the template."""
    template = environment(packaged_dir("dataset_cards")).get_template(_TEMPLATE)
    text: str = template.render(header=to_yaml(dict(header)), **filled)
    return text


def facts(manifest: Manifest) -> list[str]:
    """Return the lines about settings, device and versions of the build."""

    def joined(values: Mapping[str, object]) -> str:
        pairs = (f"{table_cell(name)} {table_cell(value)}" for name, value in values.items())
        return ", ".join(pairs)

    return [
        f"- Settings: {joined(manifest.settings.as_dict())}",
        f"- Device: {table_cell(manifest.device)}",
        *([f"- Offload: {table_cell(', '.join(manifest.offload))}"] if manifest.offload else []),
        *(f"- Versions: {joined(one)}" for one in manifest.versions),
    ]


def _gate(gate: GateEntry) -> dict[str, str]:
    revision = f" at {gate.revision[:12]}" if gate.revision else ""
    limits = [f"{name} {value:g}" for name, value in gate.thresholds.items()]
    return {
        "columns": ", ".join(f"`{code(name)}`" for name in gate.columns),
        "method": gate.method,
        "model": f"{gate.model}{revision}" if gate.model else "",
        "limits": ", ".join(limits),
    }


def _text(
    manifest: Manifest,
    recipes: Sequence[ResolvedRecipe],
    *,
    images: Sequence[str],
    scores: Sequence[Score],
) -> str:
    stored = sum(entry.rows for entry in manifest.configs.values() if entry.complete)
    general = general_fields(manifest.labels, models=model_ids(recipes), num_images=stored)
    counts = {recipe.name: manifest.num_images(recipe.name) for recipe in recipes}
    sampling = {name: entry.sampling for name, entry in manifest.configs.items()}
    filled = contents(recipes, counts, sampling=sampling) | {
        "title": title(manifest.labels),
        "num_images": stored,
        "location": _LOCATION,
        "hub_note": _HUB_NOTE,
        "planned": None,
        "sheet": SHEET if SHEET in images else None,
        "plots": PLOTS if PLOTS in images else None,
        "scores": scores,
        "gates": [_gate(gate) for gate in manifest.gates.values()],
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
        "facts": facts(manifest),
    }
    if TEMPLATE in manifest.variables:
        filled["variables"] = sorted({*filled["variables"], TEMPLATE})
    return render(general | built_fields(manifest), filled)


@cache
def environment(folder: Path) -> Any:
    """Return the templates of a folder, with filters `cell` and `code` that escape text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
    )
    environment.filters.update(cell=cell, code=code)
    return environment
