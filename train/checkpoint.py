"""The state of a run, from which it resumes with identical results.

After an epoch it contains no random state: every epoch seeds its own generators from (seed, epoch,
rank), and the learning rate is a function of the step. Within an epoch it also has the states of
the generators of all processes, which dropout samples from.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import torch
from torch import Tensor

from factory.common.errors import UserError
from factory.common.whole_files import replace_file

if TYPE_CHECKING:
    from accelerate import Accelerator

CHECKPOINT = "checkpoint.pt"


@dataclass
class MiddleOfEpoch:
    """The part of an epoch that is done.

    Attributes:
        sums: Results of `train.scores.sums_of` of its steps, shape (processes, steps, 3).
        seconds: Time that they took.
        generators: States of the random generators after these steps, per process, by device.
    """

    sums: Tensor
    seconds: float
    generators: list[dict[str, Tensor]]


@dataclass
class Checkpoint:
    """State of a run after some epochs, and within one.

    Attributes:
        model: `state_dict` of the model.
        optimizer: `state_dict` of the optimiser.
        scaler: `state_dict` of the loss scaler of float16 training, else None.
        average: `state_dict` of the average of weights, if there is one.
        middle: The part of an unfinished epoch that is done, or None.
        epochs_done: Finished epochs.
        metrics: One mapping per epoch, as in `metrics.csv`.
        best_epoch: Number of the best epoch, from 1; 0 before the first.
        best_val_top1: Its accuracy on held-out images, 0 to 1; None without any.
    """

    model: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any] | None
    average: dict[str, Any] | None = None
    middle: MiddleOfEpoch | None = None
    epochs_done: int = 0
    metrics: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_val_top1: float | None = None


def save_checkpoint(out: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint atomically."""
    fields = {name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}
    if checkpoint.middle is not None:
        fields["middle"] = vars(checkpoint.middle)
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
        fields = torch.load(path, map_location="cpu", weights_only=True)
        if fields.get("middle") is not None:
            fields["middle"] = MiddleOfEpoch(**fields["middle"])
        return Checkpoint(**fields)
    except (
        RuntimeError,
        AttributeError,
        EOFError,
        BadZipFile,
        pickle.UnpicklingError,
        TypeError,
    ) as error:
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: cannot be read ({reason}); delete it to start the run again"
        ) from None


def gather_middle(sums: list[Tensor], *, seconds: float, accelerator: Accelerator) -> MiddleOfEpoch:
    """Collect the part of an epoch that all processes have done; all of them must call this."""
    from accelerate.utils import gather_object

    mine = torch.stack(sums)
    everyone = accelerator.gather(mine).reshape(-1, *mine.shape)
    states = gather_object([_generator_states(accelerator.device)])
    return MiddleOfEpoch(everyone.cpu(), seconds=seconds, generators=states)


def resume_middle(middle: MiddleOfEpoch, accelerator: Accelerator) -> list[Tensor]:
    """Restore the generators of this process, and return its results of the steps that are done.

    In another number of processes than before, the first one gets the results of all, and the
    generators stay as they are.
    """
    rank, device = accelerator.process_index, accelerator.device
    if accelerator.num_processes == len(middle.generators):
        _restore_generators(middle.generators[rank], device)
        return [*middle.sums[rank].to(device)]
    total = middle.sums.sum(dim=0).to(device)
    return [*(total if rank == 0 else torch.zeros_like(total))]


def _generator_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of torch's generators on the CPU and on a GPU."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _restore_generators(states: dict[str, Tensor], device: torch.device) -> None:
    """Set the states of torch's generators; those of another kind of device are ignored."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
