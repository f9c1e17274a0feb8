"""Create and cache renderers: models are loaded once, renderers of current recipes are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from factory.common.devices import torch_threads
from factory.common.imports import without_garbage_collection
from factory.renderer.out_of_memory import reporting_large_model
from factory.renderer.twins import RendersSeveral, TwinRenderer

if TYPE_CHECKING:
    from factory.models.inference import InferenceSettings
    from factory.recipe.model_files import PipelineSettings
    from factory.recipe.resolved import ResolvedRecipe
    from factory.recipe.text_encoders import TextEncoder
    from factory.renderer.diffusers_renderer import Renderer
    from factory.renderer.pipelines import Pipelines

RendererFactory = Callable[["ResolvedRecipe"], "Renderer"]


def pipeline_settings(renderer: Renderer) -> PipelineSettings | None:
    """Return the settings of a renderer's pipeline; None without a pipeline."""
    found: PipelineSettings | None = getattr(renderer, "pipeline_settings", None)
    return found


def text_encoders(renderer: Renderer) -> list[TextEncoder]:
    """Return the text encoders of a renderer's pipeline; none without a pipeline."""
    found: list[TextEncoder] = getattr(renderer, "text_encoders", [])
    return found


def rendering_threads(renderer: Renderer, count: int) -> AbstractContextManager[None]:
    """Return a block in which PyTorch has a number of threads, for calls of a renderer.

    PyTorch is not imported for a renderer whose `uses_torch` is False.
    """
    return torch_threads(count) if getattr(renderer, "uses_torch", True) else nullcontext()


class Renderers:
    """Creates renderers on first use; shards are processed recipe by recipe."""

    def __init__(
        self,
        factory: RendererFactory | None,
        *,
        device: Any,
        allow_pickle: bool = False,
        offload: str | None = None,
    ) -> None:
        """Store the options; nothing is loaded yet.

        Args:
            factory: Creates a recipe's renderer; None for its diffusers model.
            device: Device of the models.
            allow_pickle: Whether to load pickled weights of models without safetensors.
            offload: How to use models that are larger than the device's memory; see `place`.
        """
        self._factory = factory
        self._allow_pickle = allow_pickle
        self._device = device
        self._offload = offload
        self._pipelines: Pipelines | None = None
        self._kept: dict[tuple[str, InferenceSettings], Renderer] = {}
        self._group: Sequence[ResolvedRecipe] = ()
        self._memory: dict[Any, Any] = {}

    def get(self, recipe: ResolvedRecipe, inference: InferenceSettings) -> Renderer:
        """Return the renderer of a recipe with the settings.

        A launch that begins a dataset may load a model before another one records its settings.

        Raises:
            UserError: The model cannot be loaded.
        """
        key = recipe.fingerprint, inference
        renderer = self._kept.get(key)
        if renderer is None:
            in_hand = {one.fingerprint for one in self._group}
            self._kept = {name: one for name, one in self._kept.items() if name[0] in in_hand}
            renderer = self._kept[key] = self._make(recipe, inference)
        others = [one.output for one in self._group if one.fingerprint != recipe.fingerprint]
        if (
            not others
            or len(others) == len(self._group)
            or not isinstance(renderer, RendersSeveral)
        ):
            return renderer
        return TwinRenderer(renderer, recipe.output, others=others, memory=self._memory)

    @contextmanager
    def together(self, recipes: Sequence[ResolvedRecipe]) -> Iterator[None]:
        """Generate images shared by several recipes only once, inside the block.

        Args:
            recipes: Recipes with the same `images_fingerprint`; their shards of one range are made
                one after the other.
        """
        self._group = recipes
        try:
            yield
        finally:
            self._group = ()
            self._memory.clear()

    def _make(self, recipe: ResolvedRecipe, inference: InferenceSettings) -> Renderer:
        if self._factory is not None:
            return self._factory(recipe)
        with without_garbage_collection():
            from factory.renderer.diffusers_renderer import DiffusersRenderer
            from factory.renderer.pipelines import Pipelines

        if self._pipelines is None:
            self._pipelines = Pipelines(
                device=self._device, allow_pickle=self._allow_pickle, offload=self._offload
            )
        with reporting_large_model(recipe.model.id):
            pipeline = self._pipelines.get(recipe, inference)
        return DiffusersRenderer(pipeline, recipe, inference)
