"""Texts of `eval gap`: lines and tables for the terminal, and the note of the plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.coverage.figures import FEWEST
from factory.common.console import table

_SHOWN = 10
_HEADER = ("synthetic [95 %]", "real [95 %]", "difference [95 %]")


def plot_note(found: dict[str, Any]) -> str:
    """Return the text below the title of a plot."""
    return (
        f"t-SNE of {found['images_per_side']:,} images per side, {_space(found)}; two-sample "
        f"accuracy {found['two_sample']['accuracy']:.1%}, between two halves of the real images "
        f"{found['floor']['accuracy']:.1%}"
    )


def coverage_note(found: dict[str, Any]) -> str:
    """Return the text below the title of the plot of coverage."""
    return (
        f"{found['images_per_side']:,} images per side, {_space(found)}; real: other real images, "
        "as many as synthetic ones"
    )


def copies_warning(count: int, *, of: int) -> str | None:
    """Return a warning if synthetic images have the pixels of real ones, else None."""
    if not count:
        return None
    return (
        f"{count:,} of {of:,} synthetic images ({count / of:.1%}) have the pixels of a real image, "
        "so the figures do not describe generated images alone; check both datasets and remove "
        "the copies"
    )


def gap_text(found: dict[str, Any]) -> str:
    """Return the results of a dataset: one line, then tables."""
    quality = found["quality"]
    parts = [
        _line(found),
        f"{found['images_per_side']:,} images per side; real: the same figure between two halves "
        "of the real images",
        _figures(quality["figures"], ("synthetic", "real"), _HEADER),
    ]
    for column, groups in quality["groups"].items():
        parts.append(_groups(column, groups))
    return "\n\n".join(parts)


def comparison_text(found: dict[str, Any]) -> str:
    """Return the differences between two datasets, and which covers more of the real images."""
    names = {side: found[side] for side in ("one", "other")}
    header = [*(f"{name} [95 %]" for name in names.values()), "first minus second [95 %]"]
    coverage = found["figures"]["coverage"]
    more = found["covers_more"]
    verdict = (
        "neither covers more of the real images: the interval of the difference in coverage "
        "contains 0"
    )
    if more:
        less = "other" if more == "one" else "one"
        verdict = (
            f"{names[more]} covers more of the real images than {names[less]}: coverage "
            f"{coverage[more]['value']:.3f} and {coverage[less]['value']:.3f}"
        )
    return f"{_figures(found['figures'], ('one', 'other'), header)}\n\n{verdict}"


def _figures(figures: Mapping[str, Any], sides: Sequence[str], header: Sequence[str]) -> str:
    rows = [
        [
            name.replace("_", " "),
            *(_value(figure[side], ".3f") for side in sides),
            _value(figure["difference"], "+.3f"),
        ]
        for name, figure in figures.items()
    ]
    return table(rows, header=["figure", *header], align="lrrr")


def _groups(column: str, groups: Mapping[str, Any]) -> str:
    """Return the groups of a column: the ten that are covered least."""
    measured = {name: one for name, one in groups.items() if one["figures"] is not None}
    if not measured:
        return f"{column}: not measured, since no value has {FEWEST} images or more"
    shown = list(measured)
    if len(shown) > _SHOWN:
        shown = sorted(shown, key=lambda name: _coverage(measured[name]))[:_SHOWN]
    rows = [
        [
            name,
            f"{measured[name]['images']:,}",
            *(_value(measured[name]["figures"]["coverage"][side], ".3f") for side in _SIDES),
            _value(measured[name]["figures"]["coverage"]["difference"], "+.3f"),
            _share(measured[name]["two_sample"]),
        ]
        for name in shown
    ]
    left = len(groups) - len(shown)
    header = [column, "images", *(f"coverage, {one}" for one in _HEADER), "two-sample accuracy"]
    more = f"\n({left} more in gap.json; shown are those covered least)" if left else ""
    return table(rows, header=header, align="lrrrrr") + more


_SIDES = ("synthetic", "real")


def _coverage(group: dict[str, Any]) -> float:
    return float(group["figures"]["coverage"]["synthetic"]["value"])


def _space(found: dict[str, Any]) -> str:
    return f"{found['space']} of {Path(found['model']).name}"


def _line(found: dict[str, Any]) -> str:
    over, spread, probe = found["above_floor"], found["spread"], found["head"]
    varied = "unknown"
    if spread["ratio"] is not None:
        varied = f"{spread['ratio']:.2f} {_ends(spread, '.2f')}"
    known = ""
    if probe["synthetic"] is not None:
        known = (
            f"; accuracy of a linear probe trained on real images: {probe['real']['accuracy']:.1%} "
            f"on other real ones, {probe['synthetic']['accuracy']:.1%} on synthetic ones"
        )
    return (
        f"{found['synthetic']} and {found['real']}, {_space(found)} ({found['space_reason']}): "
        f"two-sample accuracy {_share(found['two_sample'])}, between two halves of the real images "
        f"{_share(found['floor'])}, difference {over['difference']:+.1%} {_ends(over, '+.1%')}; "
        f"spread within classes, synthetic over real: {varied}{known}"
    )


def _share(share: dict[str, Any] | None) -> str:
    return "unknown" if share is None else f"{share['accuracy']:.1%} {_ends(share, '.1%')}"


def _value(found: dict[str, Any], form: str) -> str:
    return "unknown" if found["value"] is None else f"{found['value']:{form}} {_ends(found, form)}"


def _ends(found: dict[str, Any], form: str) -> str:
    low, high = (
        "unknown" if found[end] is None else format(found[end], form) for end in ("low", "high")
    )
    return f"[{low}, {high}]"
