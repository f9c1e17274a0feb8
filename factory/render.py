"""Rows to pixels: one renderer for every stock text-to-image pipeline of diffusers.

The pipeline's public call does the work. What is added around it: many images a call with a
guidance scale and a generator each, prompts encoded once, rescaling on the device, and batches
whose shape never changes. The pixels of an image depend a little on the batch it is drawn in
(float32 sums are ordered differently), so a short batch is padded to its full size, and rows with
different `num_inference_steps` are drawn in padded groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from factory.errors import UserError
from factory.guidance import GuidancePerImage, takes_guidance_as_input
from factory.prompts import PromptEncoder
from factory.rescale import rescale

if TYPE_CHECKING:
    from factory.planner import ImageSpec
    from factory.recipe import ResolvedRecipe

Picture = npt.NDArray[np.uint8]
"""RGB, shape (height, width, 3)."""


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
            pipeline: As `factory.models.Pipelines` loads it: on its device, with the recipe's
                scheduler.
            recipe: Says the sizes: what the model draws and what is kept.
        """
        self._pipeline = pipeline
        self._recipe = recipe
        _check_size(recipe)
        self._prompts = PromptEncoder(pipeline)
        self._guidance_is_input = takes_guidance_as_input(pipeline)
        self._guided = recipe.sampling.guidance_scale.bounds()[1] > 1
        self._latent_shape = latent_shape(pipeline, recipe.model.height, recipe.model.width)

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[Picture | None]:
        """Draw the rows, in order; see `Renderer`."""
        pictures: dict[int, Picture | None] = {}
        for places in self._groups(rows):
            group = [rows[place] for place in places]
            padded = [*group, *[group[-1]] * (batch_size - len(group))]
            images = self._draw(padded)[: len(group)]
            finite = torch.isfinite(images).flatten(1).all(dim=1)
            kept = rescale(images.nan_to_num(), self._recipe.output)
            for place, good, picture in zip(places, finite.tolist(), kept, strict=True):
                pictures[place] = picture if good else None
        return [pictures[place] for place in range(len(rows))]

    def _groups(self, rows: Sequence[ImageSpec]) -> Iterable[list[int]]:
        """Split the places of a batch by what all images of one call must share.

        Groups stand in order of first appearance.
        """
        groups: dict[tuple[int, float | None], list[int]] = {}
        for place, row in enumerate(rows):
            shared = row.guidance_scale if self._guidance_is_input else None
            groups.setdefault((row.num_inference_steps, shared), []).append(place)
        return groups.values()

    def _draw(self, rows: Sequence[ImageSpec]) -> Tensor:
        """Return images in 0..1, float32, shape (batch, 3, height, width), on the device."""
        generators = [torch.Generator("cpu").manual_seed(row.seed) for row in rows]
        texts = self._prompts.arguments([(row.prompt, row.negative_prompt) for row in rows])
        scales = [row.guidance_scale for row in rows]
        images = self._pipeline(
            **texts,
            **self._latents(generators),
            height=self._recipe.model.height,
            width=self._recipe.model.width,
            guidance_scale=scales[0]
            if self._guidance_is_input
            else GuidancePerImage(scales, always_guided=self._guided),
            num_inference_steps=rows[0].num_inference_steps,
            generator=generators,
            output_type="pt",
        ).images
        return torch.as_tensor(images).float()

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


def _check_size(recipe: ResolvedRecipe) -> None:
    """Refuse sizes that every pipeline of diffusers refuses, before a directory is begun."""
    for name, pixels in (("height", recipe.model.height), ("width", recipe.model.width)):
        if pixels is not None and pixels % 8:
            raise UserError(
                f"{recipe.name}: model.{name}: {pixels} is not a multiple of 8; "
                f"write {max(8, round(pixels / 8) * 8)}, and give `output.size` what the set needs"
            )
