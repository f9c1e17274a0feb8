"""Scoring of images that are not square."""

import json
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from test_eval_score import NAMES, write_real, write_run

from eval.cli import main
from eval.fit import make_transform, with_fit
from eval.scores_file import Preprocessing
from eval.scores_io import read_scores
from factory.data.pixels import Fit, fitted

FITS = get_args(Fit)


def preprocessing(crop_mode: str = "squash", crop_pct: float = 1.0) -> Preprocessing:
    return Preprocessing(
        input_size=(3, 32, 32),
        interpolation="bilinear",
        crop_pct=crop_pct,
        crop_mode=crop_mode,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.25, 0.3),
    )


def wide() -> Image.Image:
    """Return an image of 64 x 32 pixels: red, white, red."""
    image = Image.new("RGB", (64, 32), "red")
    image.paste("white", (16, 0, 48, 32))
    return image


def pixels(image: Image.Image, **options) -> np.ndarray:
    """Return the model's input as pixels in 0..255."""
    fit = options.pop("fit")
    found = make_transform(with_fit(preprocessing(**options), fit)).apply(image)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
    return ((found * std[:, None, None] + mean[:, None, None]) * 255).round().numpy()


@pytest.mark.parametrize("crop_mode", ["squash", "center", "border"])
def test_wide_images_are_cropped_padded_or_squashed(crop_mode: str) -> None:
    cropped = pixels(wide(), crop_mode=crop_mode, fit="crop")
    assert (cropped == 255).all()
    padded = pixels(wide(), crop_mode=crop_mode, fit="pad")
    border = np.round(255 * np.float32([0.4, 0.5, 0.6]))
    assert (padded[:, :7] == border[:, None, None]).all()
    assert (padded[:, 16, 16] == 255).all() and (padded[:, 16, 2] == [255, 0, 0]).all()
    squashed = pixels(wide(), crop_mode=crop_mode, fit="squash")
    assert (squashed[:, :, 16] == 255).all()
    assert (squashed[:, 0, 2] == [255, 0, 0]).all() and (squashed[:, 31, 2] == [255, 0, 0]).all()


def test_the_default_is_to_crop_unless_the_model_knows_borders() -> None:
    found = {mode: with_fit(preprocessing(mode), None).fit for mode in ("squash", "center")}
    assert found == {"squash": "crop", "center": "crop"}
    assert with_fit(preprocessing("border"), None).fit == "pad"


@pytest.mark.parametrize("fit", FITS)
def test_training_and_scoring_use_the_same_pixels(fit: str) -> None:
    shown = fitted(wide(), 1.0, fit, colour=(102, 128, 153))
    trained = np.asarray(shown.resize((32, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(trained.transpose(2, 0, 1), pixels(wide(), fit=fit))


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
@pytest.mark.parametrize("size", [20, 32, 77])
def test_square_images_stay_the_same(fit: str, crop_pct: float, size: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    own = make_transform(preprocessing(crop_pct=crop_pct)).apply(Image.fromarray(noise))
    fitted = with_fit(preprocessing(crop_pct=crop_pct), fit)
    assert torch.equal(make_transform(fitted).apply(Image.fromarray(noise)), own)


@pytest.mark.parametrize("fit", [None, *FITS])
@pytest.mark.parametrize("crop_mode", ["squash", "center", "border"])
def test_long_images_stay_small(fit: str | None, crop_mode: str, monkeypatch) -> None:
    image = Image.new("RGB", (2000, 20), "white")
    image.paste("red", (0, 0, 600, 20))
    expected = pixels(image, crop_mode=crop_mode, fit=fit)
    sizes = []
    for module in ("eval.fit", "factory.data.pixels"):
        monkeypatch.setattr(f"{module}.MAX_PIXELS", 40_000)
    for name in ("resize", "crop", "new"):
        wrap_sizes(monkeypatch, name, sizes)
    found = pixels(image, crop_mode=crop_mode, fit=fit)
    assert max(sizes, default=0) <= 40_000
    assert np.abs(found - expected).mean() < 4


def wrap_sizes(monkeypatch, name: str, sizes: list[int]) -> None:
    """Record the size of every image that Pillow creates."""
    owner = Image if name == "new" else Image.Image
    made = getattr(owner, name)

    def noted(*args, **kwargs):
        found = made(*args, **kwargs)
        sizes.append(found.width * found.height)
        return found

    monkeypatch.setattr(owner, name, noted)


def test_scores_record_the_fit(tmp_path) -> None:
    run = write_run(tmp_path / "run")
    real, *_ = write_real(tmp_path / "real", names=NAMES)
    found = {}
    for fit in (None, *FITS):
        options = ["--fit", fit] if fit else []
        main(["score", str(run), "--real", str(real), "--suffix", str(fit), *options])
        found[fit] = read_scores(run / f"scores-{fit}.json")
    assert {fit: one.preprocessing.fit for fit, one in found.items()} == {
        None: "crop",
        "crop": "crop",
        "pad": "pad",
        "squash": "squash",
    }
    assert found[None].metrics == found["crop"].metrics != found["squash"].metrics


def test_the_fit_of_training_is_used_and_reported(tmp_path, capsys) -> None:
    run = write_run(tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "fit": "squash"}))
    real, *_ = write_real(tmp_path / "real", names=NAMES)
    said = "images that are not square: squash, as in the model's training (--fit chooses"
    for options, fit in (([], "squash"), (["--fit", "crop"], "crop")):
        main(["score", str(run), "--real", str(real), "--suffix", fit, *options])
        assert read_scores(run / f"scores-{fit}.json").preprocessing.fit == fit
        assert (said in capsys.readouterr().err) == (not options)
