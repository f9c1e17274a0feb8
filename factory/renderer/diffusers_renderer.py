"""Generate images from plan rows with any stock text-to-image pipeline of diffusers.

The pipeline's public call does the work. This module adds: batches with a guidance scale and a
generator per image, prompts encoded once, resizing on the device, and constant batch shapes. Pixels
depend slightly on the batch (float32 sums are ordered differently), so a short batch is padded to
its full size, and rows with different `num_inference_steps` are generated in padded groups.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from factory.common.image_arrays import ImageArray
from factory.models.inference import PLAIN, InferenceSettings
from factory.planner.plan import ImageSpec
from factory.recipe.model_files import PipelineSettings
from factory.recipe.resolved import ResolvedRecipe
from factory.recipe.schema import Output
from factory.recipe.text_encoders import TextEncoder, encoders_of_pipeline
from factory.renderer.caches import cached
from factory.renderer.capabilities import require_able
from factory.renderer.guidance import GuidancePerImage, guidance_as_input, takes_guidance_as_input
from factory.renderer.guidance_interval import guidance_in
from factory.renderer.host_timesteps import looks_up_timesteps, timesteps_on_host
from factory.renderer.prompt_encoder import PromptEncoder
from factory.renderer.resize import rescale


class Renderer(Protocol):
    """Generates the images of plan rows.

    Torch is imported before the first batch, to set its number of threads, unless the renderer has
    an attribute `uses_torch` that is False.
    """

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> Sequence[ImageArray | None]:
        """Generate the images of rows, in order.

        Args:
            rows: One batch of a shard, at most `batch_size` rows.
            batch_size: Every call of the network is padded to this size.

        Returns:
            One image per row; None if the model's output is not finite.
        """
        ...


class DiffusersRenderer:
    """Generates images with a diffusers pipeline."""

    def __init__(
        self,
        pipeline: Any,
        recipe: ResolvedRecipe,
        inference: InferenceSettings = PLAIN,
    ) -> None:
        """Prepare the pipeline for a recipe's rows.

        Args:
            pipeline: From `factory.renderer.pipelines.Pipelines`: on its device, with the recipe's
                scheduler.
            recipe: Defines the sizes of generated and stored images.
            inference: How the pipeline computes; its weights already have the type.
        """
        self._pipeline = pipeline
        self._recipe = recipe
        require_able(pipeline, recipe, inference)
        self._interval = recipe.sampling.guidance_interval or inference.interval
        self._cache = inference.reuse
        self._prompts = PromptEncoder(pipeline)
        self._guidance_is_input = takes_guidance_as_input(pipeline)
        self._guided = recipe.sampling.guidance_scale.bounds()[1] > 1
        # Not rounded to a model's training sizes: the recipe's size is used as it is.
        accepted = inspect.signature(type(pipeline).__call__).parameters
        binned = "use_resolution_binning" in accepted
        self._exactly = {"use_resolution_binning": False} if binned else {}
        self._latent_shape = latent_shape(pipeline, recipe.model.height, recipe.model.width)

    @property
    def pipeline_settings(self) -> PipelineSettings:
        """Scheduler and weights variant in use, and the default image size."""
        scheduler = type(self._pipeline.scheduler).__name__
        variant: str | None = getattr(self._pipeline, "weights_variant", None)
        reads = self._guidance_is_input
        shape = latent_shape(self._pipeline, None, None)
        if shape is None:
            return PipelineSettings(scheduler, variant=variant, reads_guidance=reads)
        factor = self._pipeline.vae_scale_factor
        return PipelineSettings(scheduler, shape[1] * factor, shape[2] * factor, variant, reads)

    @property
    def text_encoders(self) -> list[TextEncoder]:
        """Text encoders of the pipeline with their token limits."""
        return encoders_of_pipeline(self._pipeline)

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[ImageArray | None]:
        """Generate the images of rows, in order; see `Renderer`."""
        return self.render_as([self._recipe.output], rows, batch_size=batch_size)[0]

    def render_as(
        self, outputs: Sequence[Output], rows: Sequence[ImageSpec], *, batch_size: int
    ) -> list[list[ImageArray | None]]:
        """Generate images once and convert them for several outputs (twins)."""
        results: list[dict[int, ImageArray | None]] = [{} for _ in outputs]
        for places in self._groups(rows):
            group = [rows[place] for place in places]
            padded = [*group, *[group[-1]] * (batch_size - len(group))]
            images = self._generate(padded)[: len(group)]
            finite = torch.isfinite(images).flatten(1).all(dim=1).tolist()
            for output, kept in zip(outputs, results, strict=True):
                found = rescale(images.nan_to_num(), output)
                for place, good, image in zip(places, finite, found, strict=True):
                    kept[place] = image if good else None
        return [[kept[place] for place in range(len(rows))] for kept in results]

    def _groups(self, rows: Sequence[ImageSpec]) -> Iterable[list[int]]:
        """Split the positions of a batch into groups that can share one call.

        Groups are in order of first appearance.
        """
        groups: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(row.num_inference_steps, []).append(place)
        return groups.values()

    def _generate(self, rows: Sequence[ImageSpec]) -> Tensor:
        """Return images in 0..1, float32, shape (batch, 3, height, width), on the device."""
        generators = [torch.Generator("cpu").manual_seed(row.seed) for row in rows]
        texts = self._prompts.arguments([(row.prompt, row.negative_prompt) for row in rows])
        scales = [row.guidance_scale for row in rows]
        with self._timesteps(), self._caching(), self._guidance(scales) as guidance_scale:
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

    def _timesteps(self) -> AbstractContextManager[None]:
        on_cpu = self._pipeline._execution_device.type == "cpu"
        if on_cpu or not looks_up_timesteps(self._pipeline):
            return nullcontext()
        return timesteps_on_host(self._pipeline)

    def _caching(self) -> AbstractContextManager[None]:
        if self._cache is None:
            return nullcontext()
        two_passes = self._guided and not self._guidance_is_input
        return cached(self._pipeline, self._cache, two_passes=two_passes)

    @contextmanager
    def _guidance(self, scales: Sequence[float]) -> Iterator[Any]:
        """Yield the value for `guidance_scale`: one number per image."""
        if self._guidance_is_input:
            with guidance_as_input(self._pipeline, scales):
                yield scales[0]
        else:
            limits = self._guided and self._interval
            with guidance_in(self._pipeline, limits, len(scales)) if limits else nullcontext():
                yield GuidancePerImage(scales, always_guided=self._guided)

    def _latents(self, generators: Sequence[torch.Generator]) -> dict[str, Tensor]:
        """Sample the initial noise in float32, whatever the dtype of the model.

        The pipeline itself would sample it in bfloat16 for a bfloat16 model, with 8 significant
        bits.
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
    """Return (channels, height, width) of one image's latents; None if they are packed."""
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
