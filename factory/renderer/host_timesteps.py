"""Keep the numbers of a scheduler's steps in main memory, where its tables are.

DDIM and schedulers like it take a row of a table by the number of a step, and compare that number
with 0. A pipeline puts the numbers on its accelerator, so that the CPU waits for the device each
time: six times in a step of DDIM. With the table on the accelerator it would wait just as often,
because a number that selects a row is read first. (Counted in the code of diffusers; images were
compared on a CPU only.) LCM is left out: it computes with the number itself, and a GPU rounds a
product with a number in main memory differently in 16-bit types.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from torch import Tensor


def looks_up_timesteps(pipeline: Any) -> bool:
    """Return whether a pipeline's scheduler has tables by timestep, and not by step, for a UNet.

    Transformers are left out: their pipelines make a batch of the number, on its device.
    """
    scheduler = pipeline.scheduler
    has_table = hasattr(scheduler, "alphas_cumprod") and not hasattr(scheduler, "sigmas")
    computes = hasattr(scheduler, "get_scalings_for_boundary_condition_discrete")
    return has_table and not computes and getattr(pipeline, "unet", None) is not None


@contextmanager
def timesteps_on_host(pipeline: Any) -> Iterator[None]:
    """Pass timesteps in main memory to the scheduler, and on the device to the UNet.

    Args:
        pipeline: `looks_up_timesteps` is true of it; it is called in the block.
    """
    scheduler, device = pipeline.scheduler, pipeline._execution_device
    choose = scheduler.set_timesteps
    on_device: dict[float, Tensor] = {}

    @wraps(choose)
    def chosen(*args: Any, **kwargs: Any) -> None:
        choose(*args, **(kwargs | {"device": "cpu"}))
        # One copy for all steps.
        moved = scheduler.timesteps.to(device)
        on_device.update(zip(scheduler.timesteps.tolist(), moved, strict=True))

    def replaced(value: Any) -> Any:
        is_number = isinstance(value, Tensor) and value.ndim == 0 and value.device.type == "cpu"
        return on_device.get(value.item(), value) if is_number else value

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        changed = {"timestep": replaced(kwargs["timestep"])} if "timestep" in kwargs else {}
        return tuple(map(replaced, args)), kwargs | changed

    scheduler.set_timesteps = chosen
    handle = pipeline.unet.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
        del scheduler.set_timesteps
