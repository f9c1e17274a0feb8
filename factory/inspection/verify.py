"""`verify`: check every file, row and image of a dataset against manifest, recipes and plan.

Nothing is written, and nothing in the directory is trusted: shards are compared with the manifest's
hashes, rows with the plan of the recipes, recipes and card with the manifest's fingerprints.
`factory.inspection.verify_files` and `factory.inspection.verify_strays` check the directory,
`factory.inspection.verify_rows` and `factory.inspection.verify_decoding` the shards.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from factory.common import console
from factory.common.errors import UserError
from factory.common.local_paths import foreign_files
from factory.common.storage import AnyPath, is_local, open_path
from factory.data.columns import arrow_schema
from factory.inspection.faults import SetFault
from factory.inspection.verify_files import (
    check_card,
    check_listing,
    check_recipes,
)
from factory.inspection.verify_images import Comparison, Sample, compare_sample
from factory.inspection.verify_rows import ShardTask, balance_faults, check_shard
from factory.inspection.verify_strays import check_generation, left_over_shards, stray_files
from factory.recipe.resolved import ResolvedRecipe
from factory.shards.directory import require_config, require_set
from factory.shards.layout import shard_files, wanted_stamp
from factory.shards.manifest import FILE_NAME, Manifest

_FOREIGN = "a link out of the dataset, or not a regular file; nothing was read"

__all__ = ["Sample", "SetFault", "VerifyReport", "verify_set"]


@dataclass(frozen=True)
class VerifyReport:
    """Result of `verify`.

    Attributes:
        out: Dataset directory.
        faults: All faults; empty for an undamaged dataset.
        configs: Names of the checked configs.
        shards: Number of shards read.
        rows: Number of rows read.
        failed: Failed images in the manifest, which have no row.
        compared: Number of images regenerated and compared.
        notes: Differences between this machine and the dataset's, if images were regenerated.
        left_over: Shards that no config lists, e.g. of an interrupted build; they are not read.
    """

    out: str
    faults: tuple[SetFault, ...]
    configs: tuple[str, ...] = ()
    shards: int = 0
    rows: int = 0
    failed: int = 0
    compared: int = 0
    notes: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def verify_set(
    out: str | Path,
    *,
    config: str | None = None,
    sample: Sample | None = None,
    found: Manifest | None = None,
    show_progress: bool = False,
) -> VerifyReport:
    """Check a dataset's files, rows and images.

    Args:
        out: Dataset directory.
        config: Check only the shards of this config, and of those it reads; files, recipes and card
            are checked either way.
        sample: Share of images to regenerate and compare; default: none.
        found: The manifest, if it was read already.
        show_progress: Whether to show a progress bar on stderr.

    Raises:
        UserError: The dataset or config does not exist, or the sample cannot be generated.
    """
    place = open_path(out)
    foreign = [
        SetFault(path.relative_to(place).as_posix(), "file", _FOREIGN, "the file itself")
        for path in (foreign_files(place) if is_local(place) else ())
    ]
    if foreign:
        # Nothing is read, because a name may lead anywhere.
        return VerifyReport(str(out), tuple(foreign))
    try:
        found = found or require_set(place)
    except UserError as error:
        if not (place / FILE_NAME).is_file():
            raise
        unreadable = SetFault(FILE_NAME, "content", str(error.faults[0]), "a manifest that loads")
        return VerifyReport(str(out), (unreadable,))
    names = _configs(place, found, config)
    recipes, faults = check_recipes(place, found)
    left_over = left_over_shards(place, found)
    faults += [*check_listing(place, found), *check_generation(place, found)]
    faults += [*stray_files(place, found, left_over), *check_card(place, found)]
    read = _read_shards(place, found, names, recipes, show_progress=show_progress)
    faults += read.faults
    compared = Comparison([], 0, [])
    if sample is not None:
        chosen = {name: recipe for name, recipe in recipes.items() if name in names}
        damaged = frozenset(fault.file for fault in faults)
        compared = compare_sample(place, found, chosen, sample=sample, damaged=damaged)
    return VerifyReport(
        str(out),
        (*faults, *compared.faults),
        tuple(names),
        read.shards,
        read.rows,
        failed=sum(len(found.configs[name].failed) for name in names),
        compared=compared.compared,
        notes=tuple(compared.notes),
        left_over=tuple(left_over),
    )


@dataclass
class _Read:
    """Result of reading shards so far."""

    faults: list[SetFault] = field(default_factory=list)
    shards: int = 0
    rows: int = 0


def _read_shards(
    out: AnyPath,
    found: Manifest,
    names: Sequence[str],
    recipes: Mapping[str, ResolvedRecipe],
    *,
    show_progress: bool,
) -> _Read:
    """Read the shards of some configs, one after the other."""
    read = _Read()
    columns = arrow_schema(found.labels, found.variables)
    total = sum(found.configs[name].images for name in names)
    with console.progress(total, unit="row", description="verify", show=show_progress) as bar:
        for name in names:
            labels: Counter[int] = Counter()
            for task in shard_tasks(out, found, name, recipes):
                seen = check_shard(task, columns)
                read.faults += seen.faults
                labels += seen.labels
                read.shards += 1
                read.rows += seen.rows
                bar.update(seen.rows)
            entry = found.configs[name]
            if labels.total() == entry.rows:
                # Otherwise rows are missing, which is already reported.
                labels.update(image.label for image in entry.failed)
                read.faults += balance_faults(name, labels, found.labels, recipes.get(name))
    return read


def _configs(out: AnyPath, found: Manifest, config: str | None) -> list[str]:
    if config is None:
        return list(found.configs)
    require_config(out, found, config)
    return [config, *(name for name in found.leaves(config) if name != config)]


def shard_tasks(
    out: AnyPath, found: Manifest, name: str, recipes: Mapping[str, ResolvedRecipe]
) -> Iterator[ShardTask]:
    """Yield the checks for a config's shards, by number."""
    entry = found.configs[name]
    listed = {shard.file: shard for shard in entry.shards}
    owners = {one.sha256: one.file for other in found.configs.values() for one in other.shards}
    for number, file in enumerate(shard_files(found, name)):
        yield ShardTask(
            path=out / file,
            file=file,
            recipe=recipes.get(name),
            stamp=wanted_stamp(found, name, number),
            listed=listed.get(file),
            owners=owners,
            measured=found.measured,
        )
