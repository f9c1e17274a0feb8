"""Send the metrics of a run to trackers of accelerate: TensorBoard, Weights & Biases, Trackio."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError, first_line
from factory.common.text import suggest

if TYPE_CHECKING:
    from accelerate import Accelerator

    from train.config import RunConfig

_KNOWN = (
    *("aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "tensorboard", "trackio"),
    "wandb",
)


def check_trackers(trackers: Sequence[Any]) -> None:
    """Check that accelerate knows trackers by these names, and that their packages are installed.

    Until accelerate's trackers are imported, a package of this name counts.

    Raises:
        UserError: One is unknown, or its package is missing.
    """
    tracking = sys.modules.get("accelerate.tracking")
    known = [str(one) for one in tracking.LOGGER_TYPE_TO_CLASS] if tracking else _KNOWN
    for one in trackers:
        if not isinstance(one, str):
            continue
        usable = one in tracking.get_available_trackers() if tracking else _is_installed(one)
        if one not in known and (tracking or not usable):
            raise UserError(f"--log-with {one}: unknown tracker; {suggest(one, known)}")
        if not usable:
            raise UserError(f"--log-with {one}: is not installed; pip install {one}")


def _is_installed(tracker: str) -> bool:
    """Return whether a tracker has its package, as far as is known without importing it."""
    packages = (tracker, "tensorboardX") if tracker == "tensorboard" else (tracker,)
    try:
        # With a dot in the name, it would import what is before it.
        return tracker.isidentifier() and any(map(find_spec, packages))
    except (ImportError, ValueError):
        return False


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
