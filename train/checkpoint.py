"""The state after an epoch, from which a run resumes with identical results.

It contains no random state: every epoch seeds its own generators from (seed, epoch, rank), and the
learning rate is a function of the step.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch

from factory.common.errors import UserError
from factory.common.whole_files import replace_file

CHECKPOINT = "checkpoint.pt"


@dataclass
class Checkpoint:
    """State of a run after some epochs."""

    epochs_done: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any] | None
    metrics: list[dict[str, Any]]
    best_epoch: int
    best_val_top1: float | None


def save_checkpoint(out: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint atomically."""
    fields = {name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}
    replace_file(out / CHECKPOINT, lambda path: torch.save(fields, path))


def load_checkpoint(out: Path) -> Checkpoint | None:
    """Read the folder's checkpoint to main memory; None if there is none.

    Raises:
        UserError: The file cannot be read.
    """
    path = out / CHECKPOINT
    if not path.exists():
        return None
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, EOFError, BadZipFile, pickle.UnpicklingError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: cannot be read ({reason}); delete it to start the run again"
        ) from None
