"""Turn recipes into jobs: the configs of a build, in order, with their image counts.

A combination adds its members: a union reads their files, an equal share copies rows from them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from factory.common.errors import Failure, UserError
from factory.planner.sampling_summary import sampling_summary
from factory.recipe.model_files import PipelineSettings
from factory.recipe.resolved import ResolvedRecipe
from factory.shards.manifest import ConfigEntry, FailedImage, Manifest
from factory.shards.parquet import shard_count, shard_rows
from factory.shards.settings import FixedSettings
from factory.shards.stamp import Stamp

Kind = Literal["set", "share", "union"]


@dataclass(frozen=True)
class Job:
    """A config to generate.

    Attributes:
        recipe: The resolved recipe.
        num_images: Total number of rows.
        implied: Whether it was added only as a member of a combination.
        twin_of: Config of the same build that has the same images with other output settings.
        pipeline: Class of the loaded pipeline, if one was loaded.
    """

    recipe: ResolvedRecipe
    num_images: int
    implied: bool = False
    twin_of: str | None = None
    pipeline: PipelineSettings | None = None

    @property
    def name(self) -> str:
        """Name of the config."""
        return self.recipe.name

    @property
    def kind(self) -> Kind:
        """Source of the config's rows."""
        if not self.recipe.is_combination:
            return "set"
        return "union" if self.recipe.is_union else "share"

    def total(self, shard_size: int) -> int:
        """Return the number of shards: 0 for a union."""
        if self.kind == "union":
            return 0
        return shard_count(self.num_images, shard_size=shard_size)

    def rows(self, index: int, *, shard_size: int) -> range:
        """Return the row numbers of one shard."""
        return shard_rows(index, num_images=self.num_images, shard_size=shard_size)

    def stamp(
        self, shard: range, *, settings: FixedSettings, failed: Sequence[FailedImage] = ()
    ) -> Stamp:
        """Return the stamp of a shard of this config."""
        return Stamp(
            config=self.name,
            fingerprint=self.recipe.fingerprint,
            settings=settings.as_dict(),
            start=shard.start,
            stop=shard.stop,
            failed=tuple(failed),
        )

    def entry(self) -> ConfigEntry:
        """Return the manifest entry of the config before it is complete."""
        recipe = self.recipe
        has_own = self.kind == "set"
        same = recipe.images_per_class is not None
        return ConfigEntry(
            kind=self.kind,
            fingerprint=recipe.fingerprint,
            model=recipe.model.id if has_own else None,
            revision=recipe.model.revision if has_own else None,
            images=0 if self.kind == "union" else self.num_images,
            images_per_class=self.num_images // len(recipe.labels) if same else None,
            sampling=sampling_summary(recipe, self.pipeline) if has_own else None,
            members=() if has_own else tuple(member.name for member in recipe.members),
        )


def make_jobs(recipes: Sequence[ResolvedRecipe]) -> list[Job]:
    """Return the configs to generate: members before combinations, otherwise as given.

    A member that was not given itself gets the largest number of images that a combination takes
    from it.

    Raises:
        UserError: Two recipes share a name, classes differ, or a share needs more images than a
            config has.
    """
    jobs: dict[str, Job] = {}
    for recipe in recipes:
        _add(jobs, Job(recipe, recipe.num_images))
    for recipe in recipes:
        for member, taken in _parts(recipe):
            _add(jobs, Job(_with_images(member, taken), taken, implied=True))
    for job in jobs.values():
        _require_enough(job, jobs)
    ordered = _with_twins(sorted(jobs.values(), key=lambda job: job.recipe.is_combination))
    _require_same_classes([job.recipe for job in ordered])
    return ordered


def _with_twins(jobs: Sequence[Job]) -> list[Job]:
    """Link configs that have the same images, to generate these once.

    They are linked to the config that `same_images_as` names; if it is not in this build, to the
    first of them.
    """
    first: dict[str, str] = {}
    for job in sorted(jobs, key=lambda job: job.name != job.recipe.stream_name):
        first.setdefault(job.recipe.images_fingerprint, job.name)
    leaders = {job.name: first[job.recipe.images_fingerprint] for job in jobs}
    return [
        job if leaders[job.name] == job.name else replace(job, twin_of=leaders[job.name])
        for job in jobs
    ]


def adopt_counts(jobs: Sequence[Job], manifest: Manifest | None) -> list[Job]:
    """Return the jobs with the image counts of an existing dataset.

    A member that was added only for a combination keeps its existing images.
    """
    adopted = []
    for job in jobs:
        entry = manifest.configs.get(job.name) if manifest else None
        if entry is not None and job.implied and entry.images > job.num_images:
            recipe = _with_images(job.recipe, entry.images)
            job = replace(job, recipe=recipe, num_images=entry.images)
        adopted.append(job)
    return adopted


def require_same_as_begun(jobs: Sequence[Job], manifest: Manifest) -> None:
    """Check that this process has loaded the same recipes as the main process.

    Each process loads them itself. If a file was edited or a Hub branch moved in between, the
    processes would write images of different recipes into one dataset.

    Raises:
        Failure: The recipes differ.
    """
    for job in jobs:
        entry = manifest.configs.get(job.name)
        if entry is None or entry.fingerprint != job.recipe.fingerprint:
            raise Failure(
                f"{job.name}: the recipe changed while the processes were starting; "
                "run the same command again"
            )


def _parts(recipe: ResolvedRecipe) -> Iterator[tuple[ResolvedRecipe, int]]:
    """Yield all members of a combination, nested ones too, with the images it takes from each."""
    from factory.planner.plan import plan

    if recipe.is_combination:
        for member, taken in plan(recipe).parts():
            yield member, taken
            yield from _parts(member)


def _with_images(recipe: ResolvedRecipe, num_images: int) -> ResolvedRecipe:
    """Return the recipe with another number of images; the images stay the same."""
    if recipe.images_per_class is None:
        return recipe
    return recipe.model_copy(update={"images_per_class": num_images // len(recipe.labels)})


def _require_enough(job: Job, jobs: Mapping[str, Job]) -> None:
    for member, taken in _parts(job.recipe):
        found = jobs[member.name].num_images
        if found < taken and job.kind == "share":
            classes = len(job.recipe.labels)
            raise UserError(
                f"{job.name} takes {taken // classes} images per class of {member.name}, which has "
                f"{found // classes}; raise images_per_class of {member.name} or lower that of "
                f"{job.name}"
            )


def _add(jobs: dict[str, Job], job: Job) -> None:
    known = jobs.get(job.name)
    if known is not None and known.recipe.fingerprint != job.recipe.fingerprint:
        raise UserError(
            f"two different recipes are named {job.name}; give one of them another `name`"
        )
    if known is None or (known.implied and known.num_images < job.num_images):
        jobs[job.name] = job


def _require_same_classes(recipes: Sequence[ResolvedRecipe]) -> None:
    first = recipes[0]
    for other in recipes[1:]:
        if list(other.labels) != list(first.labels):
            raise UserError(
                f"{other.name} and {first.name} have different classes; "
                "all configs of a dataset have the same classes: build them into different "
                "directories"
            )
