"""Send the metrics of a run to trackers of accelerate: TensorBoard, Weights & Biases, Trackio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError, first_line
from train.config import RunConfig
from train.library_names import unknown_tracker

if TYPE_CHECKING:
    from accelerate import Accelerator


def check_trackers(trackers: Sequence[Any]) -> None:
    """Check that accelerate knows trackers by these names, and that their packages are installed.

    Raises:
        UserError: One is unknown, or its package is missing.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known = [str(name) for name in LOGGER_TYPE_TO_CLASS]
    usable = {str(name) for name in get_available_trackers()}
    for one in trackers:
        if not isinstance(one, str):
            continue
        if one not in known:
            raise unknown_tracker(one, known)
        if one not in usable:
            raise UserError(f"--log-with {one}: is not installed; pip install {one}")


def start_trackers(accelerator: Accelerator, config: RunConfig, *, name: str) -> None:
    """Start the trackers of a run, with its settings.

    Raises:
        UserError: One cannot be started: nobody is logged in, or its package is incomplete.
    """
    from accelerate.utils import LoggerType

    trackers = accelerator.log_with
    if not trackers:
        return
    try:
        accelerator.init_trackers(name, config=dict(_flat(config.model_dump(mode="json"))))
    except Exception as error:  # noqa: BLE001 (packages of others raise anything)
        names = (str(one) if isinstance(one, LoggerType) else one.name for one in trackers)
        raise UserError(
            f"--log-with {', '.join(names)}: cannot be started ({first_line(error)}); fix this, or "
            "remove it: the run is the same without trackers"
        ) from None


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested values under dotted names, as numbers and text."""
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        else:
            plain = isinstance(value, bool | int | float | str)
            found.append((f"{prefix}{name}", value if plain else str(value)))
    return found
