"""`data-factory train` against a loop of timm's parts, and against the model without a loader."""

from __future__ import annotations

import csv
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.common.allocator import keep_freed_memory
from factory.common.resources import cores

from . import folders, parts
from .processes import command, function
from .timing import Figure, Scale, compared, in_turn

_BATCH = 64
_LR = 4.0e-3
_TIMM = "timm loop"
_ALONE = "model alone, one batch in memory"


@dataclass(frozen=True)
class _Case:
    """A model, and what it is trained on."""

    model: str
    side: int
    images: int
    epochs: int
    suffix: str = ".png"


_FULL = (
    _Case("test_resnet", 32, 2000, 5),
    _Case("resnet18", 32, 640, 3),
    _Case("mobilenetv3_small_100", 224, 256, 3, ".jpg"),
)
_QUICK = (
    _Case("test_resnet", 32, 400, 2),
    _Case("resnet18", 32, 128, 2),
    _Case("mobilenetv3_small_100", 224, 128, 2, ".jpg"),
)
_TINY = (_Case("test_resnet", 32, 20, 2), _Case("test_resnet", 64, 20, 2, ".jpg"))


def run(folder: Path, scale: Scale, device: str) -> list[Figure]:
    """Measure every case."""
    cases = scale.pick(_FULL, _QUICK, _TINY)
    return [
        figure
        for number, case in enumerate(cases)
        for figure in _case(folder / f"case-{number}", case, scale)
    ]


def _case(folder: Path, case: _Case, scale: Scale) -> list[Figure]:
    # Photographs are larger than the input, so both decode and resize.
    side = case.side if case.suffix == ".png" else case.side + 32
    data = folders.make(folder / "images", case.images, side=side, suffix=case.suffix)
    done = in_turn(
        {
            "ours": lambda: _train(data, folder, case, scale),
            "timm": lambda: _timm(data, case, scale),
            "alone": lambda: (_alone(case, scale), 0.0),
        },
        repeats=scale.pick(2, 1, 1),
    )
    total, stored = case.images * case.epochs, case.suffix.removeprefix(".").upper()
    what = f"{case.model}, {case.side} px, {stored}"
    loop = {name: [rate for rate, _ in pairs] for name, pairs in done.items()}
    whole = {name: [total / seconds for _, seconds in done[name]] for name in ("ours", "timm")}
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


def _train(data: Path, folder: Path, case: _Case, scale: Scale) -> tuple[float, float]:
    """Return images/s of the epochs after the first, and seconds of the whole command."""
    out = folder / f"run-{sum(1 for _ in folder.iterdir())}"
    words = ["train", str(data), "--model", case.model, "--out", str(out), "--quiet"]
    words += ["--preset", "quick", "--epochs", str(case.epochs), "--image-size", str(case.side)]
    words += ["--total-batch-size", str(min(_BATCH, case.images)), "--val-fraction", "0"]
    words += ["--threads", str(cores()), "--device", "cpu"]
    done = command(*words, scale=scale)
    with (out / "metrics.csv").open() as file:
        rates = [float(row["images_per_s"]) for row in csv.DictReader(file)]
    return statistics.median(rates[1:]), done.seconds


def _timm(data: Path, case: _Case, scale: Scale) -> tuple[float, float]:
    arguments = [str(data), case.model, case.side, min(_BATCH, case.images), case.epochs]
    workers = 0 if scale.in_process else cores()
    done = function("training:timm_loop", *arguments, workers, scale=scale)
    return statistics.median(done.value[1:]), done.seconds


def _alone(case: _Case, scale: Scale) -> float:
    batch = min(_BATCH, case.images)
    steps = 1 + (case.epochs - 1) * case.images // batch
    done = function("training:model_alone", case.model, case.side, batch, steps, scale=scale)
    return float(done.value)


def model_alone(model_name: str, side: int, batch: int, steps: int) -> float:
    """Train on one batch over and over; return images/s, without the first step."""
    import torch

    torch.set_num_threads(cores())
    keep_freed_memory()
    classes = len(parts.CLASSES)
    model, optimizer = _model(model_name, classes)
    images, labels = torch.rand(batch, 3, side, side), torch.arange(batch) % classes
    model.train()
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        _step(model, optimizer, images, labels)
        seconds.append(time.perf_counter() - started)
    return batch * (steps - 1) / sum(seconds[1:])


def timm_loop(
    data: str, model_name: str, side: int, batch: int, epochs: int, workers: int
) -> list[float]:
    """Train with timm's parts, the values of preset `quick`; return images/s per epoch."""
    import torch
    from timm.data import create_dataset
    from timm.scheduler import create_scheduler_v2

    torch.set_num_threads(cores())
    dataset = create_dataset("", root=data)
    model, optimizer = _model(model_name, len(dataset.reader.class_to_idx))
    loader = _loader(dataset, side, batch, workers)
    scheduler, _ = create_scheduler_v2(
        optimizer,
        num_epochs=epochs,
        warmup_epochs=1,
        step_on_epochs=False,
        updates_per_epoch=len(loader),
    )
    rates, step = [], 0
    model.train()
    for _ in range(epochs):
        started, seen = time.perf_counter(), 0
        for images, labels in loader:
            step += 1
            seen += _step(model, optimizer, images, labels)
            scheduler.step_update(num_updates=step)
        rates.append(seen / (time.perf_counter() - started))
    return rates


def _model(name: str, classes: int) -> tuple[Any, Any]:
    import torch
    from timm.models import create_model
    from timm.optim import create_optimizer_v2

    model = create_model(name, num_classes=classes).to(memory_format=torch.channels_last)
    return model, create_optimizer_v2(model, opt="adamw", lr=_LR, weight_decay=0.05)


def _loader(dataset: Any, side: int, batch: int, workers: int) -> Any:
    import torch
    from timm.data import create_loader

    return create_loader(
        dataset,
        input_size=(3, side, side),
        batch_size=batch,
        is_training=True,
        scale=(0.6, 1.0),
        ratio=(0.8, 1.25),
        hflip=0.5,
        color_jitter=0.3,
        num_workers=workers,
        persistent_workers=workers > 0,
        device=torch.device("cpu"),
    )


def _step(model: Any, optimizer: Any, images: Any, labels: Any) -> int:
    """Train on one batch; return its number of images."""
    import torch
    from torch.nn import functional

    images = images.contiguous(memory_format=torch.channels_last)
    loss = functional.cross_entropy(model(images), labels, label_smoothing=0.1)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    loss.item()
    return len(labels)
