"""Compare two datasets, two recipes, or a dataset and a recipe, for `factory diff`.

Recipes are compared as resolved, key by key; settings, counts and versions where datasets have
them. The result also says, in shards, what a build of B in the directory of A would do with each
config: a changed recipe or setting means that the whole config is generated again; a larger count
keeps the existing images.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from factory.common.errors import UserError
from factory.common.storage import open_path
from factory.hub.recipe_references import is_hub_reference
from factory.recipe.library import load_recipes
from factory.recipe.resolved import ResolvedRecipe, plain_recipe
from factory.shards.directory import stored_recipes
from factory.shards.manifest import FILE_NAME, Manifest, read_manifest
from factory.shards.parquet import shard_count

_ABSENT = "absent"


@dataclass(frozen=True)
class Change:
    """A key whose value differs; `absent` on the side that lacks it."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Shards:
    """Effect of a build on a config's shards.

    Attributes:
        kept: Number of unchanged shards (they may be renamed).
        completed: Number of shards that keep their rows and get more.
        generated: Number of shards generated from scratch.
        why: Reason as text.
    """

    kept: int
    completed: int
    generated: int
    why: str


@dataclass(frozen=True)
class ConfigDifference:
    """Differences of one config.

    Attributes:
        name: The config.
        changes: Changed keys of the resolved recipe; empty if it is the same.
        same_images: Whether the recipe generates the same images.
        images: Counts before and after; None on a side that lacks the config.
        shards: Effect of a build; None if B lacks the config or has fewer images.
        other_bytes: Files with different bytes in both datasets; None unless both are datasets.
    """

    name: str
    changes: tuple[Change, ...]
    same_images: bool
    images: tuple[int | None, int | None]
    shards: Shards | None
    other_bytes: tuple[str, ...] | None

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.changes or self.other_bytes) and self.images[0] == self.images[1]


@dataclass(frozen=True)
class Difference:
    """Differences of two sides.

    Attributes:
        settings: Build settings, device, library versions and classes; only if both sides have
            them.
        configs: All configs of either side, by name.
    """

    settings: tuple[Change, ...]
    configs: tuple[ConfigDifference, ...]

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.settings and all(one.same for one in self.configs)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {"same": self.same, **asdict(self)}


@dataclass(frozen=True)
class _Side:
    """A dataset or some recipes; `manifest` is None for recipes."""

    recipes: Mapping[str, ResolvedRecipe]
    manifest: Manifest | None

    def images(self, name: str) -> int | None:
        if name not in self.recipes:
            return None
        if self.manifest is not None:
            return self.manifest.num_images(name)
        return self.recipes[name].num_images


def diff(before: str, after: str) -> Difference:
    """Compare two sides.

    Args:
        before: A dataset directory or URL, a recipe file or packaged name, a folder of recipes, or
            an `hf://` reference to recipes.
        after: The same.

    Raises:
        UserError: One of them is neither dataset nor recipe.
    """
    one, other = _side(before), _side(after)
    settings = tuple(_settings_changes(one.manifest, other.manifest))
    names = sorted(one.recipes.keys() | other.recipes.keys())
    return Difference(settings, tuple(_config(name, one, other, settings) for name in names))


def _side(reference: str) -> _Side:
    if is_hub_reference(reference):
        return _Side({recipe.name: recipe for recipe in load_recipes(reference)}, None)
    place = open_path(reference)
    manifest = read_manifest(place)
    if manifest is not None:
        names = list(manifest.configs)
        return _Side(stored_recipes(place, names), manifest)
    if "://" in reference:
        raise UserError(f"{reference}: is not a dataset (no {FILE_NAME})")
    return _Side({recipe.name: recipe for recipe in load_recipes(reference)}, None)


def _settings_changes(one: Manifest | None, other: Manifest | None) -> Iterator[Change]:
    if one is None or other is None:
        return
    for name, manifest in (("classes", "labels"), ("device", "device")):
        before, after = getattr(one, manifest), getattr(other, manifest)
        if before != after:
            yield Change(name, before, after)
    yield from changes_of(one.settings.as_dict(), other.settings.as_dict(), prefix="settings")
    if one.versions and other.versions:
        yield from changes_of(one.versions[-1], other.versions[-1], prefix="versions")


def changes_of(
    before: Mapping[str, Any], after: Mapping[str, Any], *, prefix: str = ""
) -> Iterator[Change]:
    """Yield the keys whose values differ, key by key inside mappings."""
    for key in dict.fromkeys((*before, *after)):
        path = f"{prefix}.{key}" if prefix else str(key)
        one, other = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from changes_of(one, other, prefix=path)
        elif one != other:
            yield Change(path, one, other)


def recipe_changes(before: ResolvedRecipe, after: ResolvedRecipe) -> Iterator[Change]:
    """Yield the keys at which two resolved recipes differ, ignoring their names."""
    yield from changes_of(_plain(before), _plain(after))
    if list(before.labels) != list(after.labels) and set(before.labels) == set(after.labels):
        yield Change("order of classes", list(before.labels), list(after.labels))


def _plain(recipe: ResolvedRecipe) -> dict[str, Any]:
    """Return a recipe as plain values, its classes by label."""
    said = plain_recipe(recipe)
    if "classes" in said:
        said["classes"] = {entry.pop("label"): entry for entry in said["classes"]}
    return said


def _config(name: str, one: _Side, other: _Side, settings: tuple[Change, ...]) -> ConfigDifference:
    before, after = one.recipes.get(name), other.recipes.get(name)
    images = (one.images(name), other.images(name))
    changes: tuple[Change, ...] = ()
    if before is not None and after is not None:
        changes = tuple(recipe_changes(before, after))
    same = before is not None and after is not None and before.fingerprint == after.fingerprint
    return ConfigDifference(
        name=name,
        changes=changes,
        same_images=same,
        images=images,
        shards=_shards(name, one, other, settings, same_images=same),
        other_bytes=_other_bytes(name, one.manifest, other.manifest),
    )


def _shards(
    name: str, one: _Side, other: _Side, settings: tuple[Change, ...], *, same_images: bool
) -> Shards | None:
    """Return the effect of building B in the directory of A."""
    before, after = one.images(name), other.images(name)
    found = one.manifest or other.manifest
    recipe = other.recipes.get(name)
    if after is None or found is None or recipe is None:
        return None
    if recipe.is_union:
        return Shards(0, 0, 0, "uses the files of its members")
    size = found.settings.shard_size
    total = shard_count(after, shard_size=size)
    if one.manifest is None or before is None:
        return Shards(0, 0, total, "new")
    changed = [one.key for one in settings if one.key.startswith("settings.")]
    if not same_images:
        return Shards(0, 0, total, "different recipe: needs another directory or another name")
    if changed:
        return Shards(0, 0, total, f"different {', '.join(changed)}: needs another directory")
    return _grown(one.manifest.configs[name].images, recipe.num_images, recipe, size=size)


def _grown(before: int, after: int, recipe: ResolvedRecipe, *, size: int) -> Shards | None:
    """Return the effect of a changed count; None for fewer images: datasets are never shortened."""
    total = shard_count(after, shard_size=size)
    if after < before:
        return None
    if recipe.is_combination and after != before:
        return Shards(
            0, 0, total, "a larger share starts with other rows: all rows are copied again"
        )
    full, rest = divmod(before, size)
    completed = 1 if rest and after > before else 0
    kept = full + (1 if rest and not completed else 0)
    why = "grown: existing rows are kept" if after > before else "unchanged"
    return Shards(kept, completed, total - kept - completed, why)


def _other_bytes(name: str, one: Manifest | None, other: Manifest | None) -> tuple[str, ...] | None:
    if one is None or other is None or name not in one.configs or name not in other.configs:
        return None
    hashes = {shard.file: shard.sha256 for shard in one.configs[name].shards}
    return tuple(
        shard.file
        for shard in other.configs[name].shards
        if hashes.get(shard.file, shard.sha256) != shard.sha256
    )
