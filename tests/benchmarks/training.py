"""`data-factory train` against a loop of timm's parts, and against the model without a loader."""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from factory.common.allocator import keep_freed_memory
from factory.common.resources import cores

from . import folders, parts
from .gaps import Steps, wait_for
from .processes import function
from .timing import Figure, Scale, compared, in_turn

_LR = 4.0e-3
_TIMM = "timm loop"
_ALONE = "model alone, one batch in memory"


@dataclass(frozen=True)
class Case:
    """A model, and what it is trained on.

    Attributes:
        model: timm model name.
        side: Height and width of its input.
        images: Number of images; a multiple of `batch` where steps are measured.
        epochs: Two or more: the first one does not count.
        suffix: Kind of the files.
        batch: Images of a step, at most all.
        device: `cuda` computes in bfloat16.
        in_memory: Whether decoded images may stay in memory.
    """

    model: str
    side: int
    images: int
    epochs: int
    suffix: str = ".png"
    batch: int = 64
    device: str = "cpu"
    in_memory: bool = True

    @property
    def what(self) -> str:
        """Name on the page."""
        stored = self.suffix.removeprefix(".").upper()
        files = "" if self.in_memory else " read in each epoch"
        return f"{self.model}, {self.side} px, {stored}{files}"

    @property
    def size(self) -> int:
        """Images of a step."""
        return min(self.batch, self.images)


@dataclass(frozen=True)
class Trained:
    """What a training took.

    Attributes:
        rate: Images/s of the epochs after the first.
        seconds: Of the whole command.
        waiting: Share of the time within these epochs in which the device waits for a batch.
        pause: Seconds between two epochs.
    """

    rate: float
    seconds: float
    waiting: float = 0.0
    pause: float = 0.0


_FULL = (
    Case("test_resnet", 32, 2000, 5),
    Case("resnet18", 32, 640, 3),
    Case("mobilenetv3_small_100", 224, 256, 3, ".jpg"),
)
_QUICK = (
    Case("test_resnet", 32, 400, 2),
    Case("resnet18", 32, 128, 2),
    Case("mobilenetv3_small_100", 224, 128, 2, ".jpg"),
)
_TINY = (Case("test_resnet", 32, 20, 2), Case("test_resnet", 64, 20, 2, ".jpg"))


def run(folder: Path, scale: Scale, device: str) -> list[Figure]:
    """Measure every case."""
    cases = scale.pick(_FULL, _QUICK, _TINY)
    found = []
    for number, case in enumerate(cases):
        place = folder / f"case-{number}"
        done = measured(place, images_of(place, case), case, scale, repeats=scale.pick(2, 1, 1))
        found += figures(case, done)
    return found


def images_of(folder: Path, case: Case) -> Path:
    """Write the images of a case."""
    # Photographs are larger than the input, so both decode and resize.
    side = case.side if case.suffix == ".png" else case.side + 32
    return folders.make(folder / "images", case.images, side=side, suffix=case.suffix)


def measured(
    folder: Path, data: Path, case: Case, scale: Scale, *, repeats: int
) -> dict[str, list[Trained]]:
    """Train with `train`, with timm's parts, and on one batch over and over, in turn."""
    return in_turn(
        {
            "ours": lambda: train(data, folder, case, scale),
            "timm": lambda: _timm(data, case, scale),
            "alone": lambda: _alone(case, scale),
        },
        repeats=repeats,
    )


def figures(case: Case, done: Mapping[str, Sequence[Trained]]) -> list[Figure]:
    """Return the lines of a case."""
    total, what = case.images * case.epochs, case.what
    loop = {name: [one.rate for one in found] for name, found in done.items()}
    whole = {name: [total / one.seconds for one in done[name]] for name in ("ours", "timm")}
    note = f"{case.images} images, {case.epochs} epochs, start included"
    return [
        compared(f"{what}: training", "images/s", loop["ours"], _TIMM, loop["timm"]),
        compared(
            f"{what}: training", "images/s", loop["ours"], _ALONE, loop["alone"], is_limit=True
        ),
        compared(
            f"{what}: whole command", "images/s", whole["ours"], _TIMM, whole["timm"], note=note
        ),
    ]


def waiting(case: Case, done: Mapping[str, Sequence[Trained]]) -> list[Figure]:
    """Return the lines about a device that waits."""
    shares = {name: [100 * one.waiting for one in done[name]] for name in ("ours", "timm")}
    what = f"{case.what}: device waits for a batch"
    pauses = [one.pause for one in done["ours"]]
    return [
        compared(what, "% of an epoch", shares["ours"], _TIMM, shares["timm"]),
        compared(f"{case.what}: between epochs", "s", pauses, note="files of the run included"),
    ]


def train(data: Path, folder: Path, case: Case, scale: Scale) -> Trained:
    """Train with `data-factory train`, in a new folder."""
    out = folder / f"run-{sum(1 for _ in folder.iterdir())}"
    words = ["train", str(data), "--model", case.model, "--out", str(out), "--quiet"]
    words += ["--preset", "quick", "--epochs", str(case.epochs), "--image-size", str(case.side)]
    words += ["--total-batch-size", str(case.size), "--val-fraction", "0"]
    words += ["--threads", str(cores()), "--device", case.device]
    if case.device == "cuda":
        words += ["--mixed-precision", "bf16"]
    if not case.in_memory:
        words += ["--pixel-memory", "0", "--workers", str(_workers(scale))]
    done = function("training:trained", words, asdict(case), scale=scale)
    with (out / "metrics.csv").open() as file:
        rates = [float(row["images_per_s"]) for row in csv.DictReader(file)]
    return Trained(statistics.median(rates[1:]), done.seconds, *done.value)


def _timm(data: Path, case: Case, scale: Scale) -> Trained:
    done = function("training:timm_loop", str(data), asdict(case), _workers(scale), scale=scale)
    rates, *waits = done.value
    return Trained(statistics.median(rates[1:]), done.seconds, *waits)


def _alone(case: Case, scale: Scale) -> Trained:
    steps = 1 + (case.epochs - 1) * case.images // case.size
    done = function("training:model_alone", asdict(case), steps, scale=scale)
    return Trained(float(done.value), done.seconds)


def _workers(scale: Scale) -> int:
    return 0 if scale.in_process else cores()


def trained(words: list[str], fields: dict[str, Any]) -> tuple[float, float]:
    """Run `data-factory train`; see `Steps.waiting`."""
    from factory.command_line.cli import main
    from train.inputs import Inputs
    from train.learner import Learner

    case = Case(**fields)
    steps = Steps(case.device, -(-case.images // case.size))
    prepare, update = Inputs.for_training, Learner.update

    def arriving(self: Any, *args: Any, **kwargs: Any) -> Any:
        steps.arrived()
        return prepare(self, *args, **kwargs)

    def updating(self: Any, *args: Any) -> None:
        update(self, *args)
        steps.done()

    with (
        patch.object(Inputs, "for_training", arriving),
        patch.object(Learner, "update", updating),
    ):
        main(words)
    return steps.waiting()


def model_alone(fields: dict[str, Any], steps: int) -> float:
    """Train on one batch over and over; return images/s, without the first steps."""
    import torch

    from train.small_maps import use_matrix_products

    case = Case(**fields)
    torch.set_num_threads(cores())
    keep_freed_memory()
    classes = len(parts.CLASSES)
    model, optimizer = _model(case, classes)
    if case.device == "cpu":
        use_matrix_products(model)
    images = torch.rand(case.size, 3, case.side, case.side, device=case.device)
    labels = torch.arange(case.size, device=case.device) % classes
    model.train()
    # On a GPU more than the first step choose kernels and take memory.
    first = 1 if case.device == "cpu" else 10
    for step in range(first + steps - 1):
        if step == first:
            wait_for(case.device)
            started = time.perf_counter()
        _step(case, model, optimizer, images, labels)
    wait_for(case.device)
    return case.size * (steps - 1) / (time.perf_counter() - started)


def timm_loop(data: str, fields: dict[str, Any], workers: int) -> tuple[list[float], float, float]:
    """Train with timm's parts, the values of preset `quick`.

    Returns:
        Images/s per epoch; see `Steps.waiting`.
    """
    import torch
    from timm.data import create_dataset
    from timm.scheduler import create_scheduler_v2

    case = Case(**fields)
    torch.set_num_threads(cores())
    # As timm's own script.
    torch.backends.cudnn.benchmark = True
    dataset = create_dataset("", root=data)
    model, optimizer = _model(case, len(dataset.reader.class_to_idx))
    loader = _loader(dataset, case, workers)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        num_epochs=case.epochs,
        warmup_epochs=1,
        step_on_epochs=False,
        updates_per_epoch=len(loader),
    )
    rates, step, steps = [], 0, Steps(case.device, len(loader))
    model.train()
    for _ in range(case.epochs):
        started, seen = time.perf_counter(), 0
        for images, labels in loader:
            steps.arrived()
            step += 1
            seen += _step(case, model, optimizer, images, labels)
            scheduler.step_update(num_updates=step)
            steps.done()
        wait_for(case.device)
        rates.append(seen / (time.perf_counter() - started))
    return rates, *steps.waiting()


def _model(case: Case, classes: int) -> tuple[Any, Any]:
    import torch
    from timm.models import create_model
    from timm.optim import create_optimizer_v2

    model = create_model(case.model, num_classes=classes).to(case.device)
    model = model.to(memory_format=torch.channels_last)
    return model, create_optimizer_v2(model, opt="adamw", lr=_LR, weight_decay=0.05)


def _loader(dataset: Any, case: Case, workers: int) -> Any:
    import torch
    from timm.data import create_loader

    return create_loader(
        dataset,
        input_size=(3, case.side, case.side),
        batch_size=case.size,
        is_training=True,
        scale=(0.6, 1.0),
        ratio=(0.8, 1.25),
        hflip=0.5,
        color_jitter=0.3,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=case.device == "cuda",
        device=torch.device(case.device),
    )


def _step(case: Case, model: Any, optimizer: Any, images: Any, labels: Any) -> int:
    """Train on one batch; return its number of images."""
    import torch
    from torch.nn import functional

    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(case.device, torch.bfloat16, enabled=case.device == "cuda"):
        logits = model(images)
    loss = functional.cross_entropy(logits.float(), labels, label_smoothing=0.1)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return len(labels)
