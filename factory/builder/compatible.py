"""Checks that a build fits the dataset in its output directory, before anything is written."""

import difflib
from collections.abc import Collection, Sequence

from factory.builder.jobs import Job
from factory.common.errors import UserError
from factory.common.storage import AnyPath
from factory.common.text import plural
from factory.data.columns import TEMPLATE
from factory.shards.directory import Look, recipe_path, stored_recipe
from factory.shards.manifest import Manifest
from factory.shards.settings import FixedSettings

_DIFF_LINES = 6


def begun(look: Look, marked: Collection[str]) -> Manifest | None:
    """Return the configs that already have shards, as a manifest; None if there are none.

    They must match the recipes of a new build. A build that stopped before its first shard leaves
    no such config, so recipe and settings may still change.

    Args:
        look: The dataset directory.
        marked: Other configs whose first shards another launch is generating now.
    """
    manifest = look.generation.manifest
    if manifest is None:
        return None
    kept = {
        name: entry
        for name, entry in manifest.configs.items()
        if entry.kind == "union" or look.shards[name] or name in marked
    }
    if all(entry.kind == "union" for entry in kept.values()):
        return None
    return manifest.model_copy(update={"configs": kept})


def require_same_recipes(out: AnyPath, manifest: Manifest, jobs: Sequence[Job]) -> None:
    """Reject recipes that do not match the existing dataset.

    Raises:
        UserError: Other classes, another recipe with the same name, or fewer images than exist.
    """
    for job in jobs:
        if tuple(job.recipe.labels) != manifest.labels:
            raise UserError(
                f"{out}: all configs of a dataset have the same classes; this dataset has "
                f"{_some(manifest.labels)}, but recipe {job.name} has {_some(job.recipe.labels)}; "
                "build into another directory"
            )
        entry = manifest.configs.get(job.name)
        if entry is None or (entry.kind == job.kind == "union"):
            # A union has no rows of its own, so its members may change.
            continue
        if entry.fingerprint != job.recipe.fingerprint or entry.kind != job.kind:
            raise UserError(_difference(out, job))
        if job.num_images < entry.images:
            raise UserError(
                f"{out}: {job.name} has {plural(entry.images, 'image')}, but {job.num_images} were "
                "requested; a dataset is never shortened: request at least as many, or build into "
                "another directory"
            )


def require_whole_batches(jobs: Sequence[Job], settings: FixedSettings) -> None:
    """Reject a config with a short last batch if images depend on their batch.

    The images of that batch would be others when the config grows.

    Raises:
        UserError: With numbers that fit.
    """
    cache, size = settings.reuse, settings.batch_size
    if cache is None or not cache.decides_per_batch:
        return
    for job in jobs:
        short = job.num_images % settings.shard_size % size
        if job.kind == "set" and short:
            fitting = max(one for one in range(1, size) if job.num_images % one == 0)
            raise UserError(
                f"{job.name}: --cache {cache} decides for a whole batch, but the last one of "
                f"{plural(job.num_images, 'image')} has {short} of {size}; start the dataset with "
                f"a --batch-size that fits, such as {fitting}, request a multiple of {size} "
                "images, or use no cache, or taylorseer"
            )


def require_adapters(jobs: Sequence[Job], settings: FixedSettings, *, recorded: bool) -> None:
    """Reject a config without adapters if adapters are to be merged.

    Args:
        jobs: Of a build.
        settings: Those of the dataset.
        recorded: Whether an earlier build has fixed them.

    Raises:
        UserError: One fault for each of these configs.
    """
    if not settings.fuse_adapters:
        return
    source, remedy = "--fuse-adapters", "remove the option"
    if recorded:
        source = "the dataset was started with --fuse-adapters, which"
        remedy = "name adapters in model.adapters"
    faults = [
        job.recipe.fault(
            f"{source} merges the adapters of all configs, but {job.name} has none; {remedy}, or "
            "build it into another directory",
            "model",
        )
        for job in jobs
        if job.kind == "set" and not job.recipe.model.adapters
    ]
    if faults:
        raise UserError(faults)


def merge_variables(
    manifest: Manifest | None, jobs: Sequence[Job], *, out: AnyPath
) -> dict[str, str]:
    """Return the variable columns of the whole dataset, types by name.

    Raises:
        UserError: A variable is text in one config and a number in another.
    """
    merged = dict(manifest.variables) if manifest else {}
    for job in jobs:
        for name, kind in job.recipe.variable_types.items():
            if merged.setdefault(name, kind) != kind:
                raise UserError(
                    f"{out}: variable {name} of {job.name} is {kind}, but {merged[name]} in "
                    "another config of the dataset; rename one of them"
                )
    if _gets_templates(manifest, jobs, out=out):
        taken = [job.name for job in jobs if TEMPLATE in job.recipe.variable_types]
        if taken:
            raise UserError(
                f"{out}: variable {TEMPLATE} of {taken[0]} has the name of a reserved column "
                "(the prompt template of each row); rename the variable"
            )
        merged[TEMPLATE] = "string"
    return dict(sorted(merged.items()))


def _gets_templates(manifest: Manifest | None, jobs: Sequence[Job], *, out: AnyPath) -> bool:
    """Return whether the dataset gets the column with each row's prompt template.

    A config of several prompts that was started without the column is resumed without it: its
    existing rows could not be distinguished from damaged ones otherwise.
    """
    before = manifest.configs if manifest else {}
    several = {
        job.name
        for job in jobs
        if len(job.recipe.prompt) > 1 and TEMPLATE not in job.recipe.variable_types
    }
    if not several - set(before):
        return False
    return not any(
        entry.kind == "set" and len(stored_recipe(out, name).prompt) > 1
        for name, entry in before.items()
    )


def _difference(out: AnyPath, job: Job) -> str:
    """Summarize how the recipe differs from that of the existing dataset."""
    path = recipe_path(out, job.name)
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    before = text.splitlines()
    after = job.recipe.to_yaml().splitlines()
    changed = [
        line
        for line in difflib.unified_diff(before, after, lineterm="", n=0)
        if line[:1] in "+-" and not line.startswith(("+++", "---"))
    ]
    more = (
        [f"  ... and {len(changed) - _DIFF_LINES} more lines"] if len(changed) > _DIFF_LINES else []
    )
    lines = [f"  {line}" for line in changed[:_DIFF_LINES]] + more
    return "\n".join(
        [
            f"{path}: {job.name} was generated from another recipe (- existing, + requested); "
            "build into another directory, or give the recipe another `name`",
            *lines,
        ]
    )


def _some(labels: Sequence[str]) -> str:
    more = ", ..." if len(labels) > 3 else ""
    return f"{', '.join(labels[:3])}{more} ({len(labels)})"
