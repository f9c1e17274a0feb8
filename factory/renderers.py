"""Which renderer draws a recipe: models loaded once, the renderer of the recipe in hand kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from factory.models import Pipelines
    from factory.recipe import ResolvedRecipe
    from factory.render import Renderer

RendererFactory = Callable[["ResolvedRecipe"], "Renderer"]


class Renderers:
    """Makes renderers when they are first needed; shards come recipe by recipe."""

    def __init__(
        self, factory: RendererFactory | None, *, device: Any, allow_pickle: bool = False
    ) -> None:
        """Load nothing yet.

        Args:
            factory: Makes a recipe's renderer; None for its diffusers model.
            device: Where the models go.
            allow_pickle: Whether models without safetensors may be read from pickles.
        """
        self._factory = factory
        self._allow_pickle = allow_pickle
        self._device = device
        self._pipelines: Pipelines | None = None
        self._kept: tuple[str, Renderer] | None = None

    def get(self, recipe: ResolvedRecipe, *, dtype: str) -> Renderer:
        """Return the renderer of a recipe.

        Args:
            recipe: Names the model.
            dtype: Of the model's weights, e.g. `float32`.

        Raises:
            UserError: the model cannot be had.
        """
        if self._kept is None or self._kept[0] != recipe.fingerprint:
            self._kept = (recipe.fingerprint, self._make(recipe, dtype))
        return self._kept[1]

    def _make(self, recipe: ResolvedRecipe, dtype: str) -> Renderer:
        if self._factory is not None:
            return self._factory(recipe)
        import torch

        from factory.models import Pipelines
        from factory.render import DiffusersRenderer

        if self._pipelines is None:
            self._pipelines = Pipelines(
                device=self._device,
                dtype=getattr(torch, dtype),
                allow_pickle=self._allow_pickle,
            )
        return DiffusersRenderer(self._pipelines.get(recipe), recipe)
