"""One guidance scale an image inside one batch of a stock diffusers pipeline.

Classifier-free guidance draws `uncond + s * (text - uncond)`. The pipelines take one number `s` for
a whole batch, and do two things with it: they ask `guidance_scale > 1` to decide whether the
unconditional half is needed, and they compute `guidance_scale * tensor`. `GuidancePerImage` answers
both for a batch of different numbers, so that no sampling loop has to be written again. A scale of
1 makes the expression the text prediction alone, which is what the pipelines draw for 1 and less;
such scales are therefore raised to 1 when they share a batch with larger ones.

Networks that were distilled to take the number as an input get a tensor of them, an image a number,
in the place of the one the pipeline made: see `guidance_as_input`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class GuidancePerImage:
    """Stands for `guidance_scale` in a pipeline's call; one number an image of the batch."""

    def __init__(self, scales: Sequence[float], *, always_guided: bool = False) -> None:
        """Take the scales of one batch.

        Args:
            scales: In batch order.
            always_guided: Draw the unconditional half even where no image of this batch needs it,
                so that the last digits of an image do not depend on its neighbours.
        """
        self.scales = tuple(float(scale) for scale in scales)
        self._always_guided = always_guided
        self._factor = torch.tensor([max(scale, 1.0) for scale in self.scales])

    def __gt__(self, threshold: float) -> bool:
        """Whether the batch is to be guided."""
        return self._always_guided or any(scale > threshold for scale in self.scales)

    def __mul__(self, prediction: Tensor) -> Tensor:
        """Scale each image's prediction by its own number.

        Args:
            prediction: Shape (batch, ...). Multiplied in float32 and rounded back, as PyTorch does
                with a plain number.

        Raises:
            ValueError: the pipeline's batch is not the one the scales were given for.
        """
        if prediction.shape[0] != len(self.scales):
            found, expected = prediction.shape[0], len(self.scales)
            raise ValueError(f"{expected} guidance scales meet a batch of {found} images")
        self._factor = self._factor.to(prediction.device)
        factor = self._factor.view(-1, *([1] * (prediction.ndim - 1)))
        return (factor * prediction).to(prediction.dtype)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"GuidancePerImage({list(self.scales)})"


def takes_guidance_as_input(pipeline: Any) -> bool:
    """Whether the pipeline's network was distilled to take the guidance scale as an input.

    Such a pipeline makes one tensor of one number for all images of a call.
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
    """Give the network a guidance scale an image while the block runs.

    The pipeline's own input, made from one number, is replaced as the network is called; nothing
    else of the call is touched.

    Args:
        pipeline: One for which `takes_guidance_as_input` is true.
        scales: In batch order.
    """
    network = network_of(pipeline)
    given = torch.tensor(list(scales), dtype=torch.float32)

    def replace(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        name = "guidance" if "guidance" in kwargs else "timestep_cond"
        before = kwargs[name]
        wanted = given
        if name == "timestep_cond":
            # As the pipelines do: the embedding counts from no guidance, which is 1.
            size = network.config.time_cond_proj_dim
            wanted = pipeline.get_guidance_scale_embedding(given - 1, embedding_dim=size)
        return args, kwargs | {name: wanted.to(before.device, before.dtype)}

    handle = network.register_forward_pre_hook(replace, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
