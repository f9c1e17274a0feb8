"""Read untrusted YAML and JSON files: of runs, datasets and the Hub.

Reading takes bounded time and memory and returns plain data, or raises a one-line error that names
the file: size, depth, aliases, tags, duplicate keys and invalid numbers are checked.
"""

import json
import math
from pathlib import Path
from typing import Any

from factory.common.errors import Fault, UserError
from factory.common.yaml_reader import MAX_DEPTH, TOO_DEEP, Limits, parse

MAX_YAML_BYTES = 4_000_000
MAX_JSON_BYTES = 64_000_000
"""Enough for the confusion matrix of a few thousand classes."""

MAX_YAML_VALUES = 400_000
"""Enough for the class names of ImageNet-21k in every config of a card."""

_YAML = Limits(max_nodes=MAX_YAML_VALUES, empty="is empty")


def read_text(path: Path, *, max_bytes: int, shown: str | None = None) -> str:
    """Read a regular file of UTF-8 text, with or without a byte order mark.

    Raises:
        UserError: It is missing, not a regular file, too large, or not text.
    """
    name = shown or str(path)
    try:
        # A pipe or a device may never end.
        if not path.is_file():
            found = "is not a regular file" if path.exists() else "file not found"
            raise UserError(Fault(found, file=name))
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise UserError(Fault(f"is larger than {max_bytes:,} bytes", file=name))
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(Fault(f"is not UTF-8 text (byte {error.start})", file=name)) from None
    except OSError as error:
        raise UserError(Fault(f"cannot be read ({error.strerror or error})", file=name)) from None


def read_yaml(path: Path) -> Any:
    """Read a YAML file within the limits of `factory.common.yaml_reader`.

    Raises:
        UserError: See `read_text`; or it is not YAML, or exceeds the limits.
    """
    return parse_yaml(read_text(path, max_bytes=MAX_YAML_BYTES), file=str(path))


def parse_yaml(text: str, *, file: str) -> Any:
    """Parse untrusted YAML text, as `read_yaml` does."""
    return parse(text, file=file, limits=_YAML).plain()


def read_json(path: Path, *, shown: str | None = None, finite: bool = True) -> Any:
    """Read a JSON file: finite numbers, no duplicate keys, at most `MAX_DEPTH` levels.

    Args:
        path: The file.
        shown: Its name in messages.
        finite: False accepts infinite numbers, which settings of schedulers have.

    Raises:
        UserError: See `read_text`; or it is not JSON, or exceeds the limits.
    """
    text = read_text(path, max_bytes=MAX_JSON_BYTES, shown=shown)
    return parse_json(text, file=shown or str(path), finite=finite)


def parse_json(text: str, *, file: str, finite: bool = True) -> Any:
    """Parse untrusted JSON text, as `read_json` does."""
    number = _finite if finite else float
    try:
        found = json.loads(
            text, object_pairs_hook=_object, parse_constant=number, parse_float=number
        )
    except RecursionError:
        raise UserError(Fault(TOO_DEEP, file=file)) from None
    except ValueError as error:
        raise UserError(Fault(f"is not valid JSON: {str(error)[:200]}", file=file)) from None
    _check(found, file=file)
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"key {twice!r} occurs twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value


def _check(found: Any, *, file: str) -> None:
    """Reject values nested too deeply, and unpaired surrogates, which no file can store."""
    level = [found]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str) and not value.isascii():
                _check_text(value, file=file)
        if not below:
            return
        level = below
    raise UserError(Fault(TOO_DEEP, file=file))


def _check_text(text: str, *, file: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        message = "contains a lone surrogate (\\ud800 to \\udfff), which is not text; remove it"
        raise UserError(Fault(message, file=file)) from None
