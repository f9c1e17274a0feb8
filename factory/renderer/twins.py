"""Sets that show the same images and keep them differently: drawn once, kept several times.

While one of them draws, what the others would keep of the same call is made too and remembered;
their turn comes next, on the same rank. A batch is remembered by its rows, so a set gets the
pictures it would have drawn alone, or draws them itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from factory.common.pictures import Picture
    from factory.planner.plan import ImageSpec
    from factory.recipe.schema import Output

_Pictures = Sequence["Picture | None"]
# What of a row decides its picture; its set's name and its class do not.
_Shown = tuple[str, str, float, int, int]
_Key = tuple["Output", int, tuple[_Shown, ...]]


@runtime_checkable
class RendersSeveral(Protocol):
    """Draws rows once and keeps them in several ways."""

    def render_as(
        self, outputs: Sequence[Output], rows: Sequence[ImageSpec], *, batch_size: int
    ) -> list[list[Picture | None]]:
        """Draw the rows; see `factory.renderer.diffusers_renderer.Renderer.render`.

        Returns:
            The pictures of each output, in order.
        """
        ...


class TwinMemory:
    """What was kept for sets whose turn has not come yet; a shard's worth at most."""

    def __init__(self) -> None:
        self._pictures: dict[_Key, _Pictures] = {}

    def take(self, key: _Key) -> _Pictures | None:
        """Return what is remembered, and forget it; None for nothing."""
        return self._pictures.pop(key, None)

    def put(self, key: _Key, pictures: _Pictures) -> None:
        """Remember pictures."""
        self._pictures[key] = pictures

    def clear(self) -> None:
        """Forget everything."""
        self._pictures.clear()


class TwinRenderer:
    """Draws for one set of several that show the same images."""

    def __init__(
        self,
        renderer: RendersSeveral,
        output: Output,
        *,
        others: Sequence[Output],
        memory: TwinMemory,
    ) -> None:
        """Join a group.

        Args:
            renderer: Of this set.
            output: What this set keeps.
            others: What the other sets of the group keep.
            memory: Shared by the group.
        """
        self._renderer = renderer
        self._output = output
        self._others = list(others)
        self._memory = memory

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> _Pictures:
        """Return the rows' images, generated now or remembered; see `Renderer.render`."""
        shown = tuple(map(_shown, rows))
        found = self._memory.take((self._output, batch_size, shown))
        if found is not None:
            return found
        outputs = [self._output, *self._others]
        own, *others = self._renderer.render_as(outputs, rows, batch_size=batch_size)
        for output, pictures in zip(self._others, others, strict=True):
            self._memory.put((output, batch_size, shown), pictures)
        return own


def _shown(row: ImageSpec) -> _Shown:
    return (
        row.prompt,
        row.negative_prompt,
        row.guidance_scale,
        row.num_inference_steps,
        row.seed,
    )
