"""`verify`: every file of a set, every row and every picture against manifest, recipes and plan.

Nothing is written, and nothing that lies in the directory is trusted: shards are held against the
manifest's hashes, rows against the plan that the recipes make, recipes and card against the
manifest's fingerprints. `factory.verify_files` looks at the directory, `factory.verify_rows` into
the shards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from factory import console
from factory.errors import UserError
from factory.manifest import FILE_NAME, Manifest, read_manifest
from factory.recipe import ResolvedRecipe
from factory.schema import features
from factory.set_faults import SetFault
from factory.shards import shard_rows
from factory.verify_files import (
    check_card,
    check_listing,
    check_recipes,
    expected_shards,
    stray_files,
)
from factory.verify_rows import ShardTask, balance_faults, check_shard


@dataclass(frozen=True)
class VerifyReport:
    """What was looked at and what is wrong.

    Attributes:
        out: The set's directory.
        faults: Everything that is wrong; empty for a whole set.
        configs: Names of the configs that were looked at.
        shards: How many shards were read.
        rows: How many rows were read.
    """

    out: str
    faults: tuple[SetFault, ...]
    configs: tuple[str, ...] = ()
    shards: int = 0
    rows: int = 0

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def verify_set(
    out: str | Path, *, config: str | None = None, show_progress: bool = False
) -> VerifyReport:
    """Check a set's files, rows and pictures.

    Args:
        out: The set's directory.
        config: Only the shards of this config, and of those it reads; files, recipes and card are
            checked either way.
        show_progress: Whether to show a progress bar on stderr.

    Raises:
        UserError: there is no set, or no such config.
    """
    place = Path(out)
    try:
        found = read_manifest(place)
    except UserError as error:
        unreadable = SetFault(FILE_NAME, "content", str(error.faults[0]), "a manifest that loads")
        return VerifyReport(str(out), (unreadable,))
    if found is None:
        raise UserError(f"{out}: no set is here (no {FILE_NAME}); name the directory of a build")
    names = _configs(out, found, config)
    recipes, faults = check_recipes(place, found)
    faults += check_listing(place, found)
    faults += stray_files(place, found)
    faults += check_card(place, found)
    shards = rows = 0
    with console.progress(
        sum(found.configs[name].images for name in names),
        unit="row",
        description="verify",
        show=show_progress,
    ) as bar:
        columns = features(found.labels, found.variables)
        for name in names:
            labels: Counter[int] = Counter()
            for task in shard_tasks(place, found, name, recipes):
                seen = check_shard(task, columns)
                faults += seen.faults
                labels += seen.labels
                shards, rows = shards + 1, rows + seen.rows
                bar.update(seen.rows)
            if labels.total() == found.configs[name].images:
                # Otherwise rows are missing, which was said already.
                faults += balance_faults(name, labels, found.labels)
    return VerifyReport(str(out), tuple(faults), tuple(names), shards, rows)


def _configs(out: str | Path, found: Manifest, config: str | None) -> list[str]:
    if config is None:
        return list(found.configs)
    if config not in found.configs:
        raise UserError(f"{out}: no config {config!r}; it has: {', '.join(found.configs)}")
    return [config, *(name for name in found.leaves(config) if name != config)]


def shard_tasks(
    out: Path, found: Manifest, name: str, recipes: Mapping[str, ResolvedRecipe]
) -> Iterator[ShardTask]:
    """Yield what is to be checked of a config's shards, by number."""
    entry = found.configs[name]
    size = found.settings.shard_size
    listed = {shard.file: shard.sha256 for shard in entry.shards}
    owners = {one.sha256: one.file for other in found.configs.values() for one in other.shards}
    for number, path in enumerate(expected_shards(out, name, entry, shard_size=size)):
        file = path.relative_to(out).as_posix()
        yield ShardTask(
            path=path,
            file=file,
            recipe=recipes.get(name),
            rows=shard_rows(number, num_images=entry.images, shard_size=size),
            sha256=listed.get(file),
            owners=owners,
        )
