"""Adjust preset values that conflict with the user's values.

A value given only by the preset is adjusted to the user's, and a line reports it. Two values of the
user that contradict each other, or one that contradicts a value the preset must keep, are rejected
with both remedies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from factory.common.errors import Fault, UserError
from train.settings import Hyperparameters


def fit_to_epochs(
    values: Hyperparameters, *, overrides: Mapping[str, Any], note: Callable[[str], None]
) -> Hyperparameters:
    """Shorten the preset's warm-up and interval of saved epochs if the run is too short.

    Raises:
        UserError: A value does not fit, and the preset's cannot be shortened; all at once.
    """
    epochs, by_epoch = values.epochs, values.schedule_every == "epoch"
    changes: dict[str, float] = {}
    faults = []
    if values.warmup_epochs >= epochs:
        if "warmup_epochs" in overrides:
            faults.append(
                f"--warmup-epochs {values.warmup_epochs:g}: no epoch of --epochs {epochs} would "
                "use the full learning rate; lower --warmup-epochs, or raise --epochs"
            )
        else:
            # The rate changes only after whole epochs there.
            changes["warmup_epochs"] = epochs // 2 if by_epoch else epochs / 2
    elif by_epoch and values.warmup_epochs % 1:
        faults.append(
            f"--warmup-epochs {values.warmup_epochs:g}: with --schedule-every epoch the learning "
            "rate changes after whole epochs only; use a whole number"
        )
    if values.keep_every is not None and values.keep_every > epochs:
        if "keep_every" in overrides:
            faults.append(
                f"--keep-every {values.keep_every}: no epoch of --epochs {epochs} would be saved; "
                "lower --keep-every, or raise --epochs"
            )
        else:
            changes["keep_every"] = epochs
    if faults:
        raise UserError([Fault(fault) for fault in faults])
    for name, value in changes.items():
        was, option = getattr(values, name), f"--{name.replace('_', '-')}"
        short = "not longer" if name == "warmup_epochs" else "shorter"
        note(f"--epochs {epochs} is {short} than the preset's {option} {was:g}; using {value:g}")
    return values.model_copy(update=changes)


def fitted_augmentation(preset: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a preset's augmentation with the user's overrides.

    `crop_scale=1,1` is no crop: it also removes the preset's `crop_ratio`, unless the user sets
    one.
    """
    merged = {**preset, **own}
    scale = merged["crop_scale"]
    whole = isinstance(scale, list | tuple) and list(scale) == [1, 1]
    if whole and "crop_scale" in own and "crop_ratio" not in own:
        merged["crop_ratio"] = (1.0, 1.0)
    return merged
