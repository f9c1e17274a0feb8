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
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from factory.common.errors import UserError
from factory.common.untrusted_files import read_yaml
from factory.common.whole_files import replace_text

CONFIG = "config.yaml"
CONFIG_JSON = "config.json"
METRICS = "metrics.csv"
WEIGHTS = "model.safetensors"
EPOCHS = "epochs"
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


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Replace a run's `config.yaml` atomically."""
    replace_text(path, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))


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
