"""`replay`: regenerate one image from its row and show it beside the stored image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.errors import UserError
from factory.common.storage import AnyPath, open_path
from factory.data import columns
from factory.inspection.compare import Regenerated
from factory.inspection.regenerate import Regenerator, stored_rows
from factory.shards.directory import require_config, require_set, stored_recipe
from factory.shards.manifest import Manifest

if TYPE_CHECKING:
    from PIL import Image

    from factory.renderer.pool import RendererFactory

# Differences of one step of 255 are invisible: the third image shows them multiplied.
_GAIN = 16


@dataclass(frozen=True)
class Replay:
    """A regenerated image.

    Attributes:
        config: Config that generated it; for a combination's image, the member.
        regenerated: Both images, the row, and their differences.
        alone: Whether it was generated without the rows of its batch.
        notes: Differences between this machine and the one that generated the dataset.
    """

    config: str
    regenerated: Regenerated
    alone: bool
    notes: tuple[str, ...]

    def sheet(self) -> Image.Image:
        """Return stored image, regenerated image and their difference, side by side."""
        import numpy as np

        from factory.renderer.contact_sheet import contact_sheet

        one = self.regenerated
        gap = np.abs(one.stored.astype(np.int16) - one.generated.astype(np.int16)) * _GAIN
        difference = np.minimum(gap, 255).astype(np.uint8)
        return contact_sheet(
            [[one.stored, one.generated, difference]],
            column_labels=["stored", "regenerated", f"difference x {_GAIN}"],
            title=f"{self.config}, image {one.spec.index}: {one.describe()}",
        )


def replay(
    out: str | Path,
    *,
    config: str | None = None,
    index: int,
    alone: bool = False,
    device: str | None = None,
    allow_pickle: bool = False,
    allow_local_model: bool = False,
    renderer_factory: RendererFactory | None = None,
) -> Replay:
    """Regenerate one image of a dataset.

    Args:
        out: Dataset directory.
        config: Its config; None for the only one.
        index: Position of the image in the config, from 0.
        alone: Generate it without the rows of its batch: faster, but rounding may differ.
        device: Device other than the dataset's.
        allow_pickle: Whether to load pickled weights of a model without safetensors.
        allow_local_model: Whether to load a model or adapter on this machine that the dataset's
            recipe names; the dataset should be your own.
        renderer_factory: Creates the renderer; default: the recipe's diffusers model.

    Raises:
        UserError: The dataset, config or image does not exist, or the model or device is
            unavailable.
        Failure: A shard or image is damaged.
    """
    place = open_path(out)
    found = require_set(place)
    config = config or _only_config(place, found)
    require_config(place, found, config)
    owner, own_index = _origin(place, found, config, index)
    recipe = stored_recipe(place, owner)
    regenerator = Regenerator(
        place,
        found,
        device=device,
        allow_pickle=allow_pickle,
        allow_local_model=allow_local_model,
        renderer_factory=renderer_factory,
    )
    if alone:
        regenerated = regenerator.alone(recipe, own_index)
    else:
        batch = regenerator.batch(recipe, own_index)
        regenerated = next(one for one in batch if one.spec.index == own_index)
    return Replay(owner, regenerated, alone, tuple(regenerator.notes()))


def _only_config(out: AnyPath, found: Manifest) -> str:
    if len(found.configs) > 1:
        raise UserError(f"{out}: has configs {', '.join(found.configs)}; choose one with --config")
    return next(iter(found.configs))


def _origin(out: AnyPath, found: Manifest, config: str, index: int) -> tuple[str, int]:
    """Return the config that generated an image, and the image's index in it."""
    images = sum(found.configs[leaf].images for leaf in found.leaves(config))
    if not 0 <= index < images:
        raise UserError(f"{out}: {config} has images 0 to {images - 1}, not {index}")
    for leaf in found.leaves(config):
        entry = found.configs[leaf]
        if index < entry.images:
            break
        index -= entry.images
    for image in entry.failed:
        if image.index == index:
            raise UserError(
                f"{out}: image {index} of {leaf} failed ({image.reason}, {image.attempts} "
                "attempts); there is no stored image to compare with"
            )
    (row,) = stored_rows(out, found, leaf, range(index, index + 1))
    return str(row[columns.RECIPE]), int(row[columns.INDEX])
