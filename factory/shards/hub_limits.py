"""Check a dataset against the limits of the Hub before anything is sent."""

from collections.abc import Iterator

from factory.common import console
from factory.common.errors import Fault
from factory.shards.manifest import FILE_NAME, Manifest
from factory.shards.parquet import shard_count
from factory.shards.settings import FixedSettings

MOST_FILES = 10_000
"""Maximum per folder (huggingface.co/docs/hub/repositories-recommendations)."""

MOST_CARD_BYTES = 1_000_000
"""Maximum for a card. The Hub answers 413 to larger ones without naming its limit; cards of 1.4 MB
are rejected (huggingface/datasets issue 7392).
"""


def fitting_shard_size(num_images: int, *, batch_size: int) -> int:
    """Return the smallest shard size, in whole batches, within the Hub's folder limit."""
    least = -(-num_images // MOST_FILES)
    return -(-least // batch_size) * batch_size


def warn_of_many_shards(name: str, num_images: int, *, settings: FixedSettings) -> None:
    """Warn before a build if it makes too many shards for the Hub."""
    count = shard_count(num_images, shard_size=settings.shard_size)
    if count > MOST_FILES:
        size = fitting_shard_size(num_images, batch_size=settings.batch_size)
        console.log(
            f"warning: {name}: {count:,} shards, but the Hub allows {MOST_FILES:,} files per "
            f"folder; to publish it, build with --shard-size {size} or more"
        )


def limit_faults(found: Manifest, card: bytes) -> Iterator[Fault]:
    """Yield the limits of the Hub that a dataset exceeds."""
    for name, entry in found.configs.items():
        if len(entry.shards) > MOST_FILES:
            size = fitting_shard_size(entry.images, batch_size=found.settings.batch_size)
            yield Fault(
                f"{len(entry.shards):,} shards; the Hub allows {MOST_FILES:,} files per folder: "
                f"build again into another directory with --shard-size {size} or more",
                file=FILE_NAME,
                key=f"configs.{name}",
            )
    if len(card) > MOST_CARD_BYTES:
        yield Fault(
            f"{len(card):,} bytes; the Hub allows {MOST_CARD_BYTES:,} per card: use fewer configs, "
            f"shorter class names ({len(found.labels):,} classes) or shorter notes",
            file="README.md",
        )
