"""Read the fields of a dataset's `manifest.json` that a report shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from factory.common.dataset_files import MANIFEST, check_files, no_dataset
from factory.common.errors import UserError
from factory.common.frozen import invalid_values
from factory.common.untrusted_files import read_json
from factory.data.columns import CONFIG_NAME


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, str_max_length=20_000)


class Failed(_Part):
    """An image that has no row because every attempt failed."""

    index: int
    reason: str = ""


class Shard(_Part):
    """A Parquet file, relative to the dataset."""

    file: str
    rows: int = Field(ge=0)
    failed: list[Failed] = []


class Gate(_Part):
    """A quality gate that was run."""

    columns: dict[str, str]
    method: str = ""
    model: str | None = None
    thresholds: dict[str, float] = {}


class Config(_Part):
    """One config; `kind` is `set`, `share` or `union`."""

    kind: str = "set"
    fingerprint: str = ""
    model: str | None = None
    revision: str | None = None
    images: int = 0
    images_per_class: int | None = None
    sampling: dict[str, Any] | None = None
    members: list[str] = []
    complete: bool = False
    shards: list[Shard] = []

    @property
    def failed(self) -> list[Failed]:
        """Images without a row."""
        return [one for shard in self.shards for one in shard.failed]


class Manifest(_Part):
    """The fields of `manifest.json` that a report shows."""

    labels: list[str]
    configs: dict[str, Config]
    gates: dict[str, Gate] = {}
    settings: dict[str, Any] = {}
    device: str = ""
    variables: dict[str, str] = {}
    versions: list[dict[str, str]] = []

    @field_validator("configs")
    @classmethod
    def _with_names_of_configs(cls, configs: dict[str, Config]) -> dict[str, Config]:
        for name in configs:
            if not CONFIG_NAME.fullmatch(name):
                raise ValueError(f"{name[:100]!r} is no name of a config")
        return configs


def read_manifest(out: Path) -> Manifest:
    """Read the manifest of a dataset.

    Raises:
        UserError: There is none, it is damaged, or a link out of the dataset.
    """
    path = out / MANIFEST
    if not path.is_file():
        raise no_dataset(out)
    check_files([path], out)
    try:
        return Manifest.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(invalid_values(error, path)) from None
