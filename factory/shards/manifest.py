"""Read and write `manifest.json`, the description of a dataset.

It is written before the first shard (settings, fingerprints) and again at the end (shards, hashes):
a shard on disk belongs to the recipe with this fingerprint. Two builds of the same recipe on the
same machine give the same manifest: it contains no times and no number of processes.
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from factory.common.dataset_files import MANIFEST
from factory.common.errors import UserError
from factory.common.frozen import first_invalid
from factory.common.storage import AnyPath, write_text
from factory.common.untrusted_files import MAX_JSON_BYTES, read_text
from factory.data.columns import CONFIG_NAME
from factory.shards.settings import FixedSettings

FILE_NAME = MANIFEST
FORMAT: Final = 1
MAX_SHARDS = 1_000_000
"""Twice the number that fits into the largest accepted manifest."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FailedImage(_Entry):
    """An image that failed in every attempt; it has no row.

    Attributes:
        index: Index of the image in its config; in an equal share, the row number.
        label: Label of its class.
        reason: Flaw of the last attempt, e.g. `black`.
        attempts: Number of attempts.
    """

    index: int
    label: int
    reason: str
    attempts: int


class ShardEntry(_Entry):
    """One Parquet file.

    Attributes:
        file: Relative to the dataset directory.
        rows: Number of rows.
        sha256: Hash of the file.
        failed: Images of its range without a row; rows and failed images make up the range.
    """

    file: str
    rows: int
    sha256: str
    failed: tuple[FailedImage, ...] = ()


class ConfigEntry(_Entry):
    """One config of the dataset.

    Attributes:
        kind: `set` has its own images, `share` copies rows of other configs, `union` reads the
            files of its members.
        fingerprint: Fingerprint of the resolved recipe.
        model: Hub id or directory; None for combinations.
        revision: Commit or hash of the weights.
        images: Planned number of images, copies and failed ones included; 0 for unions.
        images_per_class: None for unions and for configs with different numbers of each class.
        sampling: How its images are sampled; see `factory.planner.sampling_summary`. None for
            combinations and in manifests of older versions.
        members: Members of a combination.
        complete: Whether all shards exist.
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
        """Images without a row, in order."""
        return tuple(image for shard in self.shards for image in shard.failed)

    @property
    def rows(self) -> int:
        """Number of rows in its shards once it is complete."""
        return self.images - len(self.failed)


class GateEntry(_Entry):
    """A quality gate applied to the dataset.

    Attributes:
        columns: Column types by name; the columns are also in the dataset's `variables`.
        method: Description of the measurement.
        model: Hub id or directory; None without a model.
        revision: Commit, or hash of a directory's files.
        thresholds: Thresholds of its flags, by name.
    """

    columns: dict[str, str]
    method: str
    model: str | None = None
    revision: str | None = None
    thresholds: dict[str, float] = {}


class Manifest(_Entry):
    """Manifest of a dataset.

    Attributes:
        format: Format of this file.
        settings: Build settings, fixed for the dataset.
        device: Name of the device at the first start.
        versions: Library versions; several entries if the build was resumed with others.
        labels: Class names by label.
        variables: Types of the dataset's variable and measured columns, by name.
        configs: By name.
        gates: By the gate's name; their columns are in `variables`.
        offload: Kinds of offload that generated images, in order of first use.
    """

    format: Literal[1] = FORMAT
    settings: FixedSettings
    device: str
    versions: tuple[dict[str, str], ...]
    labels: tuple[str, ...]
    variables: dict[str, str]
    configs: dict[str, ConfigEntry]
    gates: dict[str, GateEntry] = {}
    offload: tuple[str, ...] = ()

    @model_serializer(mode="wrap")
    def _in_use(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is not used, so that older versions can read the manifest."""
        fields: dict[str, Any] = dump(self) | {"settings": self.settings.as_dict()}
        return {name: value for name, value in fields.items() if name != "offload" or value}

    def offload_on(self, device: str) -> str | None:
        """Return the offload to generate images again with, on a device such as `cuda:1`.

        It is the last kind that was used; a CPU needs none.
        """
        return self.offload[-1] if self.offload and not device.startswith("cpu") else None

    @property
    def measured(self) -> frozenset[str]:
        """Columns measured by gates: recipes do not plan them."""
        return frozenset(name for gate in self.gates.values() for name in gate.columns)

    @model_validator(mode="after")
    def _stays_in_its_directory(self) -> Manifest:
        """Reject dangerous values in a manifest from elsewhere: names, sizes, members."""
        sizes = (self.settings.batch_size, self.settings.shard_size, self.settings.attempts)
        if min(sizes) < 1:
            raise ValueError("batch size, shard size and attempts must be 1 or more")
        if not self.labels:
            raise ValueError("has no classes")
        for name, entry in self.configs.items():
            if not CONFIG_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a valid config name")
            if entry.images < 0:
                raise ValueError(f"config {name} has {entry.images} images; expected 0 or more")
            if entry.images > MAX_SHARDS * self.settings.shard_size:
                raise ValueError(f"{name} has more than {MAX_SHARDS:,} shards")
            for shard in entry.shards:
                if not shard.file.startswith(f"data/{name}/") or shard.file.count("/") != 2:
                    raise ValueError(f"{shard.file!r} is not a file of config {name}")
            for member in entry.members:
                if member not in self.configs or self.configs[member].kind != "set":
                    raise ValueError(f"member {member!r} of {name} is not a config")
        return self

    def leaves(self, name: str) -> list[str]:
        """Return the configs whose files a config reads: itself, or a union's members."""
        entry = self.configs[name]
        if entry.kind != "union":
            return [name]
        found = [leaf for member in entry.members for leaf in self.leaves(member)]
        return list(dict.fromkeys(found))

    def num_images(self, name: str) -> int:
        """Return the number of rows that a config reads."""
        return sum(self.configs[leaf].rows for leaf in self.leaves(name))

    def in_order(self) -> list[str]:
        """Return the names of the complete configs: combinations last, then by name."""
        complete = [name for name, entry in self.configs.items() if entry.complete]
        return sorted(complete, key=lambda name: (self.configs[name].kind != "set", name))

    def text(self) -> str:
        """Return the text of `manifest.json`."""
        fields = self.model_dump(mode="json")
        return json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def write(self, out: AnyPath) -> None:
        """Write the manifest into the dataset directory, atomically."""
        write_text(out / FILE_NAME, self.text())


def read_manifest(out: AnyPath) -> Manifest | None:
    """Return a dataset's manifest, or None if there is none.

    Raises:
        UserError: The file is damaged or of another version.
    """
    path = out / FILE_NAME
    if not path.is_file():
        return None
    return parse_manifest(path, read_text(path, max_bytes=MAX_JSON_BYTES))


def parse_manifest(path: AnyPath, text: str) -> Manifest:
    """Parse a manifest's text; `path` is for messages.

    Raises:
        UserError: It is damaged or of another version.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise UserError(
            f"{path}: is not a manifest of this version ({first_invalid(error)}); "
            "restore it, or build into another directory"
        ) from None
