"""Guidance and steps of a run's training images, as its config.yaml records them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from eval.scores_file import Scores

NOT_RECORDED = "not recorded"
_QUANTITIES = ("guidance_scale", "num_inference_steps")


def quantity_text(value: Any) -> str:
    """Return a number or a distribution of a recipe as text: `7.5`, `1 to 5`."""
    ends = value["uniform"] if isinstance(value, dict) and list(value) == ["uniform"] else [value]
    if isinstance(ends, list) and all(_is_printable(one) for one in ends):
        return " to ".join(f"{one:g}" for one in ends)
    return json.dumps(value)


def interval_text(sampling: Mapping[str, Any]) -> str:
    """Return the guided part of the steps, to append to the guidance; empty for all steps."""
    interval = sampling.get("guidance_interval")
    return f" (interval {json.dumps(interval)})" if interval else ""


def _is_printable(value: Any) -> bool:
    # An integer of a stranger's file may be larger than any float.
    return isinstance(value, int | float) and abs(value) < 1e300


def is_recorded(training: Mapping[str, Any] | None) -> bool:
    """Return whether a run says how its images were sampled, or that it does not know.

    Runs of older versions do not; real images have no record to say.
    """
    data = (training or {}).get("data") or {}
    return not data or ("sampling" in data and data["sampling"] != {})


def sampling_settings(training: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the record of each config, with guidance and steps as texts."""
    record = (training.get("data") or {}).get("sampling") or {}
    return {
        name: {key: quantity_text(one) if key in _QUANTITIES else one for key, one in own.items()}
        for name, own in record.items()
    }


def guidance_and_steps(group: Sequence[Scores]) -> tuple[str, str]:
    """Return guidance and steps of the images of some runs; empty for real images."""
    guidance, steps = (
        ", ".join(dict.fromkeys(text for one in group for text in _texts(one.training, key)))
        for key in _QUANTITIES
    )
    return guidance, steps


def _texts(training: dict[str, Any] | None, key: str) -> list[str]:
    if not is_recorded(training):
        return [NOT_RECORDED]
    return [
        own[key] + (interval_text(own) if key == "guidance_scale" else "")
        for own in sampling_settings(training or {}).values()
        if key in own
    ]
