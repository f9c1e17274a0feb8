"""Choose the batch size of a new dataset, for `--batch-size auto`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from factory.builder.jobs import Job
from factory.builder.prepare import State
from factory.common import console
from factory.common.resources import processes_here
from factory.planner.plan import ImageSpec, plan
from factory.renderer.batch_speed import LARGEST, Tried, try_sizes
from factory.renderer.pool import rendering_threads

if TYPE_CHECKING:
    from factory.renderer.pool import Renderers

# Enough to compare: time grows with the number of steps for every size alike.
_STEPS = 2
_SECONDS = 60.0


def batch_size_of(state: State, renderers: Renderers) -> int | None:
    """Return the smallest batch that is nearly as fast as the fastest one.

    Of several models, image sizes, or guided and unguided configs, each is measured, and the
    smallest number is returned. Batches are not larger than these configs have images.

    Args:
        state: Where the dataset is now.
        renderers: Those of the recipes, whose models are loaded.

    Returns:
        None if the dataset has a recorded one, or nothing is generated.

    Raises:
        Failure: Not even one image fits into memory.
    """
    if state.old is not None:
        found = state.settings.batch_size
        console.log(f"--batch-size auto: the dataset keeps its recorded batch size, {found}")
        return None
    largest: dict[Any, Job] = {}
    for job in state.unfinished():
        kind = _kind(job)
        if kind not in largest or job.num_images > largest[kind].num_images:
            largest[kind] = job
    sizes = [_measure(job, state, renderers).best.batch_size for job in largest.values()]
    return min(sizes, default=None)


def _kind(job: Job) -> tuple[Any, ...]:
    """Return the values of a recipe that change the memory and time of a batch."""
    model = job.recipe.model
    guided = job.recipe.sampling.guidance_scale.bounds()[1] > 1
    return (model.id, model.revision, model.adapters, model.height, model.width, guided)


def _measure(job: Job, state: State, renderers: Renderers) -> Tried:
    renderer = renderers.get(job.recipe, state.settings.inference)
    planned, steps = plan(job.recipe), _steps(job, state)

    def rows(size: int) -> list[ImageSpec]:
        return [
            row._replace(num_inference_steps=min(steps, row.num_inference_steps))
            for row in planned.rows(0, size)
        ]

    with rendering_threads(renderer, state.settings.threads):
        tried = try_sizes(
            renderer,
            rows,
            name=job.recipe.model.id,
            seconds=_SECONDS,
            sharing=processes_here() if state.settings.device == "cpu" else None,
            largest=min(LARGEST, job.num_images),
        )
    speeds = ", ".join(f"{one.batch_size}: {one.images_per_s:.3g}" for one in tried.batches)
    console.log(
        f"{job.recipe.model.id}: batch size {tried.best.batch_size} (images/s with {steps} steps: "
        f"{speeds}; {tried.stopped})"
    )
    return tried


def _steps(job: Job, state: State) -> int:
    """Return the fewest steps of which at least one is guided."""
    own = job.recipe.sampling.guidance_interval
    interval = own or state.settings.interval
    steps = _STEPS
    while interval is not None and not interval.steps(steps):
        steps += 1
    return steps
