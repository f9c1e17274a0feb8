"""Batch norm with separate statistics for real and generated images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from test_train import make_set

from factory.common.errors import UserError
from train.checkpoint import load_checkpoint
from train.run import TrainOptions, train
from train.split_norm import batches_of_groups, saved_state, split_norms


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet"])
def test_each_kind_has_its_own_statistics(model: str) -> None:
    torch.manual_seed(0)
    plain = timm.create_model(model, num_classes=3)
    start = {name: one.clone() for name, one in plain.state_dict().items()}
    split, real = split_norms(plain, name=model)
    assert saved_state(split).keys() == start.keys()
    images = torch.cat([torch.randn(4, 3, 32, 32), 5 + 3 * torch.randn(6, 3, 32, 32)])
    real.count = 4
    split.train()
    found = split(images)
    # As if each kind had a model of its own.
    alone = [timm.create_model(model, num_classes=3) for _ in range(2)]
    for one, part, kind in zip(alone, (images[:4], images[4:]), ("", ".aux_bn.0"), strict=True):
        one.load_state_dict(start)
        one.train()
        expected = one(part)
        torch.testing.assert_close(found[:4] if not kind else found[4:], expected)
        norm = f"bn1{kind}.running_mean"
        torch.testing.assert_close(split.state_dict()[norm], one.state_dict()["bn1.running_mean"])
    # Scored, and saved, with those of real images.
    fresh = timm.create_model(model, num_classes=3)
    fresh.load_state_dict(saved_state(split))
    with torch.inference_mode():
        assert torch.equal(fresh.eval()(images), split.eval()(images))


def test_batches_begin_with_their_part_of_the_real_images() -> None:
    rows = np.arange(100, 175)
    is_real = rows >= 158
    batches = batches_of_groups(rows, is_real, num_batches=5, rng=np.random.default_rng(0))
    assert sorted(np.concatenate(batches)) == list(rows)
    assert {len(one) for one in batches} == {15}
    for one in batches:
        count = int((one >= 158).sum())
        assert count in (3, 4) and (one[:count] >= 158).all()
    with pytest.raises(UserError, match=r"--split-bn: a batch has 1 real image and needs 2"):
        batches_of_groups(rows, is_real, num_batches=9, rng=np.random.default_rng(0))


def test_a_run_saves_the_statistics_of_real_images(tmp_path: Path) -> None:
    generated, real = make_set(tmp_path / "generated"), make_set(tmp_path / "real", num_images=30)
    options = TrainOptions(
        dataset=str(generated),
        real_train=str(real),
        model="test_resnet",
        out=tmp_path / "run",
        overrides={"epochs": 2, "batch_size": 16, "warmup_epochs": 0.0, "split_bn": True},
        threads=1,
    )
    train(options)
    timm.create_model(f"local-dir:{options.out}", pretrained=True)
    saved = load_file(options.out / "model.safetensors")
    checkpoint = load_checkpoint(options.out)
    assert checkpoint is not None
    assert not any("aux_bn" in name for name in saved)
    # A resumed run has both statistics.
    constant = {**options.overrides, "schedule": "constant"}
    whole = replace(options, out=tmp_path / "whole", overrides=constant)
    train(whole)
    parts = replace(options, out=tmp_path / "parts", overrides={**constant, "epochs": 1})
    train(parts)
    train(replace(parts, overrides=constant))
    files = [load_file(one.out / "model.safetensors") for one in (whole, parts)]
    assert all(torch.equal(one, files[1][name]) for name, one in files[0].items())
    other = {"out": tmp_path / "other"}
    with pytest.raises(UserError, match=r"--split-bn needs --real-train"):
        train(replace(options, dataset="ORG/not-opened", real_train=None, **other))
    with pytest.raises(UserError, match=r"--split-bn: test_vit has no batch norm"):
        vit = {"model": "test_vit", "model_args": {"patch_size": 8}}
        train(replace(options, **vit, **other))
    with pytest.raises(UserError, match=r"--split-bn excludes --accumulate, --mixup"):
        train(replace(options, overrides={**options.overrides, "mixup": 0.2}, **other))
