"""Generate images once for several configs that store them differently.

When one of them generates a batch, the other configs' versions of it are kept in memory; they are
written next, by the same rank. Batches are looked up by their rows, so a config gets exactly the
images that it would have generated alone, or generates them itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from factory.common.image_arrays import ImageArray
    from factory.planner.plan import ImageSpec
    from factory.recipe.schema import Output

_Images = Sequence["ImageArray | None"]
# Fields of a row that determine its image; config name and class do not.
_Shown = tuple[str, str, float, int, int]
_Key = tuple["Output", int, tuple[_Shown, ...]]


@runtime_checkable
class RendersSeveral(Protocol):
    """Renderer that generates images once for several outputs."""

    def render_as(
        self, outputs: Sequence[Output], rows: Sequence[ImageSpec], *, batch_size: int
    ) -> list[list[ImageArray | None]]:
        """Generate the images of rows; see `factory.renderer.diffusers_renderer.Renderer.render`.

        Returns:
            The images of each output, in order.
        """
        ...


@dataclass(frozen=True)
class TwinRenderer:
    """Renderer for one of several configs with the same images, which share a memory.

    Attributes:
        renderer: Of this config.
        output: Of this config.
        others: Outputs of the other configs.
        memory: Images kept for configs that are written next; at most one shard.
    """

    renderer: RendersSeveral
    output: Output
    others: Sequence[Output]
    memory: dict[_Key, _Images]

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> _Images:
        """Return the rows' images, generated now or kept; see `diffusers_renderer.Renderer`."""
        shown = tuple(map(_shown, rows))
        found = self.memory.pop((self.output, batch_size, shown), None)
        if found is not None:
            return found
        outputs = [self.output, *self.others]
        own, *others = self.renderer.render_as(outputs, rows, batch_size=batch_size)
        for output, images in zip(self.others, others, strict=True):
            self.memory[output, batch_size, shown] = images
        return own


def _shown(row: ImageSpec) -> _Shown:
    return (
        row.prompt,
        row.negative_prompt,
        row.guidance_scale,
        row.num_inference_steps,
        row.seed,
    )
