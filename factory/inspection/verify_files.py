"""Check files, recipes and card of a dataset directory against its manifest."""

from collections.abc import Iterator, Mapping
from typing import Any

from factory.builder.jobs import Job
from factory.card import page
from factory.card.header import older_data_files
from factory.common.dataset_files import MAX_CARD_BYTES
from factory.common.errors import UserError
from factory.common.storage import AnyPath, local_copy
from factory.common.text import plural
from factory.common.untrusted_files import parse_yaml, read_text
from factory.inspection.faults import SetFault, short
from factory.planner.sampling_summary import sampling_summary
from factory.recipe.library import load_stored_recipe
from factory.recipe.model_files import PipelineSettings
from factory.recipe.resolved import ResolvedRecipe
from factory.shards import manifest
from factory.shards.directory import RECIPES
from factory.shards.layout import number_of, total_shards, wanted_stamp
from factory.shards.manifest import ConfigEntry, Manifest

# Values that manifest and recipe share.
_FROM_RECIPE = (
    "fingerprint",
    "kind",
    "model",
    "revision",
    "images",
    "images_per_class",
    "members",
)


def check_recipes(
    out: AnyPath, found: Manifest
) -> tuple[dict[str, ResolvedRecipe], list[SetFault]]:
    """Load the stored recipes and compare them with the manifest.

    Returns:
        The valid recipes by name, and the faults of the others.
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
    """Yield differences between a recipe and its manifest entry."""
    if tuple(recipe.labels) != found.labels:
        yield SetFault(file, "classes", short(list(recipe.labels)), short(list(found.labels)))
    planned = Job(recipe, recipe.num_images, pipeline=PipelineSettings()).entry()
    for name in _FROM_RECIPE:
        said, listed = getattr(planned, name), getattr(entry, name)
        if said != listed:
            expected = f"{short(listed)}, as in the manifest"
            yield SetFault(file, name, short(said), expected)


def _sampling_faults(recipe: ResolvedRecipe, entry: ConfigEntry) -> Iterator[SetFault]:
    """Yield differences between the manifest's sampling and the recipe's, if it has any.

    The pipeline's own scheduler and size are in no recipe and are not checked.
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
    """Yield faults of the manifest's list of shards."""
    for name, entry in found.configs.items():
        if not entry.complete:
            yield SetFault(
                manifest.FILE_NAME,
                f"configs.{name}",
                "a build that did not finish",
                "complete: run the same build again",
            )
            continue
        total = total_shards(found, name)
        numbers = [number_of(shard.file) for shard in entry.shards]
        if numbers != list(range(total)):
            yield SetFault(
                manifest.FILE_NAME,
                f"configs.{name}.shards",
                _some(entry),
                f"{plural(total, 'shard')}, for {plural(entry.images, 'image')}",
            )
            continue
        for number, shard in enumerate(entry.shards):
            stamp = wanted_stamp(found, name, number)
            rows = stamp.stop - stamp.start - len(shard.failed)
            if shard.rows != rows:
                yield SetFault(
                    manifest.FILE_NAME,
                    f"configs.{name}.shards.{number}.rows",
                    str(shard.rows),
                    str(rows),
                )


def _some(entry: ConfigEntry) -> str:
    odd = [one.file for place, one in enumerate(entry.shards) if number_of(one.file) != place]
    return plural(len(entry.shards), "shard") + (f", {odd[0]} among them" if odd else "")


def check_card(out: AnyPath, found: Manifest) -> Iterator[SetFault]:
    """Yield differences between card and manifest: configs, fingerprints, settings.

    People may add to a card, but its statements about the dataset's creation must be present.
    """
    path = out / page.FILE_NAME
    if not path.is_file():
        if any(entry.complete for entry in found.configs.values()):
            yield SetFault(page.FILE_NAME, "file", "none", "the dataset's card")
        return
    try:
        text = read_text(path, max_bytes=MAX_CARD_BYTES, shown=page.FILE_NAME)
    except UserError as error:
        yield SetFault(page.FILE_NAME, "file", error.faults[0].message, "the dataset's card")
        return
    head = _header(text)
    if not isinstance(head, dict):
        yield SetFault(page.FILE_NAME, "header", head, "the configs")
        return
    yield from _config_faults(head, found)
    for line in page.facts(found):
        if line not in text.splitlines():
            start = line.split()[1]
            now = next((one for one in text.splitlines() if one.startswith(f"- {start}")), None)
            yield SetFault(page.FILE_NAME, start.rstrip(":"), short(now), short(line))


def _header(text: str) -> dict[str, Any] | str:
    """Return the card's header, or its fault."""
    missing = "no YAML between lines of ---"
    parts = text.split("---\n", 2)
    if len(parts) != 3 or parts[0].strip():
        return missing
    try:
        head = parse_yaml(parts[1], file=page.FILE_NAME)
    except UserError as error:
        return error.faults[0].message
    return head if isinstance(head, dict) else missing


def _config_faults(head: Mapping[str, Any], found: Manifest) -> Iterator[SetFault]:
    written = head.get("configs")
    listed = [one for one in written if isinstance(one, dict)] if isinstance(written, list) else []
    entries = {str(one.get("config_name")): one for one in listed}
    wanted = {str(one["config_name"]): one for one in page.config_entries(found)}
    if list(entries) != list(wanted):
        yield SetFault(page.FILE_NAME, "configs", short(list(entries)), short(list(wanted)))
    for name, entry in wanted.items():
        for key, value in entry.items():
            said = entries.get(name, {}).get(key)
            if name in entries and said not in _allowed(found, name, key, value):
                now = short(said)
                yield SetFault(page.FILE_NAME, f"configs.{name}.{key}", now, short(value))


def _allowed(found: Manifest, name: str, key: str, value: object) -> list[object]:
    """Return the values that a card may have for a config: cards of older versions have a glob."""
    older = older_data_files(found, name) if key == "data_files" else None
    return [value] if older is None else [value, older]
