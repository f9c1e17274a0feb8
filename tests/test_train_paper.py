"""The paper's training in three readings: presets, architectures, held-out part, epochs."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from factory.common.errors import UserError
from factory.data.row_subsets import hold_out
from train.architectures import TABLE_2, timm_name
from train.arguments import options_of
from train.augment import centre_crop
from train.initialisation import initialise_as_torchvision
from train.parser import build_parser
from train.presets import PRESETS, model_args, resolve
from train.run import TrainOptions, train
from train.stems import with_small_stem

# Table 2's models, torchvision's names of them, and section 4.1's weight decay on CIFAR, EuroSAT.
ROWS = [
    ("ResNet50", "resnet50", 0.9, 0.3),
    ("ResNet101", "resnet101", 0.9, 0.3),
    ("ViT-B", "vit_b_16", 0.9, 0.3),
    ("MobileNetV3-S", "mobilenet_v3_small", 0.1, 0.1),
    ("ConvNeXt-S", "convnext_small", 0.9, 0.3),
]


@pytest.fixture
def options(colours: Path, tmp_path: Path) -> TrainOptions:
    return TrainOptions(
        dataset=str(colours),
        model="test_resnet",
        out=tmp_path / "run",
        overrides={"epochs": 1, "batch_size": 16, "warmup_epochs": 0.0},
    )


def test_table_2_is_named_in_full() -> None:
    assert [name for name, *_ in ROWS] == list(TABLE_2)
    assert timm_name("test_resnet") == "test_resnet"


@pytest.mark.parametrize(("name", "torchvision_name", "cifar", "eurosat"), ROWS)
def test_architecture_and_weight_decay_are_the_papers(
    name: str, torchvision_name: str, cifar: float, eurosat: float
) -> None:
    import torchvision

    model = timm_name(name)
    with torch.device("meta"):
        ours = timm.create_model(model, num_classes=10, **model_args("as-code", model))
        theirs = torchvision.models.get_model(torchvision_name, weights=None, num_classes=10)
    sizes = [sum(p.numel() for p in one.parameters()) for one in (ours, theirs)]
    assert sizes[0] == sizes[1]
    for preset, weight_decay in (
        ("paper", cifar),
        ("as-code", cifar),
        ("code-defaults", cifar),
        ("paper-eurosat", eurosat),
        ("as-code-eurosat", eurosat),
    ):
        values = resolve(preset, model=model, overrides={})
        assert values.weight_decay == weight_decay, preset
        assert values.decay_all and values.schedule == "cosine"
        if preset != "code-defaults":
            assert (values.epochs, values.batch_size, values.lr) == (200, 128, 2.0e-4)


def test_dropout_and_depth_are_torchvisions() -> None:
    import torchvision

    mobile = torchvision.models.mobilenet_v3_small(weights=None)
    dropout = [m.p for m in mobile.modules() if isinstance(m, torch.nn.Dropout)]
    norm = next(m for m in mobile.modules() if isinstance(m, torch.nn.BatchNorm2d))
    said = model_args("as-code", "mobilenetv3_small_100")
    assert [said["drop_rate"], said["bn_eps"], said["bn_momentum"]] == [
        *dropout,
        norm.eps,
        norm.momentum,
    ]
    with torch.device("meta"):
        convnext = torchvision.models.convnext_small(weights=None)
    depths = [m.p for m in convnext.modules() if type(m).__name__ == "StochasticDepth"]
    assert model_args("as-code", "convnext_small") == {"drop_path_rate": max(depths)}


def test_mobilenet_starts_as_torchvisions() -> None:
    import torchvision

    torch.manual_seed(0)
    ours = timm.create_model("mobilenetv3_small_100", num_classes=10)
    initialise_as_torchvision(ours)
    theirs = torchvision.models.mobilenet_v3_small(weights=None, num_classes=10)
    pairs = zip(
        *(
            [m for m in one.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
            for one in (ours, theirs)
        ),
        strict=True,
    )
    for mine, other in pairs:
        assert mine.weight.numel() == other.weight.numel()
        ratio = float(mine.weight.detach().std() / other.weight.detach().std())
        # Two samples of as many normal numbers: five standard errors of the ratio.
        assert ratio == pytest.approx(1, abs=5 / mine.weight.numel() ** 0.5)
        assert mine.bias is None or not mine.bias.any()
    values = resolve("as-code", model="mobilenetv3_small_100", overrides={})
    assert (values.initialisation, values.schedule_every) == ("torchvision", "epoch")


@pytest.mark.parametrize("name", TABLE_2)
def test_small_images_are_seen_at_32_places_and_more(name: str) -> None:
    """`corrected` gives every family the first feature map of a stem for small images."""

    model = timm_name(name)
    values = resolve("corrected", model=model, overrides={})
    side = values.image_size or 32
    assert values.stem == "small"
    name, arguments = with_small_stem(model, model_args("corrected", model))
    if model.startswith("vit"):
        arguments["img_size"] = side
    with torch.device("meta"):
        net = timm.create_model(name, num_classes=10, **arguments)
        assert net(torch.zeros(2, 3, side, side)).shape == (2, 10)
        if model.startswith("vit"):
            assert net.patch_embed.num_patches == 64
        else:
            sides: list[int] = []
            stem = net.stem if model.startswith("convnext") else net.bn1
            stem.register_forward_hook(lambda *parts: sides.append(parts[2].shape[-1]))
            net(torch.zeros(2, 3, side, side))
            assert sides == [32]


def test_as_code_holds_out_at_random_and_keeps_epochs() -> None:
    # The code splits CIFAR; of EuroSAT it trains on every image.
    for preset, held_out in (("as-code", 10_000), ("as-code-eurosat", None)):
        values = PRESETS[preset].hyperparameters
        assert (values.val_fraction, values.val_images, values.keep_every) == (0, held_out, 5)
    assert PRESETS["code-defaults"].hyperparameters.val_images == 10_000
    assert resolve("as-code", model="x", overrides={"val_fraction": 0.1}).val_images is None
    labels = np.repeat(np.arange(10), 5_000)
    rows, held = hold_out(labels, fraction=0.5, seed=0, count=10_000)
    assert (len(rows), len(held)) == (40_000, 10_000)
    assert np.array_equal(np.sort(np.concatenate([rows, held])), np.arange(50_000))
    counts = np.bincount(labels[held])
    assert counts.min() < 1_000 < counts.max()  # not class by class
    assert not np.array_equal(held, hold_out(labels, fraction=0.5, seed=1, count=10_000)[1])


def test_as_paper_trains_on_every_image_to_the_last_epoch() -> None:
    for preset in ("paper", "paper-eurosat"):
        values = PRESETS[preset].hyperparameters
        assert (values.val_fraction, values.val_images, values.keep_every) == (0.0, None, None)


@pytest.mark.parametrize("preset", ["paper-eurosat", "as-code-eurosat"])
def test_eurosat_is_trained_and_scored_at_the_codes_scale(preset: str) -> None:
    """The code enlarges to 256 px and crops 224: anywhere in training, the centre in scoring."""
    values = PRESETS[preset].hyperparameters
    assert values.image_size == 224 and values.image_size / values.test_crop == 256
    low, high = values.augmentation.crop_scale
    assert low == high == values.test_crop**2


def test_scoring_crops_the_centre(options: TrainOptions) -> None:
    from timm.data.config import resolve_model_data_config
    from timm.data.transforms_factory import create_transform

    train(replace(options, overrides={**options.overrides, "test_crop": 0.5}))
    model = timm.create_model(f"local-dir:{options.out}", pretrained=True)
    side = model.pretrained_cfg["input_size"][1]
    image = np.zeros((side, side, 3), dtype=np.uint8)
    quarter = side // 4
    image[quarter : side - quarter, quarter : side - quarter] = 255
    config = resolve_model_data_config(model) | {"mean": (0, 0, 0), "std": (1, 1, 1)}
    theirs = create_transform(**config, is_training=False)(Image.fromarray(image))
    ours = centre_crop(torch.from_numpy(image).permute(2, 0, 1)[None] / 255, 0.5)[0]
    # All white but for the outermost pixel, where the enlarged edge is blurred.
    assert theirs[:, 2:-2, 2:-2].min() > 0.99 and ours[:, 2:-2, 2:-2].min() > 0.99
    assert torch.equal(centre_crop(ours[None], 1.0)[0], ours)


def test_a_negative_seed_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        words = ["set", "--model", "test_resnet", "--out", "run", "--seed", "-1"]
        options_of(build_parser().parse_args(words))
    assert "--seed -1: expected 0 or more" in capsys.readouterr().err


def test_held_out_images_leave_something(options: TrainOptions) -> None:
    with pytest.raises(UserError, match=r"holding out 10000 of 60 images .* lower --val-images"):
        train(replace(options, preset="as-code"))


def test_kept_epochs_are_the_weights_of_those_epochs(options: TrainOptions) -> None:
    overrides = {**options.overrides, "epochs": 5, "keep_every": 2, "val_images": 6}
    train(replace(options, overrides=overrides))
    kept = sorted(path.name for path in (options.out / "epochs").iterdir())
    assert kept == ["epoch-0002.safetensors", "epoch-0004.safetensors"]
    with safe_open(options.out / "epochs" / kept[1], "pt") as weights:
        assert weights.metadata()["epoch"] == "4"
    shorter = replace(options, out=options.out.with_name("last"))
    train(replace(shorter, overrides={**overrides, "keep_every": 1}))
    two = [load_file(out / "epochs" / kept[1]) for out in (options.out, shorter.out)]
    assert all(torch.equal(two[0][name], two[1][name]) for name in two[0])


def test_images_per_class_are_generated_of_each_class(options: TrainOptions) -> None:
    train(replace(options, images_per_class=12))
    config = yaml.safe_load((options.out / "config.yaml").read_text())
    assert (config["data"]["num_images"], config["data"]["images_per_class"]) == (36, 12)
    with pytest.raises(UserError, match=r"class red has 20 images, but --images-per-class is 21"):
        train(replace(options, images_per_class=21, out=options.out.with_name("more")))


def test_head_only_keeps_the_body_unchanged(options: TrainOptions) -> None:
    first = replace(options, overrides={**options.overrides, "epochs": 2})
    train(first)
    second = replace(
        options,
        model=f"local-dir:{options.out}",
        pretrained=True,
        head_only=True,
        out=options.out.with_name("head"),
    )
    train(second)
    before = load_file(options.out / "model.safetensors")
    after = load_file(second.out / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_weights_of_a_file_start_all_layers_but_the_last(
    suffix: str, options: TrainOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(7)
    state = timm.create_model("test_resnet", num_classes=5).state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        # A bare state dict, and a training checkpoint as data-parallel training saves it.
        nested = {"epoch": 3, "state_dict": {f"module.{key}": one for key, one in state.items()}}
        torch.save(state if suffix == ".pt" else nested, path)
    small = {**options.overrides, "image_size": 32}
    first = replace(options, weights=path, head_only=True, overrides=small)
    train(first)
    assert "--weights: using preset finetune" in capsys.readouterr().err
    found = load_file(options.out / "model.safetensors")
    assert {key for key in state if not torch.equal(state[key], found[key])} == {
        "fc.weight",
        "fc.bias",
    }
    config = yaml.safe_load((options.out / "config.yaml").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (config["pretrained"], config["preset"]) == (True, "finetune")
    assert (config["weights"], config["weights_sha256"]) == (path.name, digest)
    # A moved file is the same; other weights are another run.
    moved = path.rename(tmp_path / f"moved{suffix}")
    train(replace(first, weights=moved))
    moved.write_bytes((options.out / "model.safetensors").read_bytes())
    if suffix == ".safetensors":
        with pytest.raises(UserError, match=r"another run, which differs in weights_sha256"):
            train(replace(first, weights=moved))


def test_head_first_and_then_all_layers(options: TrainOptions, tmp_path: Path) -> None:
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "w.safetensors")
    few = replace(
        options,
        weights=tmp_path / "w.safetensors",
        images_per_class=5,
        overrides={**options.overrides, "image_size": 32, "val_fraction": 0.0},
    )
    train(replace(few, head_only=True, out=tmp_path / "head"))
    model = f"local-dir:{tmp_path / 'head'}"
    train(replace(few, weights=None, model=model, pretrained=True, out=tmp_path / "all"))
    before, after = (load_file(tmp_path / one / "model.safetensors") for one in ("head", "all"))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed > {"fc.weight", "fc.bias", "conv1.0.weight"}
    # The second phase starts from the first one's last layer.
    assert (before["fc.weight"] - after["fc.weight"]).abs().max() < 0.01


def test_weights_of_a_transformer_fit_another_image_size(
    options: TrainOptions, tmp_path: Path
) -> None:
    torch.save(timm.create_model("test_vit", img_size=160).state_dict(), tmp_path / "w.pt")
    train(
        replace(
            options,
            model="test_vit",
            weights=tmp_path / "w.pt",
            overrides={**options.overrides, "image_size": 32},
        )
    )


def test_weights_that_do_not_fit_are_refused(options: TrainOptions, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file(timm.create_model("test_efficientnet").state_dict(), other)
    for name, content, message in (
        ("gone.pt", None, r"gone.pt: file not found"),
        ("text.pt", b"hello", r"--weights .*text.pt: is no safetensors file, and no pickle"),
        ("cut.safetensors", b"hello", r"cut.safetensors: cannot be read"),
        ("code.pt", pickle.dumps(Path("x")), r"other pickles may run code"),
        ("empty.pt", {}, r"contains no state dict"),
        ("numbers.pt", {"a": 1}, r"contains no state dict"),
        (
            "other.safetensors",
            None,
            r"do not fit test_resnet: \d+ of the model are missing .*\d+ of the file",
        ),
        (".", None, r"is a folder; .*--model local-dir:"),
    ):
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        elif content is not None:
            torch.save(content, tmp_path / name)
        with pytest.raises(UserError, match=message):
            train(replace(options, weights=tmp_path / name))
    with pytest.raises(UserError, match=r"--weights and --model local-dir:x both name weights"):
        train(replace(options, weights=other, model="local-dir:x"))


def test_a_run_of_an_earlier_version_is_resumed(options: TrainOptions) -> None:
    train(options)
    path = options.out / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for key in ("images_per_class",):
        config["data"].pop(key)
    for key in ("val_images", "keep_every", "test_crop"):
        config["hyperparameters"].pop(key)
    assert config["overrides"] == {**options.overrides, "augmentation": dict(options.augmentation)}
    for key in ("head_only", "weights", "weights_sha256", "overrides"):
        config.pop(key)
    path.write_text(yaml.safe_dump(config))
    assert train(options).epochs == 1
