"""The files of a run folder, and checks that it belongs to the run.

    config.yaml         everything needed to repeat the run (`train.config.RunConfig`), and the
        environment of each launch (`train.environment`)
    metrics.csv         one line per epoch
    curves.png          loss, accuracy and learning rate, of a finished run
    checkpoint.pt       state after the last finished epoch, for resuming (`train.checkpoint`)
    epochs/             weights at an interval of epochs, if requested
    model.safetensors   weights of the best epoch    } timm's own form:
    config.json         architecture, class names    } `local-dir:RUN`

Every file is written atomically: under a temporary name, then renamed.
"""

from __future__ import annotations

import csv
import errno
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from factory.common.console import log
from factory.common.errors import Failure, UserError
from factory.common.outside import read_yaml
from factory.common.whole_files import replace_text
from train.config import RunConfig, differing_keys

CONFIG = "config.yaml"
CONFIG_JSON = "config.json"
METRICS = "metrics.csv"
WEIGHTS = "model.safetensors"
LOCK = ".lock"
EPOCHS = "epochs"
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
_PLACE = ("reference", "commit")
_EPOCHS_KEY = "hyperparameters.epochs "
METRIC_COLUMNS = (
    "epoch",
    "lr",
    "train_loss",
    "train_top1",
    "val_loss",
    "val_top1",
    "images_per_s",
    "seconds",
)


@contextmanager
def only_run(out: Path) -> Iterator[Callable[[], None]]:
    """Lock a run folder against a second training, until this process ends.

    On file systems without locks this only logs a warning.

    Returns:
        A check that the folder is still the same one, for use before anything is written: while a
        process is suspended, people may move the folder and start another training there.

    Raises:
        UserError: Another training is running there, or the lock file is a link.
    """
    import fcntl

    path = out / LOCK
    if path.is_symlink():
        raise UserError(f"{path}: is a link and not a lock file of `train`; remove it")
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{out}: another training is running in this folder; wait for it, or choose "
                "another --out"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            log(
                f"{out}: its file system has no locks ({error.strerror}), so a second training in "
                "it cannot be prevented; start only one"
            )
        yield partial(_require_same, path, os.fstat(file.fileno()))


def _require_same(lock: Path, locked: os.stat_result) -> None:
    with suppress(FileNotFoundError):
        if os.path.samestat(lock.stat(), locked):
            return
    raise Failure(
        f"{lock.parent}: was moved, removed or replaced while this training ran; nothing more is "
        "written to it"
    )


def check_folder(out: Path) -> None:
    """Check early that a folder is empty or a run folder.

    Raises:
        UserError: It is a file, or contains something else.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; choose another --out")
    if out.is_dir() and not (out / CONFIG).exists():
        strange = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
        if strange:
            raise UserError(
                f"{out}: is not a run folder (it contains {', '.join(strange[:3])}); choose "
                "another --out"
            )


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
            raise UserError(
                f"{out}: contains another run, which differs in {'; '.join(different)}; "
                f"{unfitted or _way_out(out, there, now)}"
            )
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
            keys = ("data", "hyperparameters")
            write_config(path, written | {key: now[key] for key in keys})
        return
    write_config(path, now)


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
    config = {key: one for key, one in config.items() if key not in ("weights", "teacher")}
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


def _way_out(out: Path, there: dict[str, Any], now: dict[str, Any]) -> str:
    remedy = "choose another --out"
    old = _epochs(there)
    if old is None or now["hyperparameters"]["epochs"] <= old:
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


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Replace a run's `config.yaml` atomically."""
    replace_text(path, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))


def _with_defaults(there: dict[str, Any]) -> dict[str, Any]:
    """Add values that runs of earlier versions did not record."""
    values = {key: there[key] for key in there if key not in ("versions", "environments")}
    try:
        return RunConfig.model_validate(values).model_dump(mode="json")
    except ValidationError:
        return values


def read_config(path: Path) -> dict[str, Any]:
    """Read a run's `config.yaml`.

    Raises:
        UserError: It is not a run's config.
    """
    try:
        loaded = read_yaml(path)
    except UserError:
        loaded = None
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: is not a config.yaml written by `train`; choose another --out")
    return loaded


def write_metrics(out: Path, rows: Sequence[Mapping[str, float | int | None]]) -> None:
    """Write `metrics.csv`: one line per epoch, empty cells without held-out images.

    With several datasets, `val_top1_1`, `val_top1_2`, ... are of the images held out of each.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = list(dict.fromkeys([*METRIC_COLUMNS, *(name for row in rows for name in row)]))
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if row[name] is None else _cell(row[name]) for name in columns])
    replace_text(out / METRICS, text.getvalue())


def _cell(value: float | int | None) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"
