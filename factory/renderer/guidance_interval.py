"""Guide images in a part of the steps only (Kynkäänniemi et al. 2024, arXiv 2404.07724).

Pipelines that guide compute both halves of a batch in one call of their network: first without the
prompts, then with them. Outside the interval the network gets the second half alone, and its result
stands for both: `uncond + s * (text - uncond)` is then the text prediction, exactly.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from factory.common.errors import UserError
from factory.models.inference import GuidanceInterval
from factory.renderer.guidance import network_of

# Inputs with one entry per image. The first size of others, such as rotary embeddings, may equal
# the batch by chance.
_PER_IMAGE = frozenset(
    (
        *("sample", "hidden_states", "timestep", "encoder_hidden_states"),
        *("encoder_attention_mask", "pooled_projections"),
        *("text_embeds", "time_ids", "resolution", "aspect_ratio"),
    )
)


@contextmanager
def guidance_in(pipeline: Any, interval: GuidanceInterval, size: int) -> Iterator[None]:
    """Compute the unconditional half of a batch only in an interval of the steps, inside the block.

    Args:
        pipeline: It is called once in the block, with guidance.
        interval: The guided part of the steps.
        size: Number of images.

    Raises:
        UserError: The pipeline does not compute both halves in one call per timestep, or it has
            inputs that cannot be divided.
    """
    name, network = type(pipeline).__name__, network_of(pipeline)
    names = list(inspect.signature(type(network).forward).parameters)[1:]
    calls: list[bool] = []
    done = 0

    def before(_: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        given = dict(zip(names, args, strict=False)) | kwargs
        halves = {key: _prompted(key, value, size, name) for key, value in given.items()}
        calls[:] = calls or _guided_calls(pipeline.scheduler.timesteps.tolist(), interval)
        if done == len(calls):
            raise _no_halves(name, f"its network is called more than {done} times")
        return None if calls[done] else ((), halves)

    def after(_: Any, args: Any, output: Any) -> Any:
        nonlocal done
        done += 1
        return None if calls[done - 1] else _twice(output)

    handles = [
        network.register_forward_pre_hook(before, with_kwargs=True),
        network.register_forward_hook(after),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _guided_calls(timesteps: Sequence[float], interval: GuidanceInterval) -> list[bool]:
    """Return which calls of the network are guided; some schedulers make several in a step."""
    positions = {time: position for position, time in enumerate(dict.fromkeys(timesteps))}
    steps = interval.steps(len(positions))
    return [positions[time] in steps for time in timesteps]


def _prompted(name: str, value: Any, size: int, pipeline: str) -> Any:
    """Return the second half of an input; inputs without tensors are the same for both halves."""
    if isinstance(value, Mapping):
        return {key: _prompted(key, one, size, pipeline) for key, one in value.items()}
    if isinstance(value, Tensor):
        if name == "timestep" and value.numel() == 1:
            return value
        if name in _PER_IMAGE and value.shape[:1] == (2 * size,):
            return value[size:]
    elif not _has_tensors(value):
        return value
    raise _no_halves(pipeline, name)


def _no_halves(pipeline: str, reason: str) -> UserError:
    return UserError(
        f"{pipeline} does not compute guidance as two halves of one batch ({reason}); remove the "
        "guidance interval, or choose another model"
    )


def _has_tensors(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(
        isinstance(one, Tensor) or _has_tensors(one) for one in value
    )


def _twice(output: Any) -> Any:
    """Return an output of the network for both halves of the batch."""
    if isinstance(output, Tensor):
        return torch.cat([output, output])
    if isinstance(output, Mapping):
        return type(output)(**{key: _twice(one) for key, one in output.items()})
    return tuple(_twice(one) for one in output)
