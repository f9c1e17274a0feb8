"""Rows to pixels: one renderer for every stock text-to-image pipeline of diffusers.

The pipeline's public call does the work. What is added around it: many images a call with a
guidance scale and a generator each, prompts encoded once, rescaling on the device, and batches
whose shape never changes. The pixels of an image depend a little on the batch it is drawn in
(float32 sums are ordered differently), so a short batch is padded to its full size, and rows with
different `num_inference_steps` are drawn in padded groups.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from factory.recipe.model_files import PipelineSettings
from factory.recipe.text_encoders import TextEncoder, encoders_of_pipeline
from factory.renderer.capabilities import require_able
from factory.renderer.guidance import GuidancePerImage, guidance_as_input, takes_guidance_as_input
from factory.renderer.prompt_encoder import PromptEncoder
from factory.renderer.resize import rescale

if TYPE_CHECKING:
    from factory.common.pictures import Picture
    from factory.planner.plan import ImageSpec
    from factory.recipe.resolved import ResolvedRecipe
    from factory.recipe.schema import Output


class Renderer(Protocol):
    """Draws rows of a plan."""

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> Sequence[Picture | None]:
        """Draw the rows, in order.

        Args:
            rows: At most `batch_size` of them: one batch of a shard.
            batch_size: The size every call of the network is padded to.

        Returns:
            A picture a row; None where the model drew values that are not numbers.
        """
        ...


class DiffusersRenderer:
    """Draws with a diffusers pipeline."""

    def __init__(self, pipeline: Any, recipe: ResolvedRecipe) -> None:
        """Prepare to draw a recipe's rows.

        Args:
            pipeline: As `factory.renderer.pipelines.Pipelines` loads it: on its device, with the
                recipe's scheduler.
            recipe: Says the sizes: what the model draws and what is kept.
        """
        self._pipeline = pipeline
        self._recipe = recipe
        require_able(pipeline, recipe)
        self._prompts = PromptEncoder(pipeline)
        self._guidance_is_input = takes_guidance_as_input(pipeline)
        self._guided = recipe.sampling.guidance_scale.bounds()[1] > 1
        # Not rounded to the sizes a model was trained with: the recipe says what it wants.
        accepted = inspect.signature(type(pipeline).__call__).parameters
        binned = "use_resolution_binning" in accepted
        self._exactly = {"use_resolution_binning": False} if binned else {}
        self._latent_shape = latent_shape(pipeline, recipe.model.height, recipe.model.width)

    @property
    def pipeline_settings(self) -> PipelineSettings:
        """Scheduler and variant of the weights in use, and the size of images without one given."""
        scheduler = type(self._pipeline.scheduler).__name__
        variant: str | None = getattr(self._pipeline, "weights_variant", None)
        shape = latent_shape(self._pipeline, None, None)
        if shape is None:
            return PipelineSettings(scheduler, variant=variant)
        factor = self._pipeline.vae_scale_factor
        return PipelineSettings(scheduler, shape[1] * factor, shape[2] * factor, variant)

    @property
    def text_encoders(self) -> list[TextEncoder]:
        """How many tokens each of the pipeline's text encoders reads."""
        return encoders_of_pipeline(self._pipeline)

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[Picture | None]:
        """Draw the rows, in order; see `Renderer`."""
        return self.render_as([self._recipe.output], rows, batch_size=batch_size)[0]

    def render_as(
        self, outputs: Sequence[Output], rows: Sequence[ImageSpec], *, batch_size: int
    ) -> list[list[Picture | None]]:
        """Draw the rows once and keep them in several ways; see `factory.renderer.twins`."""
        pictures: list[dict[int, Picture | None]] = [{} for _ in outputs]
        for places in self._groups(rows):
            group = [rows[place] for place in places]
            padded = [*group, *[group[-1]] * (batch_size - len(group))]
            images = self._draw(padded)[: len(group)]
            finite = torch.isfinite(images).flatten(1).all(dim=1).tolist()
            for output, kept in zip(outputs, pictures, strict=True):
                found = rescale(images.nan_to_num(), output)
                for place, good, picture in zip(places, finite, found, strict=True):
                    kept[place] = picture if good else None
        return [[kept[place] for place in range(len(rows))] for kept in pictures]

    def _groups(self, rows: Sequence[ImageSpec]) -> Iterable[list[int]]:
        """Split the places of a batch by what all images of one call must share.

        Groups stand in order of first appearance.
        """
        groups: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(row.num_inference_steps, []).append(place)
        return groups.values()

    def _draw(self, rows: Sequence[ImageSpec]) -> Tensor:
        """Return images in 0..1, float32, shape (batch, 3, height, width), on the device."""
        generators = [torch.Generator("cpu").manual_seed(row.seed) for row in rows]
        texts = self._prompts.arguments([(row.prompt, row.negative_prompt) for row in rows])
        with self._guidance([row.guidance_scale for row in rows]) as guidance_scale:
            images = self._pipeline(
                **texts,
                **self._latents(generators),
                **self._exactly,
                height=self._recipe.model.height,
                width=self._recipe.model.width,
                guidance_scale=guidance_scale,
                num_inference_steps=rows[0].num_inference_steps,
                generator=generators,
                output_type="pt",
            ).images
        return torch.as_tensor(images).float()

    @contextmanager
    def _guidance(self, scales: Sequence[float]) -> Iterator[Any]:
        """Yield what the call gets for `guidance_scale`: an image a number, either way."""
        if self._guidance_is_input:
            with guidance_as_input(self._pipeline, scales):
                yield scales[0]
        else:
            yield GuidancePerImage(scales, always_guided=self._guided)

    def _latents(self, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
        """Draw the starting noise in float32, whatever the dtype of the model.

        Left to the pipeline, a bfloat16 model would start from noise that was drawn with 8 bits.
        """
        if self._latent_shape is None:
            return {}
        noise = [torch.randn((1, *self._latent_shape), generator=one) for one in generators]
        return {
            "latents": torch.cat(noise).to(self._pipeline._execution_device, self._pipeline.dtype)
        }


def latent_shape(
    pipeline: Any, height: int | None, width: int | None
) -> tuple[int, int, int] | None:
    """Return (channels, height, width) of one image's latents; None where they are packed.

    Args:
        pipeline: A text-to-image pipeline.
        height: In pixels; None for the pipeline's own.
        width: In pixels; None for the pipeline's own.
    """
    network: Any = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    size = getattr(getattr(network, "config", None), "sample_size", None)
    factor = getattr(pipeline, "vae_scale_factor", None)
    if hasattr(pipeline, "_pack_latents") or size is None or factor is None:
        return None
    own_height, own_width = (size, size) if isinstance(size, int) else size
    return (
        network.config.in_channels,
        height // factor if height else own_height,
        width // factor if width else own_width,
    )
