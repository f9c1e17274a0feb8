"""Regenerate a sample of a dataset and compare it: do the rows still describe their images?

Whole batches are generated as in the build. Images of an equal share are copies, so they are
compared with their originals.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from factory.common.storage import AnyPath
from factory.data import columns
from factory.inspection.compare import Regenerated
from factory.inspection.faults import SetFault
from factory.inspection.regenerate import Regenerator, batch_of, stored_rows
from factory.recipe.resolved import ResolvedRecipe
from factory.renderer.pool import RendererFactory
from factory.shards.layout import file_at
from factory.shards.manifest import ConfigEntry, Manifest
from factory.shards.parquet import Row


@dataclass(frozen=True)
class Sample:
    """Sample to regenerate, and accepted differences.

    Attributes:
        part: Share of all batches of each config, above 0 and at most 1; at least one batch.
        seed: Seed of the selection.
        tolerance: Largest accepted difference of a channel (0 to 255), for machines other than the
            dataset's.
        device: Device other than the dataset's, or None.
        allow_pickle: Whether to load pickled weights of models without safetensors.
        allow_local_model: Whether to load models and adapters on this machine.
        renderer_factory: Creates renderers; None for the recipes' diffusers models.
    """

    part: float
    seed: int = 0
    tolerance: int = 0
    device: str | None = None
    allow_pickle: bool = False
    allow_local_model: bool = False
    renderer_factory: RendererFactory | None = None

    def forgives(self, one: Regenerated) -> bool:
        """Return whether a regenerated image matches the stored one within the tolerance."""
        if self.tolerance:
            return one.max_difference <= self.tolerance
        return one.same_bytes


@dataclass(frozen=True)
class Comparison:
    """Result: faults, number of compared images, and differences between machines."""

    faults: list[SetFault]
    compared: int
    notes: list[str]


def compare_sample(
    out: AnyPath,
    found: Manifest,
    recipes: Mapping[str, ResolvedRecipe],
    *,
    sample: Sample,
    damaged: frozenset[str],
) -> Comparison:
    """Regenerate a sample and compare it with the stored images.

    Raises:
        UserError: The model or the device is unavailable.
    """
    regenerator = Regenerator(
        out,
        found,
        device=sample.device,
        allow_pickle=sample.allow_pickle,
        allow_local_model=sample.allow_local_model,
        renderer_factory=sample.renderer_factory,
    )
    faults: list[SetFault] = []
    compared = 0
    for name, recipe in recipes.items():
        entry = found.configs[name]
        for indexes in _batches(found, entry, sample) if entry.complete else ():
            file = _file(found, name, indexes.start)
            if file in damaged:
                continue
            if entry.kind == "set":
                for one in regenerator.batch(recipe, indexes.start):
                    compared += 1
                    if not sample.forgives(one):
                        what = f"image {one.spec.index} regenerated"
                        faults.append(SetFault(file, what, one.describe(), "identical bytes"))
            else:
                rows = stored_rows(out, found, name, indexes)
                compared += len(rows)
                faults += _copy_faults(out, found, file, rows, damaged)
    return Comparison(faults, compared, regenerator.notes())


def _batches(found: Manifest, entry: ConfigEntry, sample: Sample) -> Iterator[range]:
    """Yield the batches of a sample, in order."""
    settings = found.settings
    if not entry.images:
        return
    a_shard = math.ceil(settings.shard_size / settings.batch_size)
    full, rest = divmod(entry.images, settings.shard_size)
    count = full * a_shard + math.ceil(rest / settings.batch_size)
    wanted = min(count, max(1, round(count * sample.part)))
    for number in sorted(random.Random(sample.seed).sample(range(count), wanted)):
        shard, batch = divmod(number, a_shard)
        yield batch_of(
            shard * settings.shard_size + batch * settings.batch_size,
            num_images=entry.images,
            shard_size=settings.shard_size,
            batch_size=settings.batch_size,
        )


def _file(found: Manifest, name: str, index: int) -> str:
    return file_at(found, name, index // found.settings.shard_size)


def _copy_faults(
    out: AnyPath, found: Manifest, file: str, rows: Sequence[Row], damaged: frozenset[str]
) -> Iterator[SetFault]:
    """Yield the rows of an equal share that differ from their originals."""
    for row in rows:
        owner, index = row[columns.RECIPE], row[columns.INDEX]
        if owner not in found.configs or _file(found, owner, index) in damaged:
            continue
        original = stored_rows(out, found, owner, range(index, index + 1))
        if original != [row]:
            what = f"image {index} of {owner}"
            yield SetFault(file, what, "another row or image", f"the copy from {owner}")
