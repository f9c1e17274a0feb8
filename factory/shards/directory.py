"""Open a dataset directory: its manifest, its configs and its stored recipes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from factory.common.dataset_files import no_dataset
from factory.common.errors import UserError
from factory.common.local_paths import require_own
from factory.common.storage import AnyPath, entries, is_local, local_copy
from factory.recipe.library import load_stored_recipe
from factory.recipe.resolved import ResolvedRecipe
from factory.shards.generations import Generation, newest
from factory.shards.manifest import FILE_NAME, Manifest, read_manifest
from factory.shards.parquet import ShardFile, list_shards

RECIPES = "recipes"


def recipe_path(out: AnyPath, config: str) -> AnyPath:
    """Return the path of a config's resolved recipe."""
    return out / RECIPES / f"{config}.yaml"


def open_set(out: AnyPath) -> Generation:
    """Return the newest generation of the dataset in `out`; a new dataset has no manifest.

    Raises:
        UserError: `out` is a file, contains something other than a dataset, or one of its folders
            is a link to another place.
    """
    for path in (out, *out.parents):
        if path.is_file():
            raise UserError(f"{path}: is a file; name a directory")
    if is_local(out):
        require_own(out)
    # Listed before the manifest is read: another process may start the dataset in the meantime,
    # and it writes its manifest first.
    # Files whose names begin with a dot belong to file managers and version control.
    found = [path.name for path in entries(out) if not path.name.startswith(".")]
    generation = newest(out)
    if generation.manifest is None and found:
        raise UserError(
            f"{out}: is not empty and contains no {FILE_NAME} "
            f"(it contains {', '.join(found[:3])}); build into a new directory"
        )
    return generation


@dataclass(frozen=True)
class Look:
    """A dataset directory at one moment.

    Attributes:
        out: The directory.
        generation: The newest one.
        shards: Files of shards by config, listed or not, by number.
    """

    out: AnyPath
    generation: Generation
    shards: dict[str, list[ShardFile]]

    @classmethod
    def at(cls, out: AnyPath, generation: Generation, configs: Iterable[str] = ()) -> Look:
        """List the shards of a generation's configs, and of `configs`, once each."""
        known = generation.manifest.configs if generation.manifest else ()
        names = dict.fromkeys((*known, *configs))
        return cls(out, generation, {name: list_shards(out, name) for name in names})

    def files(self, config: str) -> list[tuple[int, str]]:
        """Return number and path of each shard of a config, relative to the directory."""
        return [
            (shard.index, shard.path.relative_to(self.out).as_posix())
            for shard in self.shards.get(config, ())
        ]


def require_set(out: AnyPath) -> Manifest:
    """Return the manifest of the dataset in `out`.

    Raises:
        UserError: There is no dataset, or its manifest is damaged.
    """
    manifest = read_manifest(out)
    if manifest is None:
        raise no_dataset(out)
    return manifest


def require_config(out: AnyPath, manifest: Manifest, config: str) -> None:
    """Reject the name of a missing config.

    Raises:
        UserError: There is no such config; the message lists the existing ones.
    """
    if config not in manifest.configs:
        raise UserError(f"{out}: no config {config!r}; it has: {', '.join(manifest.configs)}")


def stored_recipe(out: AnyPath, config: str) -> ResolvedRecipe:
    """Load the recipe of a config from a dataset directory.

    Raises:
        UserError: The recipe is missing or damaged.
    """
    return stored_recipes(out, [config])[config]


def stored_recipes(out: AnyPath, configs: Iterable[str]) -> dict[str, ResolvedRecipe]:
    """Load the recipes of several configs, by name; files at a URL are fetched once.

    Raises:
        UserError: One is missing or damaged.
    """
    with local_copy(out / RECIPES) as folder:
        return {name: load_stored_recipe(folder / f"{name}.yaml") for name in configs}
