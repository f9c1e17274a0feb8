"""Read the time of generating a dataset, from the records of its builds' processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from factory.common.dataset_files import check_files
from factory.common.errors import UserError
from factory.common.local_paths import COSTS, is_inside
from factory.common.redaction import cut_line
from factory.common.untrusted_files import read_json

_MOST_RECORDS = 20_000
_MOST_DEVICES = 10
_MAX_SECONDS = 1e12
_MAX_IMAGES = 10**15
_NAME = 80


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, str_max_length=20_000)


class _OfConfig(_Part):
    images: int = Field(ge=0, le=_MAX_IMAGES)
    seconds: float = Field(ge=0, le=_MAX_SECONDS, allow_inf_nan=False)


class _Record(_Part):
    """The record of one process; see `factory.builder.costs`."""

    device: str
    seconds: float = Field(ge=0, le=_MAX_SECONDS, allow_inf_nan=False)
    configs: dict[str, _OfConfig]


@dataclass(frozen=True)
class Generation:
    """Images and seconds of all processes of all builds; those that were killed left no record.

    Attributes:
        images: Generated images by config, those of discarded copies and repairs included.
        seconds: Time of generating and encoding them by config, over all processes.
        processes: Number of records.
        total_seconds: Time of these processes from their start to their end.
        devices: Names of their devices, and how many processes each had, the most first.
        unread: Files that are no such record, or were too many.
    """

    images: dict[str, int]
    seconds: dict[str, float]
    processes: int
    total_seconds: float
    devices: list[tuple[str, int]]
    unread: int


def read_generation(out: Path) -> Generation:
    """Read the records of a dataset directory; without any, all numbers are 0."""
    files = _files(out)
    images: Counter[str] = Counter()
    seconds: dict[str, float] = {}
    devices: Counter[str] = Counter()
    total, processes = 0.0, 0
    for record in _records(files[:_MOST_RECORDS], out):
        processes, total = processes + 1, total + record.seconds
        devices[cut_line(record.device, _NAME)] += 1
        for name, one in record.configs.items():
            images[name] += one.images
            seconds[name] = seconds.get(name, 0.0) + one.seconds
    most = devices.most_common(_MOST_DEVICES)
    return Generation(dict(images), seconds, processes, total, most, len(files) - processes)


def _files(out: Path) -> list[Path]:
    folder = out / COSTS
    return sorted(folder.glob("*.json")) if is_inside(folder, out) else []


def _records(files: list[Path], out: Path) -> Iterator[_Record]:
    for file in files:
        try:
            check_files([file], out)
            yield _Record.model_validate(read_json(file))
        except (UserError, ValidationError):
            continue
