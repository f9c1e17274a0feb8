"""`manifest.json`: what a set is made of.

Written before the first shard (settings, fingerprints) and again at the end (shards, hashes): a
shard on disk belongs to the recipe whose fingerprint stands here. It holds nothing that differs
between two builds of the same recipe on the same machine: no times, no number of processes.
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from factory.common.errors import UserError
from factory.common.outside import MAX_JSON_BYTES, read_text
from factory.common.storage import AnyPath, write_text
from factory.data.columns import CONFIG_NAME
from factory.shards.settings import FixedSettings

FILE_NAME = "manifest.json"
FORMAT: Final = 1
MAX_SHARDS = 1_000_000
"""Twice what fits into a manifest of the largest size that is read."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FailedImage(_Entry):
    """An image that no attempt could draw; its row is left out of its shard.

    Attributes:
        index: Of the image in its set; in a share, the row's place.
        label: Its class.
        reason: What was wrong with the last attempt, e.g. `black`.
        attempts: How often it was drawn.
    """

    index: int
    label: int
    reason: str
    attempts: int


class ShardEntry(_Entry):
    """One Parquet file.

    Attributes:
        file: Relative to the set's directory.
        rows: That it holds.
        sha256: Of the file.
        failed: Images of its range that have no row; with the rows they make the range whole.
    """

    file: str
    rows: int
    sha256: str
    failed: tuple[FailedImage, ...] = ()


class ConfigEntry(_Entry):
    """One config of the set.

    Attributes:
        kind: `set` has pictures of its own, `share` copies of other configs' rows, `union` none: it
            reads its members' files.
        fingerprint: Of the resolved recipe.
        model: Hub id or directory; None for combinations.
        revision: Commit or hash of the weights.
        images: Images in all, copies and failed ones included; 0 for unions, whose members have
            them.
        images_per_class: None for unions.
        sampling: How its images are sampled; see `factory.planner.sampling_summary`. None for
            combinations, whose members have it, and in manifests of older versions.
        members: Configs a combination is made of.
        complete: Whether all shards are there.
        shards: By number; empty until the config is complete, and for unions.
    """

    kind: Literal["set", "share", "union"]
    fingerprint: str
    model: str | None
    revision: str | None
    images: int
    images_per_class: int | None
    sampling: dict[str, Any] | None = None
    members: tuple[str, ...] = ()
    complete: bool = False
    shards: tuple[ShardEntry, ...] = ()

    @property
    def failed(self) -> tuple[FailedImage, ...]:
        """The images that have no row, in order."""
        return tuple(image for shard in self.shards for image in shard.failed)

    @property
    def rows(self) -> int:
        """How many rows its shards hold once it is complete."""
        return self.images - len(self.failed)


class GateEntry(_Entry):
    """A quality gate that has measured the set.

    Attributes:
        columns: Types by name; they stand among the set's `variables` too.
        method: What was measured, in words.
        model: Hub id or directory, None without a model.
        revision: Commit, or hash of a directory's files.
        thresholds: Limits of its flags, by name.
    """

    columns: dict[str, str]
    method: str
    model: str | None = None
    revision: str | None = None
    thresholds: dict[str, float] = {}


class Manifest(_Entry):
    """A set's manifest.

    Attributes:
        format: Of this file.
        settings: Build settings, fixed for the set.
        device: Name of the device the set was begun on.
        versions: Of the libraries; more than one entry when the set was continued with others.
        labels: Class names by label.
        variables: Types of the set's own columns, by name: those recipes draw and gates measure.
        configs: By name.
        gates: What measured columns stand among `variables`, by the gate's name.
    """

    format: Literal[1] = FORMAT
    settings: FixedSettings
    device: str
    versions: tuple[dict[str, str], ...]
    labels: tuple[str, ...]
    variables: dict[str, str]
    configs: dict[str, ConfigEntry]
    gates: dict[str, GateEntry] = {}

    @property
    def measured(self) -> frozenset[str]:
        """Columns that gates have measured: no recipe plans them."""
        return frozenset(name for gate in self.gates.values() for name in gate.columns)

    @model_validator(mode="after")
    def _stays_in_its_directory(self) -> Manifest:
        """Refuse what a manifest from elsewhere could lead astray with: names, sizes, members."""
        sizes = (self.settings.batch_size, self.settings.shard_size, self.settings.attempts)
        if min(sizes) < 1:
            raise ValueError("batch size, shard size and attempts are 1 or more")
        if not self.labels:
            raise ValueError("it names no class")
        for name, entry in self.configs.items():
            if not CONFIG_NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot name a config, which is a directory")
            if entry.images < 0:
                raise ValueError(f"{name} has {entry.images} images")
            if entry.images > MAX_SHARDS * self.settings.shard_size:
                raise ValueError(f"{name} has more than {MAX_SHARDS:,} shards")
            for shard in entry.shards:
                if not shard.file.startswith(f"data/{name}/") or shard.file.count("/") != 2:
                    raise ValueError(f"{shard.file!r} is no file of config {name}")
            for member in entry.members:
                if member not in self.configs or self.configs[member].kind != "set":
                    raise ValueError(f"member {member!r} of {name} is no set")
        return self

    def leaves(self, name: str) -> list[str]:
        """Return the configs whose files a config reads: itself, or a union's members."""
        entry = self.configs[name]
        if entry.kind != "union":
            return [name]
        found = [leaf for member in entry.members for leaf in self.leaves(member)]
        return list(dict.fromkeys(found))

    def num_images(self, name: str) -> int:
        """Return how many rows a config reads."""
        return sum(self.configs[leaf].rows for leaf in self.leaves(name))

    def in_order(self) -> list[str]:
        """Return the names of the complete configs: sets before combinations, then by name."""
        complete = [name for name, entry in self.configs.items() if entry.complete]
        return sorted(complete, key=lambda name: (self.configs[name].kind != "set", name))

    def text(self) -> str:
        """Return the manifest as `manifest.json` holds it."""
        fields = self.model_dump(mode="json")
        return json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def write(self, out: AnyPath) -> None:
        """Write the manifest into the dataset's directory, whole or not at all."""
        write_text(out / FILE_NAME, self.text())


def read_manifest(out: AnyPath) -> Manifest | None:
    """Return a set's manifest, or None where none was begun.

    Raises:
        UserError: the file is damaged or of another version.
    """
    path = out / FILE_NAME
    if not path.is_file():
        return None
    return parse_manifest(path, read_text(path, max_bytes=MAX_JSON_BYTES))


def parse_manifest(path: AnyPath, text: str) -> Manifest:
    """Read a manifest's text; `path` is for messages.

    Raises:
        UserError: it is damaged or of another version.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise UserError(
            f"{path}: is not a manifest of this version ({_reason(error)}); "
            "restore it, or build into another directory"
        ) from None


def _reason(error: ValidationError) -> str:
    """Return the first thing that is wrong, and where."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else str(first["msg"])
