"""Fit a pipeline into the memory of a device."""

from typing import Any

from factory.common.errors import UserError
from factory.common.text import expected_word

OFFLOADS = ("group", "model", "sequential")


def require_offload(offload: str | None, device: str) -> None:
    """Refuse an offload that does not exist, or that has nowhere to move weights to.

    Args:
        offload: One of `OFFLOADS`, or None.
        device: Name of the device that computes, such as `cuda:1`.

    Raises:
        UserError: With the remedy.
    """
    if offload is None:
        return
    if offload not in OFFLOADS:
        raise UserError(f"offload {offload}: {expected_word(offload, OFFLOADS)}")
    if device.partition(":")[0] == "cpu":
        raise UserError(
            f"--offload {offload} keeps weights in main memory until an accelerator needs them, "
            "but this machine computes on cpu; remove the option"
        )


def place(pipeline: Any, device: Any, offload: str | None) -> None:
    """Move a pipeline to a device, or let its parts move there when they are needed.

    Args:
        pipeline: A loaded pipeline, on the CPU.
        device: Device that computes.
        offload: `model`: one of its models at a time; `group`: one layer at a time, on CUDA the
            next one while the last one computes; `sequential`: one layer at a time; None: all of it
            at once.
    """
    import torch

    device = torch.device(device)
    if offload is None:
        pipeline.to(device)
    elif offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    else:
        streams = device.type == "cuda"
        pipeline.enable_group_offload(device, offload_type="leaf_level", use_stream=streams)


def decode_one_by_one(pipeline: Any) -> None:
    """Let a pipeline's decoder take one image of a batch at a time.

    Raises:
        UserError: Its decoder cannot.
    """
    decoder = getattr(pipeline, "vae", None)
    if decoder is None or not hasattr(decoder, "use_slicing"):
        name = "no decoder" if decoder is None else type(decoder).__name__
        raise UserError(
            f"--vae-slicing: {type(pipeline).__name__} has {name}, which cannot decode images one "
            "by one; remove the option"
        )
    decoder.enable_slicing()
