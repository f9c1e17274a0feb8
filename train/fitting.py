"""Preset values that the user's own values leave no room for.

One rule: a value that only the preset gives is fitted to the user's, and a line says so. Two values
of the user that contradict each other, or one that contradicts what the preset must keep, are
refused with both ways out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from factory.common.errors import Fault, UserError
from train.config import Hyperparameters


def fit_to_epochs(
    values: Hyperparameters, *, overrides: Mapping[str, Any], note: Callable[[str], None]
) -> Hyperparameters:
    """Shorten the preset's warm-up and interval of kept epochs where the run is too short for them.

    Args:
        values: The preset's values with the user's on top.
        overrides: What the user gave.
        note: Receives a line for each value that was changed.

    Raises:
        UserError: A value does not fit, and the preset's can't be shortened; all of them at once.
    """
    epochs, by_epoch = values.epochs, values.schedule_every == "epoch"
    changes: dict[str, float] = {}
    faults = []
    if values.warmup_epochs >= epochs:
        if "warmup_epochs" in overrides:
            faults.append(
                f"--warmup-epochs {values.warmup_epochs:g}: none of the {epochs} epochs is left at "
                "the full learning rate; lower --warmup-epochs, or raise --epochs"
            )
        else:
            # The rate changes only after whole epochs there.
            changes["warmup_epochs"] = epochs // 2 if by_epoch else epochs / 2
    elif by_epoch and values.warmup_epochs % 1:
        faults.append(
            f"--warmup-epochs {values.warmup_epochs:g}: with --schedule-every epoch the learning "
            "rate changes after whole epochs only; give a whole number"
        )
    if values.keep_every is not None and values.keep_every > epochs:
        if "keep_every" in overrides:
            faults.append(
                f"--keep-every {values.keep_every}: none of the {epochs} epochs would be kept; "
                "lower --keep-every, or raise --epochs"
            )
        else:
            changes["keep_every"] = epochs
    if faults:
        raise UserError([Fault(fault) for fault in faults])
    for name, value in changes.items():
        was, option = getattr(values, name), f"--{name.replace('_', '-')}"
        note(
            f"{epochs} epochs are too few for the preset's {option} {was:g}: "
            f"{option} {value:g} is used"
        )
    return values.model_copy(update=changes)


def fitted_augmentation(preset: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a preset's augmentation with the user's values on top.

    `crop_scale=1,1` is no crop: without a `crop_ratio` of the user's, the preset's goes with it.
    """
    merged = {**preset, **own}
    scale = merged["crop_scale"]
    whole = isinstance(scale, list | tuple) and list(scale) == [1, 1]
    if whole and "crop_scale" in own and "crop_ratio" not in own:
        merged["crop_ratio"] = (1.0, 1.0)
    return merged
