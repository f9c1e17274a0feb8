"""Size, filter and crop of the images that pretrained weights were trained on.

Weights see best what they were trained on: a run without other wishes uses the same input, and one
with other values reports both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from train.settings import Hyperparameters

_FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")


def with_input_of_weights(
    values: Hyperparameters,
    model: str,
    *,
    chosen: Collection[str] | None,
    note: Callable[[str], None],
) -> Hyperparameters:
    """Return the values of a run that starts from a model's own weights.

    Args:
        values: Values of the preset and the options.
        model: timm model name, or `local-dir:` or `hf-hub:` and a place.
        chosen: Fields that options set: the others are those of the weights. None if the user chose
            the preset: nothing is changed.
        note: Called with a line for each difference that remains, or was made.

    Raises:
        UserError: The model's folder has no readable configuration.
    """
    own = input_of_weights(model)
    if chosen is not None:
        taken = {key: one for key, one in own.items() if key not in chosen}
        changed = {key: one for key, one in taken.items() if getattr(values, key) != one}
        if changed:
            note(f"{model}: input as its weights were trained: {_text(changed)}")
        values = values.model_copy(update=taken)
    different = {key: one for key, one in own.items() if getattr(values, key) != one}
    if different:
        used = {key: getattr(values, key) for key in different}
        note(
            f"warning: the weights of {model} were trained with {_text(different)}; this run uses "
            f"{_text(used)}"
        )
    return values


def input_of_weights(model: str) -> dict[str, Any]:
    """Return image size, filter and test crop of a model's weights, as far as they are known.

    Raises:
        UserError: The model's folder has no readable configuration.
    """
    config = _config(model)
    size: tuple[int, ...] = tuple(config.get("input_size") or ())
    found = {
        "image_size": size[-1] if len(size) == 3 and size[1] == size[2] else None,
        "resample": config.get("interpolation"),
        "test_crop": config.get("crop_pct"),
    }
    if found["resample"] not in _FILTERS:
        del found["resample"]
    return {key: one for key, one in found.items() if one is not None}


def _config(model: str) -> dict[str, Any]:
    from timm.models import get_pretrained_cfg

    from factory.models.model_folder import read_model_folder
    from train.model import own_folder

    folder = own_folder(model)
    if folder is not None:
        return read_model_folder(folder, model)[0].pretrained_cfg.model_dump(exclude_none=True)
    config = get_pretrained_cfg(model, allow_unregistered=True)
    return config.to_dict() if config else {}


def _text(values: dict[str, Any]) -> str:
    texts: dict[str, Callable[[Any], str]] = {
        "image_size": lambda one: f"{one} px" if one else "the size of the images",
        "resample": str,
        "test_crop": lambda one: f"test crop {one:g}",
    }
    return ", ".join(texts[key](one) for key, one in values.items())
