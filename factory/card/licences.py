"""Licences and known limits of models, from `dataset_cards/models.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from pydantic import BaseModel, ConfigDict

from factory.common.yaml_reader import read
from factory.recipe.paths import packaged_dir

_FILE = "models.yaml"


class KnownModel(BaseModel):
    """A model's entry in the list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    license: str
    license_name: str = ""
    link: str = ""
    note: str = ""


@cache
def _known() -> dict[str, KnownModel]:
    """Return the listed models by id; for others a card refers to the model's own card."""
    listed = read(packaged_dir("dataset_cards") / _FILE).plain()
    return {name: KnownModel.model_validate(entry) for name, entry in listed.items()}


def licence_name(model_id: str) -> str:
    """Return the name of a model's licence, or an empty text."""
    known = _known().get(model_id)
    return (known.license_name or known.license) if known else ""


def licence_of(model_id: str) -> str:
    """Return a model's licence as Markdown."""
    known, name = _known().get(model_id), licence_name(model_id)
    if known is None:
        return "see the model's own card"
    return f"[{name}]({known.link})" if known.link else name


def note_of(model_id: str) -> str:
    """Return the known limits of a model, or an empty text."""
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
