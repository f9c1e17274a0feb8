"""Use one guidance scale per image inside a batch of a stock diffusers pipeline.

Classifier-free guidance computes `uncond + s * (text - uncond)`. The pipelines accept one number
`s` per batch and use it twice: `guidance_scale > 1` decides whether the unconditional half is
needed, and `guidance_scale * tensor` scales the difference. `GuidancePerImage` implements both for
a batch of different numbers, so that no sampling loop has to be rewritten. A scale of 1 reduces the
expression to the text prediction, which pipelines also use for smaller scales; such scales are
therefore raised to 1 if they share a batch with larger ones.

Networks distilled with the scale as an input get a tensor with one number per image in place of the
pipeline's: see `guidance_as_input`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class GuidancePerImage:
    """Replacement for `guidance_scale` in a pipeline's call, with one number per image."""

    def __init__(self, scales: Sequence[float], *, always_guided: bool = False) -> None:
        """Store the scales of one batch.

        Args:
            scales: In batch order.
            always_guided: Compute the unconditional half even if no image of this batch needs it,
                so that rounding does not depend on the other images.
        """
        self.scales = tuple(float(scale) for scale in scales)
        self._always_guided = always_guided
        self._factor = torch.tensor([max(scale, 1.0) for scale in self.scales])

    def __gt__(self, threshold: float) -> bool:
        """Return whether the batch needs guidance."""
        return self._always_guided or any(scale > threshold for scale in self.scales)

    def __mul__(self, prediction: Tensor) -> Tensor:
        """Scale each image's prediction by its own number.

        Args:
            prediction: Shape (batch, ...). Multiplied in float32 and rounded back, as PyTorch does
                with a plain number.

        Raises:
            ValueError: The pipeline's batch has another size than the scales.
        """
        if prediction.shape[0] != len(self.scales):
            found, expected = prediction.shape[0], len(self.scales)
            raise ValueError(f"{expected} guidance scales for a batch of {found} images")
        self._factor = self._factor.to(prediction.device)
        factor = self._factor.view(-1, *([1] * (prediction.ndim - 1)))
        return (factor * prediction).to(prediction.dtype)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"GuidancePerImage({list(self.scales)})"


def takes_guidance_as_input(pipeline: Any) -> bool:
    """Return whether the pipeline's network has the guidance scale as an input.

    Such a pipeline creates one number for all images of a call.
    """
    config = getattr(network_of(pipeline), "config", None)
    return bool(
        getattr(config, "time_cond_proj_dim", None) is not None
        or getattr(config, "guidance_embeds", False)
    )


def network_of(pipeline: Any) -> Any:
    """Return the network that a pipeline calls at every step, or None."""
    return getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)


@contextmanager
def guidance_as_input(pipeline: Any, scales: Sequence[float]) -> Iterator[None]:
    """Pass one guidance scale per image to the network inside the block.

    The pipeline's own input, made from one number, is replaced when the network is called; nothing
    else of the call is changed.

    Args:
        pipeline: A pipeline for which `takes_guidance_as_input` is true.
        scales: In batch order.
    """
    network = network_of(pipeline)
    given = torch.tensor(list(scales), dtype=torch.float32)

    def replace(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        name = "guidance" if "guidance" in kwargs else "timestep_cond"
        before = kwargs[name]
        # Sana Sprint's pipeline scales its number before it passes it on.
        wanted = given * getattr(network.config, "guidance_embeds_scale", 1.0)
        if name == "timestep_cond":
            # Like the pipelines: the embedding is relative to no guidance, which is 1.
            size = network.config.time_cond_proj_dim
            wanted = pipeline.get_guidance_scale_embedding(given - 1, embedding_dim=size)
        return args, kwargs | {name: wanted.to(before.device, before.dtype)}

    handle = network.register_forward_pre_hook(replace, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
