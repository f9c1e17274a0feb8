"""Compare two synthetic datasets with the same real images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eval.coverage.figures import compared
from eval.coverage.groups import Part
from eval.gap import CLASS, above, share
from factory.common.errors import UserError

if TYPE_CHECKING:
    from eval.gap_steps import Measurement

SIDES = ("one", "other")
_SAME = ("real", "model", "space", "preprocessing", "images_per_side", "seed")


def compare(one: Measurement, other: Measurement) -> dict[str, Any]:
    """Return the differences between two datasets, with intervals, as plain data.

    Raises:
        UserError: They were not compared with the same images, in the same features.
    """
    _check_same(one, other)
    a, b = one.gap, other.gap
    parts = [side.quality for side in (a, b)]
    figures = compared(parts[0].whole.synthetic, parts[1].whole.synthetic, SIDES)
    within = [side.within(CLASS) for side in parts]
    names = [one.document["synthetic"], other.document["synthetic"]]
    if names[0] == names[1]:
        names = [one.document["source"], other.document["source"]]
    classes = {
        name: _differences(part, parts[1].groups[CLASS][name])
        for name, part in parts[0].groups[CLASS].items()
    }
    return {
        "format": "data-factory/gap-comparison",
        "format_version": 1,
        **dict(zip(SIDES, names, strict=True)),
        **{name: one.document[name] for name in _SAME},
        "covers_more": _covers_more(figures["coverage"]["difference"]),
        "figures": figures,
        "within_classes": _differences(*within),
        "two_sample": {
            **{name: share(side.gap) for name, side in zip(SIDES, (a, b), strict=True)},
            "difference": above(a.gap, b.gap, shared=a.is_shared),
        },
        "classes": classes,
    }


def _check_same(one: Measurement, other: Measurement) -> None:
    for name in _SAME:
        values = [side.document[name] for side in (one, other)]
        if values[0] != values[1]:
            raise UserError(
                f"these measurements cannot be compared: {name} is {values[0]} in one and "
                f"{values[1]} in the other; measure both with the same options"
            )
    if (one.sample.real != other.sample.real).any():
        raise UserError(
            "these measurements cannot be compared: they use other real images; measure both with "
            "the same options"
        )


def _differences(one: Part | None, other: Part | None) -> dict[str, Any] | None:
    if one is None or other is None:
        return None
    return compared(one.synthetic, other.synthetic, SIDES)


def _covers_more(difference: dict[str, Any]) -> str | None:
    """Return the side with the higher coverage; None if the interval contains 0."""
    if difference["value"] is None or difference["low"] <= 0 <= difference["high"]:
        return None
    return SIDES[0] if difference["value"] > 0 else SIDES[1]
