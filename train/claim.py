"""Claim a run folder: write its `config.yaml`, or check that it belongs to the same run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from factory.common.console import log
from factory.common.errors import UserError
from train.config import RunConfig, differing_keys
from train.options import TrainOptions
from train.run_folder import CONFIG, read_config, write_config
from train.settings import Hyperparameters

_PLACE = ("reference", "commit")
_UNCOMPARED = ("weights", "teacher", "overrides")
_EPOCHS_KEY = "hyperparameters.epochs "


def claim(out: Path, config: RunConfig) -> None:
    """Write `config.yaml`, or check that the folder belongs to the same run.

    Pixels are compared, not their location: the new reference of a moved dataset is recorded. With
    a constant learning rate a run may get more epochs, which are recorded.

    Raises:
        UserError: The folder belongs to another run; the message names the differing keys.
    """
    now = config.model_dump(mode="json")
    path = out / CONFIG
    if path.exists():
        written = read_config(path)
        there = _with_defaults(written)
        unfitted = _follow_pixels(written, there, now)
        moved = _follow_moved_data(there, now)
        different = differing_keys(_compared(there), _compared(now))
        longer = _is_longer(there, now, different)
        if different and not longer:
            epochs = now["hyperparameters"]["epochs"]
            raise _another_run(out, different, unfitted or _way_out(out, there, epochs))
        if moved:
            log(
                f"{out}: the data has moved but has the same pixels and labels, so this run "
                f"continues: {'; '.join(moved)}"
            )
        if longer:
            log(
                f"{out}: this run continues with more epochs (its learning rate is constant): "
                f"{different[0]}"
            )
        if moved or longer:
            keys = ("data", "hyperparameters", "overrides")
            write_config(path, written | {key: now[key] for key in keys})
        return
    write_config(path, now)


def check_same_run(out: Path, options: TrainOptions, values: Hyperparameters, preset: str) -> None:
    """Check the same early, as far as the options tell, before the data is read.

    Raises:
        UserError: The folder belongs to another run; the message names the keys found so far.
    """
    path = out / CONFIG
    if not path.exists():
        return
    there = _with_defaults(read_config(path))
    now = _known(options, values, preset)
    different = differing_keys(_as_in(there, now), now)
    if different:
        raise _another_run(out, different, _way_out(out, there, values.epochs))


def _known(options: TrainOptions, values: Hyperparameters, preset: str) -> dict[str, Any]:
    """Return values of a run's config that neither the data nor the model's weights decide."""
    given = {
        "config_name": options.config_name,
        "split": options.split,
        "image_column": options.image_column,
        "label_column": options.label_column,
    }
    given = {key: value for key, value in given.items() if value is not None}
    # Of the others, what the user asks for is final. `claim` knows older runs that record no `fit`,
    # and may allow more epochs at a constant rate.
    asked = {*options.overrides, "epochs"} - {"fit"}
    asked -= {"epochs"} if values.schedule == "constant" else set()
    now = {
        "model": options.model,
        "pretrained": options.pretrained,
        "head_only": options.head_only,
        "model_args": dict(options.model_args),
        "preset": preset,
        "seed": options.seed,
        "mix": options.mix,
        "data": given
        | {"row_filter": options.row_filter, "images_per_class": options.images_per_class},
        "hyperparameters": values.model_dump(include=asked),
    }
    return to_jsonable_python(now)  # type: ignore[no-any-return]


def _as_in(there: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a config that `now` has, too; what it lacks is as it is now."""
    return {
        key: _as_in(old, value)
        if isinstance(value, dict) and isinstance(old := there.get(key), dict)
        else there.get(key, value)
        for key, value in now.items()
    }


def _with_defaults(there: dict[str, Any]) -> dict[str, Any]:
    """Add values that runs of earlier versions did not record."""
    values = {key: there[key] for key in there if key not in ("versions", "environments")}
    try:
        return RunConfig.model_validate(values).model_dump(mode="json")
    except ValidationError:
        return values


def _follow_pixels(written: dict[str, Any], there: dict[str, Any], now: dict[str, Any]) -> str:
    """Ignore `fit` for a run of a version that did not record it: only its pixels must agree.

    Returns:
        A remedy to show if they do not agree; empty if there is none.
    """
    values = written.get("hyperparameters")
    if not isinstance(values, dict) or "fit" in values:
        return ""
    there["hyperparameters"]["fit"] = now["hyperparameters"]["fit"]
    if now["hyperparameters"]["fit"] == "squash":
        return ""
    return "it squashed images that are not square: add --fit squash, or choose another --out"


def _compared(config: dict[str, Any]) -> dict[str, Any]:
    """Return the values that identify a run; hashes cover the others."""
    config = {key: one for key, one in config.items() if key not in _UNCOMPARED}
    data = config.get("data")
    if not isinstance(data, dict):
        return config
    counted = ("class_counts", "left_out", "num_unreadable", "sampling")
    return config | {"data": {key: one for key, one in data.items() if key not in counted}}


def _is_longer(there: dict[str, Any], now: dict[str, Any], different: list[str]) -> bool:
    """Return whether a run only gets more epochs, without changing its earlier epochs."""
    old, new = _epochs(there), now["hyperparameters"]
    return (
        len(different) == 1
        and different[0].startswith(_EPOCHS_KEY)
        and old is not None
        and new["schedule"] == "constant"
        and new["epochs"] > old
    )


def _epochs(there: dict[str, Any]) -> int | None:
    """Return the number of epochs in a config on disk, or None."""
    values = there.get("hyperparameters")
    found = values.get("epochs") if isinstance(values, dict) else None
    return found if isinstance(found, int) else None


def _another_run(out: Path, different: list[str], remedy: str) -> UserError:
    return UserError(
        f"{out}: contains another run, which differs in {'; '.join(different)}; {remedy}"
    )


def _way_out(out: Path, there: dict[str, Any], epochs: int) -> str:
    remedy = "choose another --out"
    old = _epochs(there)
    if old is None or epochs <= old:
        return remedy
    return (
        f"for more epochs {remedy}: the run starts again, because its learning rate depends on "
        f"their number, or fine-tune the weights with --model local-dir:{out} --pretrained"
    )


def _follow_moved_data(there: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Update `there` with the new location of data with the same pixels; return the differences."""
    old, new = there.get("data"), now["data"]
    if not isinstance(old, dict) or old.get("pixels_sha256") != new["pixels_sha256"]:
        return []
    before = _places(old)
    if len(before["sources"]) != len(new["sources"]):
        return []
    for there, here in zip((old, *old.get("sources", ())), (new, *new["sources"]), strict=True):
        there.update({key: here[key] for key in _PLACE})
    return differing_keys(before, _places(new), prefix="data.")


def _places(data: dict[str, Any]) -> dict[str, Any]:
    """Return where data and each of several datasets were found."""
    sources = [{key: one.get(key) for key in _PLACE} for one in data.get("sources", ())]
    return {key: data.get(key) for key in _PLACE} | {"sources": sources}
