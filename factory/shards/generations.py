"""Replace the manifest of a dataset by compare-and-swap: each version is a numbered generation.

Each change of the manifest is a separate file, `OUT/.generations/00000007.json`, created only if no
other process has created that number: a compare-and-swap that works on file systems (a hard link)
and object stores (a conditional put). The file with the highest number defines the dataset. A
process that was suspended for hours finds its number taken and has to read again. `manifest.json`,
the recipes and the card are copies for readers: `factory.card.reader_files` writes them from the
newest generation and checks again afterwards, so that no outdated copy remains.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from factory.common.errors import UserError
from factory.common.local_paths import GENERATIONS
from factory.common.storage import AnyPath, write_bytes
from factory.common.untrusted_files import MAX_JSON_BYTES, read_text
from factory.data.columns import CONFIG_NAME
from factory.shards.manifest import FILE_NAME, Manifest, parse_manifest

FOLDER = GENERATIONS
_KEPT = 2
"""Listings are not atomic: because the previous one is kept, none of them is empty."""
_NAME = re.compile(r"([0-9]{8}|[1-9][0-9]{8,})\.json")


class Generation(BaseModel):
    """One state of a dataset.

    Attributes:
        number: Number of the change; 0 for a dataset with only `manifest.json`, or nothing.
        manifest: None before the first change of a new dataset.
        recipes: Resolved recipes as YAML, by config; at number 0 they are files only.
        dropped: Configs of earlier generations whose builds stopped before their first shard.
        earlier: SHA-256 of the manifest's text in earlier generations.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = 0
    manifest: Manifest | None = None
    recipes: dict[str, str] = {}
    dropped: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()

    @property
    def written(self) -> Manifest:
        """The manifest; not available before a build has started."""
        assert self.manifest is not None, "only a new dataset has none"
        return self.manifest

    @model_validator(mode="after")
    def _stays_in_its_directory(self) -> Generation:
        """Reject names that lead out of the directory, because recipes are written and removed."""
        configs = self.manifest.configs if self.manifest else {}
        for name in (*self.recipes, *self.dropped):
            if not CONFIG_NAME.fullmatch(name):
                raise ValueError(f"{name[:100]!r} is not a valid config name")
        if unknown := sorted(self.recipes.keys() - configs.keys()):
            raise ValueError(
                f"it contains a recipe for {unknown[0]!r}, but its manifest has no such config"
            )
        if kept := sorted(configs.keys() & set(self.dropped)):
            raise ValueError(f"it lists config {kept[0]!r} both as present and as removed")
        return self

    def text(self) -> str:
        """Return the text of its file: keys in the order of `manifest.json`."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False) + "\n"


def latest(out: AnyPath) -> int:
    """Return the number of the newest generation; 0 if there is none."""
    return max(_numbers(out), default=0)


def newest(out: AnyPath) -> Generation:
    """Return the newest generation.

    A `manifest.json` that no generation has written, e.g. a restored copy or one of an older
    version, counts as the newest.

    Raises:
        UserError: The newest generation, or a `manifest.json` from elsewhere, is damaged.
    """
    found = _read(out)
    path = out / FILE_NAME
    if not path.is_file():
        return found
    text = read_text(path, max_bytes=MAX_JSON_BYTES)
    digest = _sha256(text.encode())
    if found.manifest and digest in (_hash_of(found.manifest), *found.earlier):
        return found
    manifest = parse_manifest(path, text)
    dropped = tuple(name for name in found.dropped if name not in manifest.configs)
    earlier = (*found.earlier, digest)
    return found.model_copy(update={"manifest": manifest, "dropped": dropped, "earlier": earlier})


def replace(
    out: AnyPath, base: Generation, manifest: Manifest, *, recipes: dict[str, str]
) -> Generation | None:
    """Store a manifest as the dataset's newest generation, if `base` is still the newest.

    Returns:
        The new generation; None if another process has written one first: read it and try again.
    """
    if base.number and base.number not in _numbers(out):
        # The next number is free only because somebody has removed the folder meanwhile.
        return None
    before = () if base.manifest is None else (_hash_of(base.manifest),)
    names = (*base.dropped, *(base.manifest.configs if base.manifest else ()))
    kept = {name: text for name, text in base.recipes.items() if name in manifest.configs}
    new = Generation(
        number=base.number + 1,
        manifest=manifest,
        recipes=kept | recipes,
        dropped=tuple(sorted(set(names) - manifest.configs.keys())),
        earlier=tuple(dict.fromkeys((*base.earlier, *before))),
    )
    text = new.text()
    if not write_bytes(_path(out, new.number), text.encode(), exclusive=True):
        return None
    numbers = _numbers(out)
    if max(numbers) != new.number:
        # The number was free because it had been removed long ago.
        return None
    for number in numbers:
        if number <= new.number - _KEPT:
            _path(out, number).unlink(missing_ok=True)
    # As everybody else reads it: with keys in the order of the file.
    return Generation.model_validate_json(text)


def _read(out: AnyPath) -> Generation:
    while number := latest(out):
        path = _path(out, number)
        try:
            return _parse(path, number, read_text(path, max_bytes=MAX_JSON_BYTES))
        except UserError:
            if latest(out) == number:
                raise
            # Replaced between the two calls.
    return Generation()


def _parse(path: AnyPath, number: int, text: str) -> Generation:
    try:
        found = Generation.model_validate_json(text)
    except ValidationError as error:
        raise _damaged(path, str(error.errors()[0]["msg"])) from None
    if found.number != number:
        raise _damaged(path, f"its name has number {number}, but it contains number {found.number}")
    if found.manifest is None:
        raise _damaged(path, "it has no manifest")
    return found


def _damaged(path: AnyPath, what: str) -> UserError:
    return UserError(
        f"{path}: is damaged ({what}); remove the folder {FOLDER} to use the dataset as listed in "
        f"{FILE_NAME}"
    )


def _numbers(out: AnyPath) -> list[int]:
    folder = out / FOLDER
    try:
        matches = [_NAME.fullmatch(path.name) for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [int(match[1]) for match in matches if match]


def _path(out: AnyPath, number: int) -> Any:
    return out / FOLDER / f"{number:08d}.json"


def _hash_of(manifest: Manifest) -> str:
    return _sha256(manifest.text().encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
