"""The text of `train --list-presets`."""

from __future__ import annotations

from typing import Any

from train.presets import PRESETS


def presets_text() -> str:
    """Describe every preset and its values, for `--list-presets`."""
    lines = []
    for name, preset in PRESETS.items():
        values = preset.hyperparameters.model_dump()
        augmentation = values.pop("augmentation")
        plain = type(preset.hyperparameters.augmentation)().model_dump()
        changed = {key: value for key, value in augmentation.items() if value != plain[key]}
        lines += [
            name,
            f"  {preset.summary}",
            f"  {_pairs(values)}",
            f"  augment: {_pairs(changed)}",
        ]
        for prefix, family in preset.families.items():
            own = {**family.hyperparameters, **family.model_args}
            lines.append(f"  models {prefix}...: {_pairs(own)}")
    return "\n".join(lines)


def _pairs(values: dict[str, Any]) -> str:
    shown = {}
    for key, value in values.items():
        if isinstance(value, tuple):
            shown[key] = ",".join(f"{part:.4g}" for part in value)
        elif value is not None:
            shown[key] = f"{value:g}" if isinstance(value, float) else str(value)
    return " ".join(f"{key}={value}" for key, value in shown.items())
