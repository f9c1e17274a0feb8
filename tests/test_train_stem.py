"""Stems for small images: models, the line that suggests them, and loading a run."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import yaml
from quick_python import python
from safetensors.torch import load_file
from test_train import ROOT

from factory.common.errors import UserError
from factory.models.small_stem import LOADING
from train.run import TrainOptions, train
from train.stems import has_stem, stem_note, with_small_stem


@pytest.fixture
def options(colours: Path, tmp_path: Path) -> TrainOptions:
    return TrainOptions(
        dataset=str(colours),
        images_per_class=8,
        model="test_resnet",
        out=tmp_path / "run",
        overrides={"epochs": 1, "batch_size": 8, "warmup_epochs": 0.0, "stem": "small"},
        threads=1,
    )


@pytest.mark.parametrize(
    ("model", "module"),
    [
        ("resnet18", "maxpool"),
        ("resnet50d.ra2_in1k", "maxpool"),
        ("mobilenetv3_small_100", "bn1"),
        ("efficientnet_b0", "bn1"),
        ("convnext_tiny", "stem"),
        ("vit_tiny_patch16_224", "patch_embed"),
    ],
)
def test_a_small_stem_keeps_the_positions_of_32_px(model: str, module: str) -> None:
    name, arguments = with_small_stem(model, {})
    if module == "patch_embed":
        arguments["img_size"] = 32
    shapes: list[torch.Size] = []
    with torch.device("meta"):
        net = timm.create_model(name, num_classes=3, **arguments)
        layer = net.get_submodule(module)
        layer.register_forward_hook(lambda *parts: shapes.append(parts[2].shape))
        assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 3)
    assert shapes[0][-2] == (64 if module == "patch_embed" else 32)


def test_timm_loads_a_run_natively_or_after_two_lines(options: TrainOptions) -> None:
    from eval.checkpoint import load_checkpoint

    train(options)
    values = yaml.safe_load((options.out / "config.yaml").read_text())["hyperparameters"]
    assert values["stem"] == "small"
    weights = load_file(options.out / "model.safetensors")
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    loaded = timm.create_model(f"local-dir:{options.out}", pretrained=True).eval()
    assert all(torch.equal(one, weights[name]) for name, one in loaded.state_dict().items())
    scored = load_checkpoint(str(options.out)).model
    with torch.inference_mode():
        assert torch.equal(loaded(images), scored(images))
    # Another process knows the architecture only after the lines of the model card.
    load = f'import timm; timm.create_model("local-dir:{options.out}", pretrained=True)'
    bare = subprocess.run([python(), "-c", load], cwd=ROOT, capture_output=True, text=True)
    assert "Unknown model (test_resnet_small_stem)" in bare.stderr
    lines = [python(), "-c", "\n".join([*LOADING, load])]
    subprocess.run(lines, cwd=ROOT, check=True)
    # Further training keeps the stem.
    on = replace(
        options,
        model=f"local-dir:{options.out}",
        pretrained=True,
        out=options.out.with_name("on"),
        overrides={"epochs": 1, "batch_size": 8, "image_size": 32},
    )
    train(on)
    further = load_file(on.out / "model.safetensors")
    assert {name: one.shape for name, one in further.items()} == {
        name: one.shape for name, one in weights.items()
    }
    with pytest.raises(UserError, match="pretrained weights have a first layer of their own"):
        train(replace(on, overrides={**on.overrides, "stem": "small"}))


def test_the_card_of_a_run_has_the_lines_that_load_it(options: TrainOptions) -> None:
    from train.model_card import card_text

    train(options)
    assert "\n".join(LOADING) in card_text(options.out, repo_id="me/net")
    plain = replace(options, model="test_vit", out=options.out.with_name("vit"))
    train(plain)
    assert LOADING[0] not in card_text(plain.out, repo_id="me/net")
    loaded = timm.create_model(f"local-dir:{plain.out}", pretrained=True)
    assert loaded.patch_embed.num_patches == 64


def test_stems_that_contradict_are_refused(options: TrainOptions) -> None:
    vit = replace(options, model="test_vit", model_args={"patch_size": 8})
    with pytest.raises(UserError, match=r"--stem small sets patch_size=4, and --model-arg sets"):
        train(vit)
    with pytest.raises(UserError, match=r"--stem small: test_nfnet has none"):
        train(replace(options, model="test_nfnet"))
    assert not options.out.exists()
    with pytest.raises(UserError, match="--stem tiny: expected imagenet or small"):
        train(replace(options, overrides={**options.overrides, "stem": "tiny"}))


def test_a_stem_for_224_px_on_small_images_is_reported() -> None:
    note = stem_note("resnet18", side=32, reduction=32, fixed=False)
    assert note is not None
    assert "larger images than 32 px" in note
    assert "Use --stem small (a first layer for small images) or --image-size 128" in note
    note = stem_note("resnet18", side=64, reduction=32, fixed=False)
    assert note is not None and "larger images than 64 px" in note and "--stem small" in note
    assert stem_note("resnet18", side=224, reduction=32, fixed=False) is None
    assert stem_note("resnet18", side=64, reduction=32, fixed=True) is None
    # Its small stem halves the reduction, which still leaves one position.
    note = stem_note("mobilenetv3_small_100", side=16, reduction=32, fixed=False)
    assert note is not None and "--stem" not in note and "--image-size 64" in note
    assert not has_stem("nfnet_f0")
    assert stem_note("nfnet_f0", side=64, reduction=32, fixed=False) is None
    odd = stem_note("nfnet_f0", side=32, reduction=32, fixed=False)
    assert odd is not None and "--stem" not in odd and "Use --image-size 128" in odd
    # Measured: its small stem makes no significant difference.
    assert stem_note("test_resnet", side=32, reduction=32, fixed=False) is None
