"""Check the JSON files of a model of transformers or diffusers before it is created from them.

They are untrusted: their numbers decide how much memory is taken, and some of their keys name other
files, models or code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from factory.common.errors import Fault, UserError
from factory.common.local_paths import is_inside
from factory.common.untrusted_files import read_json
from factory.models.model_config import MAX_SIDE, REFUSED_ARGUMENTS

_IMAGES = "preprocessor_config.json"
_LARGEST = {
    "config.json": 2_000_000,
    "model_index.json": 2_000_000,
    "scheduler_config.json": 100_000,
    _IMAGES: MAX_SIDE,
    "processor_config.json": 2_000_000,
}
"""The largest number in each file: the vocabularies of text encoders have 262,208 words."""


def configs_of(source: str, revision: str | None) -> Path:
    """Return a model's folder; of a model of the Hub, only the files that are checked are there.

    Raises:
        OSError: The Hub has no such model, or cannot be reached.
    """
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    names = [f"{folder}{name}" for name in _LARGEST for folder in ("", "*/")]
    return Path(snapshot_download(source, revision=revision, allow_patterns=names))


def check_configs(folder: Path) -> None:
    """Check the JSON files of a folder, and of the folders in it.

    Raises:
        UserError: A file is too large, nested too deep or no JSON, has a number that no such model
            has, or names another file, model or code.
    """
    for name, largest in _LARGEST.items():
        for path in (folder / name, *sorted(folder.glob(f"*/{name}"))):
            if path.is_file():
                if not is_inside(path, folder):
                    raise UserError(Fault("is a link out of the folder; remove it", file=str(path)))
                found = read_json(path, finite=False)
                _check(found, path=path, largest=largest)
                if name == "processor_config.json" and isinstance(found, dict):
                    _check(found.get("image_processor"), path=path, largest=MAX_SIDE)


def _check(found: Any, *, path: Path, largest: int) -> None:
    for keys, value in _leaves(found, ()):
        key = ".".join(keys)[:100]
        if fault := _reference(keys, value):
            raise UserError(Fault(fault, file=str(path), key=key))
        # Elsewhere than in sizes of images, only whole numbers decide how much memory is taken.
        counts = isinstance(value, int) or (isinstance(value, float) and largest == MAX_SIDE)
        if counts and abs(value) > largest and not key.endswith("theta"):
            raise UserError(Fault(f"{value:.6g} is more than {largest:,}", file=str(path), key=key))


def _reference(keys: tuple[str, ...], value: Any) -> str | None:
    """Return the fault of a value that names something else, or None."""
    if any("_implementation" in key for key in keys) and "/" in str(value):
        return f"{str(value)[:100]!r} is code of another repository, which is never run"
    if "model_args" in keys and REFUSED_ARGUMENTS & set(keys):
        return "must not be set"
    if keys[-1:] == ("use_pretrained_backbone",) and value:
        return "names another model; set it to false"
    if keys[-1:] == ("architecture",) and ":" in str(value):
        return f"{str(value)[:100]!r} names another model"
    return None


def _leaves(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the plain values of a file, each with its keys."""
    if isinstance(value, dict | list):
        named = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in named:
            yield from _leaves(one, (*keys, str(key)))
    else:
        yield keys, value
