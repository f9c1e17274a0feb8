"""Presets train bit for bit as the loop written out here, which uses torch and timm alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from datasets import load_dataset
from test_train import make_set
from torch.nn import functional

from factory.data.row_subsets import hold_out
from train.augment import NUM_DRAWS, augment, normalise, to_float
from train.checkpoint import load_checkpoint
from train.data import epoch_batches
from train.presets import resolve
from train.run import TrainOptions, train
from train.settings import IMAGENET_MEAN, IMAGENET_STD, Hyperparameters
from train.uniforms import stream_seed, uniforms

SEED = 3
OVERRIDES = {"epochs": 2, "batch_size": 16, "image_size": 32}


def optimizer_of(model: torch.nn.Module, values: Hyperparameters) -> torch.optim.Optimizer:
    if values.decay_all:
        return torch.optim.AdamW(model.parameters(), lr=values.lr, weight_decay=values.weight_decay)
    named = [*model.named_parameters()]
    return torch.optim.AdamW(
        [
            {
                "params": [one for _, one in named if one.ndim >= 2],
                "weight_decay": values.weight_decay,
            },
            {"params": [one for _, one in named if one.ndim < 2], "weight_decay": 0.0},
        ],
        lr=values.lr,
    )


def rate(step: int, steps: int, values: Hyperparameters) -> float:
    if values.schedule_every == "epoch":
        step, steps = step // steps, 1
    warmup = round(values.warmup_epochs * steps)
    if step < warmup:
        return values.lr * (step + 1) / (warmup + 1)
    total = values.epochs * steps - warmup
    return 0.5 * values.lr * (1 + math.cos(math.pi * (step - warmup) / total))


def plain_loop(
    pixels: torch.Tensor, labels: torch.Tensor, values: Hyperparameters
) -> dict[str, torch.Tensor]:
    """Train `test_resnet` on one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(stream_seed(SEED))
    model = timm.create_model("test_resnet", num_classes=3).to(memory_format=torch.channels_last)
    optimizer = optimizer_of(model, values)
    rows, _ = hold_out(
        labels.numpy(), fraction=values.val_fraction, seed=SEED, count=values.val_images
    )
    for epoch in range(values.epochs):
        torch.manual_seed(stream_seed(SEED, epoch, 0))
        model.train()
        batches = epoch_batches(rows, batch_size=values.batch_size, seed=SEED, epoch=epoch)
        for number, batch in enumerate(batches):
            lr = rate(epoch * len(batches) + number, len(batches), values)
            for group in optimizer.param_groups:
                group["lr"] = lr
            draws = uniforms(batch, seed=SEED, epoch=epoch, num_draws=NUM_DRAWS)
            images = augment(to_float(pixels[batch]), torch.from_numpy(draws), values.augmentation)
            images = normalise(
                images, mean=values.mean or IMAGENET_MEAN, std=values.std or IMAGENET_STD
            )
            loss = functional.cross_entropy(
                model(images),
                labels[batch],
                reduction="sum",
                label_smoothing=values.label_smoothing,
            )
            (loss * (1 / len(batch))).backward()
            if values.clip_grad_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), values.clip_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
    return model.state_dict()


@pytest.mark.parametrize("preset", ["quick", "digits", "paper", "as-code", "corrected-eurosat"])
def test_a_preset_trains_as_the_plain_loop(preset: str, tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", num_images=60)
    overrides = OVERRIDES | ({"val_images": 10} if preset == "as-code" else {})
    values = resolve(preset, model="test_resnet", overrides=overrides, note=lambda _: None)
    (file,) = folder.rglob("*.parquet")
    rows = load_dataset("parquet", data_files=str(file), cache_dir=str(tmp_path), split="train")
    pixels = torch.from_numpy(np.stack([np.asarray(row["image"]) for row in rows]))
    expected = plain_loop(pixels, torch.tensor(rows["label"]), values)
    train(
        TrainOptions(
            dataset=str(folder),
            model="test_resnet",
            out=tmp_path / "run",
            preset=preset,
            overrides=overrides,
            threads=1,
            seed=SEED,
        )
    )
    found = load_checkpoint(tmp_path / "run")
    assert found is not None
    assert found.model.keys() == expected.keys()
    differing = [name for name, one in expected.items() if not torch.equal(found.model[name], one)]
    assert not differing
