"""Logits and features of a model: the choice between them, and image preprocessing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hub_parts import ORG, run_python
from localhub import LocalHub
from PIL import Image
from safetensors.torch import load_file, save_file
from test_eval_gap import NAMES, gap, without_plots, write_set
from test_eval_score import write_run

from eval import gap_steps
from eval.features import FeatureModel, choose_space, extract, load_features
from eval.fit import make_transform
from factory.common.errors import UserError
from factory.data.open import open_dataset
from train.run import TrainOptions, train

__all__ = ["without_plots"]
CONFIG = {
    "input_size": [3, 40, 40],
    "interpolation": "bicubic",
    "crop_pct": 0.8,
    "crop_mode": "center",
    "mean": [0.1, 0.2, 0.3],
    "std": [0.5, 0.6, 0.7],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    write_set(folder / "real", split="test", seed=1)
    write_set(folder / "far", split="train", seed=3, shift=60)
    write_run(folder / "run")
    write_run(folder / "other-classes", names=["ant", "dog", "elk", "fox"])
    write_run(folder / "nameless", label_names=None, pretrained_cfg=CONFIG)
    return folder


def represent(model: FeatureModel, folder: Path, space: Any) -> Any:
    opened = open_dataset(folder)
    return extract(model, opened, np.arange(20), space=space, batch_size=16, threads=1).values


def test_logits_are_the_head_of_the_features(place: Path) -> None:
    model = load_features(str(place / "run"))
    features, logits = (represent(model, place / "real", one) for one in ("features", "logits"))
    weights = load_file(place / "run" / "model.safetensors")
    assert features.shape == (20, weights["fc.weight"].shape[1]) and logits.shape == (20, 7)
    expected = features @ weights["fc.weight"].double().numpy().T + weights["fc.bias"].numpy()
    assert logits == pytest.approx(expected, abs=1e-3)


def test_a_trained_run_is_compared_in_its_logits_unless_asked_otherwise(
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plotted: list[int] = []
    monkeypatch.setattr(gap_steps, "embed", lambda values: plotted.append(values.shape[1]))
    logits = gap(place, "far", tmp_path / "default")
    assert "logits of run (default: its head has every class compared): two-sample accuracy" in (
        capsys.readouterr().out
    )
    asked = gap(place, "far", tmp_path / "logits", "--space", "logits")
    features = gap(place, "far", tmp_path / "features", "--space", "features")
    assert "features of run (requested: its head has every class" in capsys.readouterr().out
    assert (logits["space"], logits["dimensions"]) == ("logits", 7)
    assert (features["space"], features["dimensions"]) == ("features", 96)
    assert logits["space_reason"] == "default: its head has every class compared"
    assert asked == logits | {"space_reason": asked["space_reason"]}
    assert features["spread"] != logits["spread"]
    assert plotted == [7, 7, 96]


def test_logits_that_are_all_the_same_are_refused(place: Path, tmp_path: Path) -> None:
    """The head ignores the images, but the features can still be compared."""
    run = write_run(tmp_path / "blind")
    weights = load_file(run / "model.safetensors")
    weights["fc.weight"] *= 1e-30
    save_file(weights, run / "model.safetensors")
    model = load_features(str(run))
    assert represent(model, place / "real", "features").std(axis=0).any()
    with pytest.raises(UserError, match=r"blind gives the same logits .* --space features"):
        gap(place, "far", tmp_path / "out", "--model", str(run))
    assert not (tmp_path / "out").exists()


def test_a_head_of_other_classes_is_left_out_by_default(place: Path, tmp_path: Path) -> None:
    run = str(place / "other-classes")
    found = gap(place, "far", tmp_path / "out", "--model", run)
    assert found["space"] == "features"
    assert found["space_reason"] == "default: its head lacks 2 of 3 classes compared"
    asked = gap(place, "far", tmp_path / "asked", "--model", run, "--space", "logits")
    assert (asked["space"], asked["dimensions"]) == ("logits", 4)
    assert asked["space_reason"] == "requested: its head lacks 2 of 3 classes compared"


def test_spelling_of_class_names_does_not_decide(place: Path) -> None:
    model = load_features(str(place / "run"))
    assert choose_space(model, ["Ant", "BEE", "c_at"], None)[0] == "logits"
    nameless = load_features(str(place / "nameless"))
    assert choose_space(nameless, NAMES, None) == (
        "features",
        "default: its head lists no class names",
    )


def test_a_model_without_a_head_has_no_logits(place: Path) -> None:
    body = timm.create_model("test_resnet", num_classes=0).eval()
    run = load_features(str(place / "run"))
    model = FeatureModel("body", body, None, run.preprocessing)
    with pytest.raises(UserError, match="body has no classification head; use --space features"):
        represent(model, place / "real", "logits")
    plain = FeatureModel("plain", torch.nn.Identity(), None, run.preprocessing)
    with pytest.raises(UserError, match=r"plain has no `forward_head`.* use --space logits"):
        represent(plain, place / "real", "features")


def framed() -> Image.Image:
    """Return an image of 100 px with a grey centre of 80 px, so that a crop of 0.8 is grey."""
    image = Image.new("RGB", (100, 100), (255, 0, 0))
    image.paste((102, 102, 102), (10, 10, 90, 90))
    return image


def assert_preprocessed(
    model: FeatureModel, *, side: int, crop: float, mean: Any, std: Any
) -> None:
    """Check the pixels that reach the model, not only what the model's config says."""
    pixels = make_transform(model.preprocessing).apply(framed())
    assert pixels.shape == (3, side, side)
    grey = [(0.4 - m) / s for m, s in zip(mean, std, strict=True)]
    assert pixels[:, side // 2, side // 2].tolist() == pytest.approx(grey, abs=1e-5)
    red = (1 - mean[0]) / std[0]
    # The red frame is 10 % on every side: a crop of 80 % or less takes it away.
    assert (pixels[0, side // 2, 0].item() > (grey[0] + red) / 2) == (crop > 0.85)


def test_a_timm_checkpoint_keeps_its_preprocessing(place: Path) -> None:
    for name in (str(place / "nameless"), f"local-dir:{place / 'nameless'}"):
        model = load_features(name)
        assert model.preprocessing.model_dump(mode="json") == CONFIG | {"fit": None}
        assert_preprocessed(model, side=40, crop=0.8, mean=CONFIG["mean"], std=CONFIG["std"])


def test_a_run_keeps_its_preprocessing(place: Path, tmp_path: Path) -> None:
    mean, std = (0.3, 0.2, 0.1), (0.9, 0.8, 0.7)
    sizes = {"epochs": 1, "batch_size": 32, "image_size": 48, "test_crop": 0.75}
    train(
        TrainOptions(
            dataset=str(place / "far"),
            out=tmp_path / "run",
            model="test_resnet",
            overrides={**sizes, "mean": mean, "std": std},
        )
    )
    model = load_features(str(tmp_path / "run"))
    assert model.preprocessing.input_size == (3, 48, 48)
    assert (model.preprocessing.crop_pct, model.preprocessing.interpolation) == (0.75, "bicubic")
    assert_preprocessed(model, side=48, crop=0.75, mean=mean, std=std)


def test_a_timm_model_by_name_keeps_its_preprocessing(monkeypatch: pytest.MonkeyPatch) -> None:
    # The weights alone need the network; `pretrained_cfg` is timm's own.
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *_, **__: None)
    model = load_features("test_resnet.r160_in1k")
    assert model.label_names is None and model.preprocessing.interpolation == "bilinear"
    assert_preprocessed(model, side=160, crop=0.95, mean=[0.5] * 3, std=[0.5] * 3)
    # Another model of other weights: CLIP's mean and deviation.
    clip = load_features("test_vit.r160_in1k")
    assert clip.preprocessing.mean == tuple(clip.model.pretrained_cfg["mean"])


_PUBLISH_AND_LOAD = """
import json, sys
from huggingface_hub import HfApi
from eval.features import load_features

folder, repo = sys.argv[1:]
HfApi().create_repo(repo)
HfApi().upload_folder(folder_path=folder, repo_id=repo)
model = load_features(f"hf-hub:{repo}")
print(json.dumps([model.label_names, model.preprocessing.model_dump(mode="json")]))
"""


def test_a_model_of_the_hub_keeps_its_preprocessing(
    either_hub: LocalHub, place: Path, tmp_path: Path
) -> None:
    """Like timm's ImageNet models on the Hub, it has no class names."""
    done = run_python(
        either_hub, tmp_path / "home", _PUBLISH_AND_LOAD, place / "nameless", f"{ORG}/model"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [None, CONFIG | {"fit": None}]
