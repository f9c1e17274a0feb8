"""`index.json` of a shared folder of recipes, and the README of a repository of them.

The index describes each recipe with its fingerprint at the time of the push: recipes can be listed
without loading them, and a recipe that resolves differently is noticed.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from factory.common.errors import UserError
from factory.common.frozen import Frozen
from factory.common.untrusted_files import read_json
from factory.recipe.resolved import ResolvedRecipe

MARK = "data-factory-recipes"
_FORMAT = "data-factory/recipes"
_FORMAT_VERSION = 1
_TEMPLATE = "recipes.md.jinja"


class IndexEntry(Frozen):
    """A recipe of the folder."""

    name: str
    file: str
    summary: str
    source: str
    num_classes: int
    images_per_class: int | None
    model: str
    fingerprint: str


def entry_of(recipe: ResolvedRecipe, file: str) -> IndexEntry:
    """Describe a recipe."""
    model = recipe.model
    named = f"{model.id}@{model.revision}" if model.revision else model.id
    return IndexEntry(
        name=recipe.name,
        file=file,
        summary=recipe.summary,
        source=recipe.source,
        num_classes=len(recipe.classes),
        images_per_class=recipe.images_per_class,
        model="" if recipe.is_combination else named,
        fingerprint=recipe.fingerprint,
    )


def index_text(entries: Sequence[IndexEntry]) -> str:
    """Return the text of an index."""
    content = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "recipes": [entry.model_dump() for entry in entries],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def read_index(path: Path, *, shown: str) -> list[IndexEntry]:
    """Read an index.

    Raises:
        UserError: It is not an index of this version.
    """
    try:
        content = read_json(path, shown=shown)
        if (content["format"], content["format_version"]) != (_FORMAT, _FORMAT_VERSION):
            raise ValueError(f"format {content['format']} {content['format_version']}")
        return [IndexEntry.model_validate(entry) for entry in content["recipes"]]
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{shown}: is not a recipe index of this version ({reason}); push the folder again"
        ) from None


def readme_text(repo_id: str, folders: Mapping[str, Sequence[IndexEntry]]) -> str:
    """Return the README of a repository of recipes.

    Args:
        repo_id: `ORG/NAME`.
        folders: Entries by the folder's name, without `recipes/`; empty if its index cannot be
            read. At least one folder has entries.
    """
    from factory.card.page import environment
    from factory.recipe.paths import packaged_dir

    template = environment(packaged_dir("dataset_cards")).get_template(_TEMPLATE)
    listed = [{"name": name, "entries": folders[name]} for name in sorted(folders)]
    text: str = template.render(
        repo_id=repo_id,
        mark=MARK,
        folders=listed,
        example=next(folder for folder in listed if folder["entries"]),
    )
    return text
