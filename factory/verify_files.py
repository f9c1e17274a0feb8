"""What lies in a set's directory against what its manifest says: files, recipes, card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from factory import card, manifest, yaml_source
from factory.errors import UserError
from factory.existing import RECIPES, recipe_path
from factory.jobs import Job
from factory.library import load_stored_recipe
from factory.manifest import ConfigEntry, Manifest
from factory.model_files import PipelineSettings
from factory.recipe import ResolvedRecipe
from factory.sampling_summary import sampling_summary
from factory.set_faults import SetFault, short
from factory.shards import shard_count, shard_path, shard_rows
from factory.storage import AnyPath, is_temporary, local_copy
from factory.system_files import is_system_file

# What the manifest says of a config and its recipe says too.
_FROM_RECIPE = (
    "fingerprint",
    "kind",
    "model",
    "revision",
    "images",
    "images_per_class",
    "members",
)
_LINK = re.compile(r"(?:\]\(|src=\")([^)\"\s]+)")


def expected_shards(
    out: AnyPath, name: str, entry: ConfigEntry, *, shard_size: int
) -> list[AnyPath]:
    """Return where the shards of a config belong, by number; none for a union."""
    if entry.kind == "union":
        return []
    total = shard_count(entry.images, shard_size=shard_size)
    return [shard_path(out, name, index=index, total=total) for index in range(total)]


def check_recipes(
    out: AnyPath, found: Manifest
) -> tuple[dict[str, ResolvedRecipe], list[SetFault]]:
    """Load the recipes beside the set and hold them against the manifest.

    Returns:
        The recipes that are right, by name, and what is wrong with the others.
    """
    recipes: dict[str, ResolvedRecipe] = {}
    faults: list[SetFault] = []
    with local_copy(out / RECIPES) as folder:
        for name, entry in found.configs.items():
            path = folder / f"{name}.yaml"
            file = f"{RECIPES}/{name}.yaml"
            if not path.is_file():
                faults.append(SetFault(file, "file", "none", "the resolved recipe"))
                continue
            try:
                recipe = load_stored_recipe(path)
            except UserError as error:
                words = error.faults[0].message
                faults.append(SetFault(file, "recipe", words, "a recipe that loads"))
                continue
            wrong = list(_recipe_faults(file, recipe, entry, found))
            faults += wrong
            if not wrong:
                recipes[name] = recipe
                faults += _sampling_faults(recipe, entry)
    return recipes, faults


def _recipe_faults(
    file: str, recipe: ResolvedRecipe, entry: ConfigEntry, found: Manifest
) -> Iterator[SetFault]:
    """Yield where a recipe and its entry in the manifest disagree."""
    if tuple(recipe.labels) != found.labels:
        yield SetFault(file, "classes", short(list(recipe.labels)), short(list(found.labels)))
    planned = Job(recipe, recipe.num_images).entry()
    for name in _FROM_RECIPE:
        said, listed = getattr(planned, name), getattr(entry, name)
        if said != listed:
            expected = f"{short(listed)}, which the manifest names"
            yield SetFault(file, name, short(said), expected)


def _sampling_faults(recipe: ResolvedRecipe, entry: ConfigEntry) -> Iterator[SetFault]:
    """Yield where the manifest's sampling differs from the recipe's, if it has any.

    The pipeline's own scheduler and size are in no recipe and are taken as written.
    """
    listed = entry.sampling or {}
    own = PipelineSettings(
        **{key: listed.get(key) for key in ("scheduler", "height", "width", "variant")}
    )
    said = sampling_summary(recipe, own) if listed else {}
    for key in dict.fromkeys((*said, *listed)):
        if said.get(key) != listed.get(key):
            where = f"configs.{recipe.name}.sampling.{key}"
            found, expected = short(listed.get(key)), f"{short(said.get(key))}, as in its recipe"
            yield SetFault(manifest.FILE_NAME, where, found, expected)


def check_listing(out: AnyPath, found: Manifest) -> Iterator[SetFault]:
    """Yield what is wrong with the manifest's own list of shards."""
    for name, entry in found.configs.items():
        if not entry.complete:
            yield SetFault(
                manifest.FILE_NAME,
                f"configs.{name}",
                "a build that did not finish",
                "complete: run the same build again",
            )
            continue
        size = found.settings.shard_size
        paths = expected_shards(out, name, entry, shard_size=size)
        wanted = [path.relative_to(out).as_posix() for path in paths]
        listed = [shard.file for shard in entry.shards]
        if listed != wanted:
            yield SetFault(
                manifest.FILE_NAME,
                f"configs.{name}.shards",
                _some(listed, wanted),
                f"{len(wanted)} shards, as {entry.images} images make",
            )
        for number, shard in enumerate(entry.shards):
            rows = len(shard_rows(number, num_images=entry.images, shard_size=size))
            rows -= len(shard.failed)
            if listed == wanted and shard.rows != rows:
                yield SetFault(
                    manifest.FILE_NAME,
                    f"configs.{name}.shards.{number}.rows",
                    str(shard.rows),
                    str(rows),
                )


def _some(listed: list[str], wanted: list[str]) -> str:
    odd = [file for file in listed if file not in wanted]
    return f"{len(listed)} shards" + (f", {odd[0]} among them" if odd else "")


def stray_files(out: AnyPath, found: Manifest) -> Iterator[SetFault]:
    """Yield the files that belong to no config.

    Names that begin with a dot at the top belong to version control, system files to nobody;
    images that the card shows belong to the card.
    """
    size = found.settings.shard_size
    known = {out / manifest.FILE_NAME, out / card.FILE_NAME}
    for name, entry in found.configs.items():
        known |= {recipe_path(out, name), *expected_shards(out, name, entry, shard_size=size)}
    linked = {out / link for link in _links(out / card.FILE_NAME)}
    for path in sorted(out.rglob("*")):
        inner = path.relative_to(out)
        hidden = inner.parts[0].startswith(".") or is_system_file(PurePath(*inner.parts))
        overlooked = hidden and not is_temporary(path)
        if path.is_dir() or overlooked or path in known or path in linked:
            continue
        what = "a file that a stopped build left" if is_temporary(path) else "a stray file"
        yield SetFault(inner.as_posix(), "file", what, "none (no config has it): move or delete it")


def _links(path: AnyPath) -> list[str]:
    return (
        _LINK.findall(path.read_text(encoding="utf-8", errors="replace")) if path.is_file() else []
    )


def check_card(out: AnyPath, found: Manifest) -> Iterator[SetFault]:
    """Yield what the card says otherwise than the manifest: configs, fingerprints, settings.

    People may add to a card; what it says about how the set was made must be there.
    """
    path = out / card.FILE_NAME
    if not path.is_file():
        if any(entry.complete for entry in found.configs.values()):
            yield SetFault(card.FILE_NAME, "file", "none", "the set's card")
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    head = _header(text)
    if not isinstance(head, dict):
        yield SetFault(card.FILE_NAME, "header", head, "the configs")
        return
    yield from _config_faults(head, found)
    for line in card.facts(found):
        if line not in text.splitlines():
            start = line.split()[1]
            now = next((one for one in text.splitlines() if one.startswith(f"- {start}")), None)
            yield SetFault(card.FILE_NAME, start.rstrip(":"), short(now), short(line))


def _header(text: str) -> dict[str, Any] | str:
    """Return the card's header, or what is wrong with it."""
    import yaml

    missing = "no YAML between lines of ---"
    parts = text.split("---\n", 2)
    if len(parts) != 3 or parts[0].strip():
        return missing
    try:
        # First within the limits of recipes: a card may come from anywhere too, and a few nested
        # aliases grow beyond all memory once they are shown.
        yaml_source.parse(parts[1], file=card.FILE_NAME)
        head = yaml.safe_load(parts[1])
    except UserError as error:
        return error.faults[0].message
    except yaml.YAMLError:
        return missing
    return head if isinstance(head, dict) else missing


def _config_faults(head: Mapping[str, Any], found: Manifest) -> Iterator[SetFault]:
    written = head.get("configs")
    listed = [one for one in written if isinstance(one, dict)] if isinstance(written, list) else []
    entries = {str(one.get("config_name")): one for one in listed}
    wanted = {str(one["config_name"]): one for one in card.config_entries(found)}
    if list(entries) != list(wanted):
        yield SetFault(card.FILE_NAME, "configs", short(list(entries)), short(list(wanted)))
    for name, entry in wanted.items():
        for key, value in entry.items():
            if name in entries and entries[name].get(key) != value:
                now = short(entries[name].get(key))
                yield SetFault(card.FILE_NAME, f"configs.{name}.{key}", now, short(value))
