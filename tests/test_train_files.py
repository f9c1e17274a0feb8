"""Images that are read from their files in each epoch instead of being held in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from test_train import make_set
from test_train_interrupted import interrupt_at

from factory.common.errors import UserError
from factory.common.stop_signals import Stopped
from factory.data.open import open_dataset
from train.augment import NUM_DRAWS
from train.crops import crop_box
from train.image_files import PixelsFromFiles, load_files
from train.run import TrainOptions, train
from train.settings import Augmentation, Hyperparameters
from train.uniforms import uniforms

VALUES: dict[str, Any] = {"epochs": 1, "batch_size": 4, "lr": 0.1, "image_size": 16}


def write_photos(folder: Path) -> Path:
    """Write a folder of photos of several sizes: horizontal ramps in two colours."""
    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for number in range(8):
            height, width = 40 + 8 * number, 96 - 4 * number
            ramp = np.zeros((height, width, 3), dtype=np.uint8)
            ramp[:, :, label] = np.linspace(0, 255, width)
            ramp[:, :, 2] = 20 * number
            Image.fromarray(ramp).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("sets") / "photos")


@pytest.fixture
def options(photos: Path, tmp_path: Path) -> TrainOptions:
    return TrainOptions(
        dataset=str(photos),
        model="test_vit",
        model_args={"patch_size": 8, "depth": 1, "drop_path_rate": 0.2},
        out=tmp_path / "run",
        overrides={
            **{"epochs": 2, "batch_size": 4, "warmup_epochs": 0.0, "image_size": 16},
            "val_fraction": 0.25,
        },
        pixel_memory=0.0,
        workers=0,
        threads=1,
    )


def store(photos: Path, *, workers: int = 0, **given: Any) -> PixelsFromFiles:
    values = Hyperparameters(**VALUES, mean=(0.5,) * 3, std=(0.25,) * 3, **given)
    data = load_files([open_dataset(photos)], shows=False)
    device = torch.device("cpu")
    return PixelsFromFiles(data, values, seed=1, device=device, workers=workers)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_without_crops_pixels_are_those_held_in_memory(photos: Path, fit: Any) -> None:
    from factory.data.pixels import decode_images

    opened = open_dataset(photos)
    expected = decode_images(
        opened.dataset,
        image_column=opened.image_column,
        image_folder=opened.image_folder,
        height=16,
        width=16,
        fit=fit,
        colour=(128, 128, 128),
    )
    rows = [np.arange(5), np.arange(5, 16)]
    for epoch in (None, 3):
        found = [*store(photos, fit=fit).batches(rows, epoch=epoch)]
        assert np.array_equal(torch.cat([one.pixels for one in found]).numpy(), expected)
        assert torch.cat([one.labels for one in found]).tolist() == [0] * 8 + [1] * 8


def test_crops_are_taken_from_the_original(photos: Path) -> None:
    """A crop of a ramp is a ramp over the cropped columns, with as many steps as they have."""
    crop = Augmentation(crop_scale=(0.1, 0.2), crop_ratio=(1, 1))
    rows = np.arange(8)
    ((_, pixels, _),) = store(photos, augmentation=crop).batches([rows], epoch=2)
    draws = uniforms(rows, seed=1, epoch=2, num_draws=NUM_DRAWS)
    for row in rows:
        height, width = 40 + 8 * row, 96 - 4 * row
        left, top, right, bottom = crop_box(draws[row], crop, width, height)
        assert right - left == pytest.approx(bottom - top)
        assert 0.1 <= (right - left) * (bottom - top) / (width * height) <= 0.2 + 1e-6
        ramp = pixels[row, 8, :, 0].numpy().astype(float)
        expected = 255 * (np.array([left, right]) - 0.5) / (width - 1)
        middle = expected.mean()
        assert ramp.mean() == pytest.approx(middle, abs=3)
        assert ramp[-1] - ramp[0] == pytest.approx(np.diff(expected)[0] * 15 / 16, abs=5)
    ((_, other, _),) = store(photos, augmentation=crop).batches([rows], epoch=3)
    assert not torch.equal(pixels, other)


def test_workers_change_no_pixel(photos: Path) -> None:
    crop = Augmentation(crop_scale=(0.2, 1))
    # Repeats of a row have numbers of their own, and crops of their own.
    rows = [np.array([0, 5, 16, 3]), np.array([7, 21]), np.array([9, 2, 25])]
    one = [*store(photos, augmentation=crop).batches(rows, epoch=0)]
    before = torch.get_rng_state()
    two = [*store(photos, workers=2, augmentation=crop).batches(rows, epoch=0)]
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one[0].pixels[0], one[0].pixels[2])
    assert not torch.equal(one[0].pixels[1], one[1].pixels[1])


def test_crop_boxes_agree_with_batches_in_memory() -> None:
    from train.augment import affine_maps

    policy = Augmentation(crop_scale=(0.1, 0.9), crop_ratio=(0.75, 1.33))
    draws = uniforms(np.arange(50), seed=4, epoch=0, num_draws=NUM_DRAWS)
    theta = affine_maps(torch.from_numpy(draws), policy)
    assert theta is not None
    for one, matrix in zip(draws, theta.numpy(), strict=True):
        left, top, right, bottom = crop_box(one, policy, 32, 32)
        size, centre = matrix[[0, 1], [0, 1]], matrix[:, 2]
        assert (right - left, bottom - top) == pytest.approx(size * 32, abs=1e-3)
        assert ((left + right) / 2, (top + bottom) / 2) == pytest.approx(16 + 16 * centre, abs=1e-3)


def test_a_run_is_the_same_with_workers_and_after_ctrl_c(
    options: TrainOptions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(options)
    said = capsys.readouterr().err
    assert "are read from the files in each epoch" in said
    assert "more than --pixel-memory 0 B" in said
    assert yaml.safe_load((options.out / "config.yaml").read_text())["pixels"] == "files"
    other = replace(options, out=options.out.with_name("other"), workers=1)
    interrupt_at(1, monkeypatch)
    with pytest.raises(Stopped):
        train(other)
    monkeypatch.undo()
    # The choice is kept, whatever memory is free now.
    train(replace(other, pixel_memory=None))
    files = [load_file(one.out / "model.safetensors") for one in (options, other)]
    assert all(torch.equal(one, files[1][name]) for name, one in files[0].items())
    with pytest.raises(UserError, match=r"pixels \(files there, memory now\)"):
        train(replace(options, pixel_memory=1.0))


def test_in_memory_is_the_choice_for_small_datasets(
    options: TrainOptions, capsys: pytest.CaptureFixture[str]
) -> None:
    train(replace(options, pixel_memory=None))
    assert "16 images of 16 px need 12.3 kB of memory and are decoded once" in (
        capsys.readouterr().err
    )
    assert yaml.safe_load((options.out / "config.yaml").read_text())["pixels"] == "memory"
    assert train(replace(options, pixel_memory=1.0)).epochs == 2


def test_several_datasets_are_read_from_their_files(options: TrainOptions, tmp_path: Path) -> None:
    two = write_photos(tmp_path / "two")
    (two / "dog").rename(two / "Dog")
    train(replace(options, more_datasets=(str(two),), mix=(0.75, 0.25)))
    config = yaml.safe_load((options.out / "config.yaml").read_text())
    assert [one["num_images"] for one in config["data"]["sources"]] == [16, 16]
    assert config["data"]["class_counts"] == {"cat": 16, "dog": 16}


def test_an_image_that_cannot_be_read_is_one_line(options: TrainOptions, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    (photos / "cat" / "3.png").write_bytes(b"not an image")
    for workers in (0, 1):
        broken = replace(options, dataset=str(photos), workers=workers, out=tmp_path / f"{workers}")
        with pytest.raises(UserError, match=r"^row 3.*3.png.*skip-unreadable skips[^\n]*$"):
            train(broken)


def test_rows_with_bytes_are_read_too(options: TrainOptions, tmp_path: Path) -> None:
    folder = make_set(tmp_path / "set", num_images=24)
    train(replace(options, dataset=str(folder)))
    first = yaml.safe_load((options.out / "config.yaml").read_text())["data"]["pixels_sha256"]
    assert len(first) == 64
