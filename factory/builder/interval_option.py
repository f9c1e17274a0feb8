"""The option `--guidance-interval` of a build: it sets a key of all its recipes.

Before recipes had the key, the option was a setting. Datasets that record it keep it as one, for
all their configs, because a key would change the fingerprints of their recipes.
"""

from collections.abc import Sequence
from dataclasses import replace

from factory.builder.jobs import Job
from factory.common.errors import UserError
from factory.shards.settings import BuildSettings, FixedSettings

_KEY = ("sampling", "guidance_interval")


def with_interval(jobs: Sequence[Job], settings: FixedSettings, wanted: BuildSettings) -> list[Job]:
    """Return the jobs with the guided part of the steps that the option asks for.

    Args:
        jobs: Of a build.
        settings: Those of the dataset.
        wanted: With the option.

    Raises:
        UserError: A recipe has another one.
    """
    recorded = settings.interval
    interval = recorded or wanted.interval
    if interval is None:
        return [*jobs]
    source, remedy = f"--guidance-interval is {interval}", "remove one of them"
    if recorded is not None:
        source = f"the dataset was started with --guidance-interval {interval} for all its configs"
        remedy = f"write {interval.numbers}, or build into another directory"
    faults = [
        job.recipe.fault(f"is {own.numbers}, but {source}; {remedy}", *_KEY)
        for job in jobs
        if job.kind == "set" and (own := job.recipe.sampling.guidance_interval) and own != interval
    ]
    if faults:
        raise UserError(faults)
    if recorded is not None:
        return [*jobs]
    return [replace(job, recipe=job.recipe.with_guidance_interval(interval)) for job in jobs]
