"""How many processes a build starts on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING

from factory.builder.jobs import Job, make_jobs
from factory.builder.prepare import State, judge, look_at
from factory.common.devices import on_cpus
from factory.common.errors import UserError
from factory.common.resources import cores, free_memory
from factory.common.storage import answering, open_path
from factory.common.text import plural
from factory.planner.cost import estimate
from factory.recipe.model_files import generated_pixels, weight_bytes
from factory.shards.settings import BuildSettings

if TYPE_CHECKING:
    from factory.recipe.resolved import ResolvedRecipe

_GIB = 2**30
# Python and the libraries, without the model and a batch.
_PROCESS_BYTES = _GIB
# Numbers that decoding holds per pixel of a batch. Measured with Stable Diffusion 1.5 at 512 x 512
# in float32: each further image of a batch adds 0.7 GiB to the peak. Small decoders, such as the
# embedded model's, need less.
_NUMBERS_PER_PIXEL = 700
# A shard that is written is in memory as rows, as a table and as a file, while the next one is
# generated. Measured with PNGs of 512 x 512 pixels: builds of 1, 2, 3 and 4 shards add 2.3, 3.7,
# 4.2 and 3.9 shards to the peak. A twin's shard waits as pixels, 3 bytes each, until it is written.
_COPIES_OF_WRITTEN_SHARD = 3
# Bytes of an encoded pixel. Means of 320 satellite images and of 1,440 photos of 64 x 64 pixels:
# 1.6 and 1.95 as PNG, 1.2 and 1.3 as WebP, 0.6 and 0.8 as JPEG.
_PIXEL_BYTES = {"png": 2.0, "webp": 1.4, "jpeg": 0.8}
# A model whose files are not here yet: between Stable Diffusion 1 and XL.
_MODEL_BYTES = 8 * _GIB
# Other processes must save more than they cost: the launcher and they import torch one after the
# other.
_START_S = 5.0


@dataclass(frozen=True)
class Choice:
    """A number of processes.

    Attributes:
        count: 1 or more.
        reason: What it follows from, e.g. `2 cores`; empty if there is nothing to generate.
    """

    count: int
    reason: str


def choose_processes(
    recipes: Sequence[ResolvedRecipe], out: str, *, settings: BuildSettings
) -> Choice:
    """Choose the number of processes for a build: one per GPU, or one per core.

    Memory, the shards to generate and the time they take limit the number.

    Args:
        recipes: As for `build`.
        out: Dataset directory or URL.
        settings: Of the build.

    Raises:
        UserError: As `build`: the recipes, settings or directory do not fit.
    """
    jobs, place = make_jobs(recipes), open_path(out)
    kind, devices = _devices(settings.device)
    with answering(place):
        state = judge(look_at(place, jobs), jobs, wanted=settings, device=kind)
    work = _work(state)
    shards = sum(work.values())
    if not shards:
        return Choice(1, "")
    if kind == "cpu":
        limits = _on_cores(state, work)
    else:
        limits = {plural(devices, "device" if kind != "cuda" else "GPU"): devices}
    limits[f"{plural(shards, 'shard')} to generate"] = shards
    reason = min(limits, key=lambda name: limits[name])
    return Choice(max(1, limits[reason]), reason)


def check_devices(processes: int | None, wanted: str) -> None:
    """Refuse more processes than GPUs: the processes of a group cannot share one.

    Raises:
        UserError: There are fewer GPUs.
    """
    kind, devices = _devices(wanted)
    if kind == "cuda" and (processes or 0) > devices:
        raise UserError(
            f"--processes {processes}: this machine offers {plural(devices, 'GPU')}, and each "
            f"process needs one; give at most {devices}, or --device cpu"
        )


def _devices(wanted: str) -> tuple[str, int]:
    """Return type and number of the devices to use; 0 of CPUs."""
    if wanted == "cpu" or on_cpus():
        return "cpu", 0
    import torch

    kind = torch.accelerator.current_accelerator()
    return (kind.type if kind else "cpu"), torch.accelerator.device_count()


def _work(state: State) -> dict[str, int]:
    """Return the number of shards to generate by config, without those made with another one."""
    found: dict[str, int] = {}
    for job in state.jobs:
        if job.kind == "set":
            leader = job.twin_of or job.name
            found[leader] = max(found.get(leader, 0), _missing(job, state))
    return {name: missing for name, missing in found.items() if missing}


def _missing(job: Job, state: State) -> int:
    entry = state.old.configs.get(job.name) if state.old else None
    total = whole = job.total(state.settings.shard_size)
    if entry is not None and entry.images != job.num_images:
        # The last shard grows.
        whole = entry.images // state.settings.shard_size
    return total - len({number for number, _ in state.look.files(job.name) if number < whole})


def _on_cores(state: State, work: dict[str, int]) -> dict[str, int]:
    """Return limits of the number of processes, by their reasons."""
    threads = state.settings.threads
    each = f", {threads} threads each" if threads > 1 else ""
    limits = {f"{plural(cores(), 'core')}{each}": cores() // threads}
    free = free_memory()
    if free is not None:
        made = [job for job in state.jobs if job.kind == "set" and _missing(job, state)]
        size = max(_process_bytes(job, state, made) for job in made)
        limits[f"{free / _GIB:.0f} GiB of free memory, {size / _GIB:.1f} each"] = free // size
    seconds = _seconds(state, work)
    most = max(1, min(limits.values()))
    if seconds is not None and seconds * (1 - 1 / most) < _START_S:
        limits[f"about {ceil(seconds)} s of work"] = 1
    return limits


def _process_bytes(job: Job, state: State, made: Sequence[Job]) -> int:
    """Return an estimate of the memory that a process needs for a config on a CPU.

    Images count only if their size is known without loading the model. `made` are the configs that
    lack shards: a twin of a complete config is generated like any other.
    """
    model, settings = job.recipe.model, state.settings
    pixels = generated_pixels(model) or 0
    batch = min(settings.batch_size, settings.shard_size, job.num_images)
    number = 4 if settings.dtype == "float32" else 2
    weights = weight_bytes(model) or _MODEL_BYTES
    decoding = batch * pixels * _NUMBERS_PER_PIXEL * number
    leader = job.twin_of or job.name
    waiting = sum(
        3 * _pixels(one) * min(settings.shard_size, one.num_images)
        for one in made
        if one.twin_of == leader and any(other.name == leader for other in made)
    )
    return _PROCESS_BYTES + weights + decoding + _encoded_bytes(job, settings.shard_size) + waiting


def _encoded_bytes(job: Job, shard_size: int) -> int:
    """Return an estimate of the encoded images in memory; 0 if their size is not known."""
    copies = _COPIES_OF_WRITTEN_SHARD
    images = min(shard_size + copies * shard_size, copies * job.num_images)
    return round(_pixels(job) * images * _PIXEL_BYTES[job.recipe.output.format])


def _pixels(job: Job) -> int:
    """Return the pixels of a stored image; 0 if they are not known without loading the model."""
    size = job.recipe.output.size
    return prod(size) if size else generated_pixels(job.recipe.model) or 0


def _seconds(state: State, work: dict[str, int]) -> float | None:
    """Return the time of the missing shards on one core; None if no speed of it is known."""
    total = 0.0
    for job in state.jobs:
        if job.name in work:
            cost = estimate(job.recipe)
            if cost.seconds is None or cost.speed is None or "CPU" not in cost.speed.device:
                return None
            total += cost.seconds * work[job.name] / job.total(state.settings.shard_size)
    return total
