"""Choose the batch size of a new dataset, for `--batch-size auto`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from factory.builder.jobs import Job
from factory.builder.prepare import State
from factory.common import console
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

    Of several models or image sizes, each is measured, and the smallest number is returned. Batches
    are not larger than a config has images.

    Args:
        state: Where the dataset is now.
        renderers: Those of the recipes, whose models are loaded.

    Returns:
        None if the dataset has a recorded one, or nothing is generated.

    Raises:
        Failure: Not even one image fits into memory.
    """
    if state.old is not None:
        return None
    measured = {}
    for job in state.unfinished():
        model = job.recipe.model
        key = (model.id, model.revision, model.adapters, model.height, model.width)
        if key not in measured:
            measured[key] = _measure(job, state, renderers)
    sizes = [tried.best.batch_size for tried in measured.values()]
    return min(sizes, default=None)


def _measure(job: Job, state: State, renderers: Renderers) -> Tried:
    renderer = renderers.get(job.recipe, state.settings.inference)
    planned = plan(job.recipe)

    def rows(size: int) -> list[ImageSpec]:
        return [
            replace(row, num_inference_steps=min(_STEPS, row.num_inference_steps))
            for row in planned.rows(0, size)
        ]

    with rendering_threads(renderer, state.settings.threads):
        tried = try_sizes(
            renderer,
            rows,
            name=job.recipe.model.id,
            seconds=_SECONDS,
            on_cpu=state.settings.device == "cpu",
            largest=min(LARGEST, job.num_images),
        )
    speeds = ", ".join(f"{one.batch_size}: {one.images_per_s:.3g}" for one in tried.batches)
    console.log(
        f"{job.recipe.model.id}: batch size {tried.best.batch_size} (images/s with {_STEPS} steps: "
        f"{speeds}; {tried.stopped})"
    )
    return tried
