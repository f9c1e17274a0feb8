"""`replay`: one image of a set drawn again from its row alone, beside the one that is stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.errors import UserError
from factory.common.storage import AnyPath, open_path
from factory.data import columns
from factory.inspection.compare import Redrawn
from factory.inspection.redraw import Redrawer, stored_rows
from factory.shards.directory import require_config, require_set, stored_recipe
from factory.shards.manifest import Manifest

if TYPE_CHECKING:
    from PIL import Image

    from factory.renderer.pool import RendererFactory

# A difference of one step of 255 cannot be seen: the third picture shows it this much larger.
_GAIN = 16


@dataclass(frozen=True)
class Replay:
    """An image drawn again.

    Attributes:
        config: The set that drew it: of a combination's image, the member.
        redrawn: Both pictures, the row, and how they differ.
        alone: Whether it was drawn without the rows it was drawn with.
        notes: How this machine differs from the one that drew the set.
    """

    config: str
    redrawn: Redrawn
    alone: bool
    notes: tuple[str, ...]

    def sheet(self) -> Image.Image:
        """Return stored picture, drawn picture and their difference, side by side."""
        import numpy as np

        from factory.renderer.contact_sheet import contact_sheet

        one = self.redrawn
        gap = np.abs(one.stored.astype(np.int16) - one.drawn.astype(np.int16)) * _GAIN
        difference = np.minimum(gap, 255).astype(np.uint8)
        return contact_sheet(
            [[one.stored, one.drawn, difference]],
            column_labels=["stored", "drawn again", f"difference x {_GAIN}"],
            title=f"{self.config}, image {one.spec.index}: {one.describe()}",
        )


def replay(
    out: str | Path,
    *,
    config: str,
    index: int,
    alone: bool = False,
    device: str | None = None,
    allow_pickle: bool = False,
    renderer_factory: RendererFactory | None = None,
) -> Replay:
    """Draw one image of a set again.

    Args:
        out: The set's directory.
        config: A config of it.
        index: The image's place in the config, from 0; for a set its `index`.
        alone: Draw it without the rows of its batch: quicker, but its last digits depend on them.
        device: Another device than the set's.
        allow_pickle: Whether a model without safetensors may be read from pickles.
        renderer_factory: Makes what draws a recipe; by default its diffusers model.

    Raises:
        UserError: no such set, config or image, or the model or device cannot be had.
        Failure: a shard or picture is damaged.
    """
    place = open_path(out)
    found = require_set(place)
    require_config(place, found, config)
    owner, own_index = _origin(place, found, config, index)
    recipe = stored_recipe(place, owner)
    redrawer = Redrawer(
        place,
        found,
        device=device,
        allow_pickle=allow_pickle,
        renderer_factory=renderer_factory,
    )
    if alone:
        redrawn = redrawer.alone(recipe, own_index)
    else:
        batch = redrawer.batch(recipe, own_index)
        redrawn = next(one for one in batch if one.spec.index == own_index)
    return Replay(owner, redrawn, alone, tuple(redrawer.notes()))


def _origin(out: AnyPath, found: Manifest, config: str, index: int) -> tuple[str, int]:
    """Return the set that drew an image, and the image's index there."""
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
                "attempts): there is nothing to compare with"
            )
    (row,) = stored_rows(out, found, leaf, range(index, index + 1))
    return str(row[columns.RECIPE]), int(row[columns.INDEX])
