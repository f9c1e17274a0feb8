"""Read how the images of a dataset were sampled, from the manifest beside them.

A training records it, so that runs on images of other settings are not averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from factory.common.dataset_files import MANIFEST
from factory.common.errors import UserError
from factory.common.local_paths import is_inside
from factory.common.untrusted_files import read_json
from factory.data.open import OpenedDataset

HeldOutKind = Literal["synthetic", "training"]

SamplingRecord = dict[str, dict[str, Any]]
"""By config: guidance, steps, model, scheduler, sizes and noise, without the base seed."""


def sampling_of(opened: OpenedDataset) -> SamplingRecord | None:
    """Return how the images of a dataset were sampled.

    Returns:
        The settings of the config, or of each member of a combination; those that the manifest
        lacks are left out. None for datasets without a manifest.
    """
    if opened.home is None:
        return None
    path = opened.home / MANIFEST
    if not (path.is_file() and is_inside(path, opened.home)):
        return None
    try:
        configs = _mapping(_mapping(read_json(path)).get("configs"))
    except UserError:
        # A manifest of another program.
        return None
    entry = _mapping(configs.get(opened.config_name))
    if not entry:
        return None
    members = entry.get("members") or [opened.config_name]
    found = {
        str(name): _mapping(_mapping(configs.get(name)).get("sampling"))
        for name in members
        if isinstance(name, str)
    }
    return {
        name: {key: value for key, value in one.items() if key != "seed"}
        for name, one in found.items()
        if one
    }


def held_out_kind(data: Mapping[str, Any]) -> HeldOutKind:
    """Return the name for the images that a run held out, from `data` of its `config.yaml`.

    Only a manifest shows that images are synthetic. Without one they may be photos, also in runs
    of versions that recorded no sampling; of several datasets, some may be photos.
    """
    generated = data.get("sampling") is not None and not data.get("sources")
    return "synthetic" if generated else "training"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
