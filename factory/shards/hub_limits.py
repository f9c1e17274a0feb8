"""What the Hub takes of a dataset, so that nothing is sent that it would refuse in the end."""

from __future__ import annotations

from collections.abc import Iterator

from factory.common import console
from factory.common.errors import Fault
from factory.shards.manifest import FILE_NAME, Manifest
from factory.shards.parquet import shard_count
from factory.shards.settings import FixedSettings

MOST_FILES = 10_000
"""Of one folder (huggingface.co/docs/hub/repositories-recommendations)."""

MOST_CARD_BYTES = 1_000_000
"""Of a card: the Hub checks all of it before a commit and answers 413 to larger ones; it does not
say where it stops, cards of 1.4 MB are refused (huggingface/datasets issue 7392)."""


def fitting_shard_size(num_images: int, *, batch_size: int) -> int:
    """Return the smallest shard size, in whole batches, that the Hub's folders have room for."""
    least = -(-num_images // MOST_FILES)
    return -(-least // batch_size) * batch_size


def warn_of_many_shards(name: str, num_images: int, *, settings: FixedSettings) -> None:
    """Log before a build, while it can still be changed, that the Hub would refuse its shards.

    Args:
        name: Of the config.
        num_images: Of its own.
        settings: Of the dataset.
    """
    count = shard_count(num_images, shard_size=settings.shard_size)
    if count > MOST_FILES:
        size = fitting_shard_size(num_images, batch_size=settings.batch_size)
        console.log(
            f"warning: {name}: {count:,} shards, and the Hub takes {MOST_FILES:,} files in a "
            f"folder; to publish it, build with --shard-size {size} or more"
        )


def limit_faults(found: Manifest, card: bytes) -> Iterator[Fault]:
    """Yield what the Hub would refuse.

    Args:
        found: Of the dataset.
        card: As it would be sent.
    """
    for name, entry in found.configs.items():
        if len(entry.shards) > MOST_FILES:
            size = fitting_shard_size(entry.images, batch_size=found.settings.batch_size)
            yield Fault(
                f"{len(entry.shards):,} shards; the Hub takes {MOST_FILES:,} files in a folder: "
                f"build again into another directory with --shard-size {size} or more",
                file=FILE_NAME,
                key=f"configs.{name}",
            )
    if len(card) > MOST_CARD_BYTES:
        yield Fault(
            f"{len(card):,} bytes; the Hub takes cards of {MOST_CARD_BYTES:,}: use fewer configs, "
            f"shorter class names ({len(found.labels):,} classes) or shorter notes",
            file="README.md",
        )
