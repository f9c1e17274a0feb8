"""What a card says of the models that drew a set: licence and known limits.

`dataset_cards/models.yaml` is the list; a model that is not in it is named with a word to read its
terms, and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from pydantic import BaseModel, ConfigDict

from factory.common.yaml_reader import read
from factory.recipe.paths import packaged_dir

_FILE = "models.yaml"


class KnownModel(BaseModel):
    """A model's entry in the list.

    Attributes:
        license: As the Hub writes it.
        license_name: What it is called, where that is `other`.
        link: Where the terms stand.
        note: What its own card says of its limits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    license: str
    license_name: str = ""
    link: str = ""
    note: str = ""


@cache
def _known() -> dict[str, KnownModel]:
    listed = read(packaged_dir("dataset_cards") / _FILE).plain()
    return {name: KnownModel.model_validate(entry) for name, entry in listed.items()}


def licence_of(model_id: str) -> str:
    """Return a model's licence for people, Markdown."""
    known = _known().get(model_id)
    if known is None:
        return "see the model's own card"
    name = known.license_name or known.license
    return f"[{name}]({known.link})" if known.link else name


def note_of(model_id: str) -> str:
    """Return what is known of a model's limits, or nothing."""
    known = _known().get(model_id)
    return known.note if known else ""


def licence_fields(model_ids: Sequence[str]) -> dict[str, object]:
    """Return the licence part of a card's metadata: the models' licences, if all are known."""
    known = [_known().get(name) for name in model_ids]
    names = list(dict.fromkeys(one.license for one in known if one is not None))
    if None in known or not names:
        return {"license": "other", "license_name": "model-terms"}
    fields: dict[str, object] = {"license": names[0] if len(names) == 1 else names}
    others = [one.license_name for one in known if one is not None and one.license_name]
    return fields | ({"license_name": others[0]} if others else {})
