"""What comes from timm: losses, mixing, policies, optimisers, schedules, averages, option names."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file
from test_train import read_metrics
from torch.nn import functional

from factory.common.errors import UserError
from factory.common.preset_options import GROUPS
from train.arguments import options_of
from train.checkpoint import load_checkpoint
from train.inputs import Inputs
from train.losses import make_loss
from train.mixup import ImageMixing
from train.optimizer import check_optimizer, make_optimizer, set_rate
from train.parser import build_parser
from train.policies import make_policy
from train.presets import resolve
from train.run import TrainOptions, train
from train.schedule import make_schedule
from train.settings import Augmentation, Hyperparameters

LOGITS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


@pytest.fixture
def options(colours: Path, tmp_path: Path) -> TrainOptions:
    return TrainOptions(
        dataset=str(colours),
        images_per_class=16,
        model="test_resnet",
        out=tmp_path / "run",
        overrides={"epochs": 2, "batch_size": 9, "warmup_epochs": 0.0},
        threads=1,
    )


def values_of(**given: Any) -> Hyperparameters:
    return Hyperparameters(**{"epochs": 4, "batch_size": 8, "lr": 0.1, **given})


def test_binary_cross_entropy_is_timms() -> None:
    from timm.loss import BinaryCrossEntropy

    for given in ({}, {"bce_sum": True}, {"bce_target_thresh": 0.2}):
        values = values_of(bce_loss=True, label_smoothing=0.1, **given)
        theirs = BinaryCrossEntropy(
            smoothing=0.1,
            target_threshold=given.get("bce_target_thresh"),
            sum_classes=given.get("bce_sum", False),
        )
        torch.testing.assert_close(make_loss(values)(LOGITS, LABELS) / 6, theirs(LOGITS, LABELS))


def test_focal_loss_weighs_hard_images_more() -> None:
    plain = make_loss(values_of(focal_gamma=0.0))(LOGITS, LABELS)
    one_hot = functional.one_hot(LABELS, 4).float()
    bce = functional.binary_cross_entropy_with_logits(LOGITS, one_hot, reduction="sum")
    torch.testing.assert_close(plain, bce)
    easy, hard = torch.tensor([[4.0, -4.0]]), torch.tensor([[-4.0, 4.0]])
    focal, flat = make_loss(values_of(focal_gamma=2.0)), make_loss(values_of(focal_gamma=0.0))
    label = torch.tensor([0])
    assert focal(hard, label) / focal(easy, label) > 100 * flat(hard, label) / flat(easy, label)


def test_soft_targets_are_not_smoothed_again() -> None:
    targets = torch.softmax(LOGITS.flip(0), dim=1)
    loss = make_loss(values_of(label_smoothing=0.3))(LOGITS, targets)
    expected = -(targets * LOGITS.log_softmax(dim=1)).sum()
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("given", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 1, "cutmix": 1}])
@pytest.mark.parametrize("mode", ["batch", "elem"])
def test_mixing_depends_on_seed_and_place_alone(given: dict[str, float], mode: str) -> None:
    values = values_of(**given, mixup_mode=mode, label_smoothing=0.1)
    images = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(7) % 4
    mix = ImageMixing(values, num_classes=4, seed=1)
    before = np.random.get_state()[1].copy()

    def mixed(**changes: Any) -> tuple[torch.Tensor, torch.Tensor]:
        place = {"epoch": 0, "place": (3, 0, 0), **changes}
        return mix(images.clone(), labels, **place)

    one, targets = mixed()
    assert targets.shape == (7, 4)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(7))
    assert (targets > 0.5).any() and not torch.equal(one, images)
    assert torch.equal(one, mixed()[0]) and torch.equal(targets, mixed()[1])
    for changes in ({"epoch": 1}, {"place": (4, 0, 0)}, {"place": (3, 1, 0)}):
        assert not torch.equal(one, mixed(**changes)[0])
    # The middle image of an odd batch is mixed with itself.
    torch.testing.assert_close(one[3], images[3])
    assert np.array_equal(before, np.random.get_state()[1])
    off = ImageMixing(values_of(**given, mixup_off_epoch=2), num_classes=4, seed=1)
    assert off(images, labels, epoch=2, place=(0,))[1] is labels


def inputs_of(augmentation: Augmentation, *, side: int = 16) -> Inputs:
    values = values_of(augmentation=augmentation, image_size=side, mean=(0.5,) * 3, std=(0.25,) * 3)
    return Inputs(values, seed=2, device=torch.device("cpu"))


@pytest.mark.parametrize(
    "augmentation",
    [
        *(Augmentation(aa=one) for one in ("rand-m9-mstd0.5-inc1", "original", "3a", "augmix-m5")),
        *(Augmentation(reprob=0.9, remode=one, recount=3) for one in ("const", "rand", "pixel")),
    ],
    ids=lambda one: one.aa or one.remode,
)
def test_an_image_is_changed_the_same_in_any_batch(augmentation: Augmentation) -> None:
    inputs = inputs_of(augmentation)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (6, 16, 16, 3), generator=generator).to(torch.uint8)
    rows = np.arange(6)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    whole = inputs.for_training(pixels, rows, epoch=3)
    pairs = zip(pixels.split(1), np.split(rows, 6), strict=True)
    parts = [inputs.for_training(image, row, epoch=3) for image, row in pairs]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, inputs_of(Augmentation()).for_training(pixels, rows, epoch=3))
    assert not torch.equal(whole, inputs.for_training(pixels, rows, epoch=4))
    # The global generators, which dropout uses, are as before.
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])
    assert torch.equal(inputs.for_scoring(pixels), inputs_of(Augmentation()).for_scoring(pixels))


def test_erasing_is_last_and_fills_normalised_values() -> None:
    inputs = inputs_of(Augmentation(reprob=1.0, remode="const"))
    white = torch.full((8, 16, 16, 3), 255, dtype=torch.uint8)
    erased = inputs.for_training(white, np.arange(8), epoch=0)
    assert sorted(erased.unique().tolist()) == [0.0, 2.0]
    share = (erased == 0).float().mean()
    assert 0.01 < share < 0.4


@pytest.mark.parametrize("name", ["randaug", "rand-x9", "v9", "", "augmix-k3"])
def test_an_unknown_policy_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"--aa .*: timm has no such policy.*; .* rand"):
        make_policy(name, side=32, mean=(0.5, 0.5, 0.5), resample="bicubic")


@pytest.mark.parametrize("opt", ["sgd", "adamw", "lamb", "nadamw", "lookahead_adamw"])
def test_optimisers_are_timms(opt: str) -> None:
    check_optimizer(values_of(opt=opt))
    model = timm.create_model("test_resnet", num_classes=3)
    optimizer = make_optimizer(model, values_of(opt=opt, weight_decay=0.3))
    decays = {group["weight_decay"] for group in optimizer.param_groups}
    assert decays == {0.3, 0.0}
    before = [one.detach().clone() for one in model.parameters()]
    model(torch.randn(4, 3, 32, 32)).sum().backward()
    optimizer.step()
    pairs = zip(before, model.parameters(), strict=True)
    assert any(not torch.equal(one, two) for one, two in pairs)


def test_options_of_the_optimiser_arrive() -> None:
    model = timm.create_model("test_resnet", num_classes=3)
    adam = make_optimizer(model, values_of(opt="adamw", opt_betas=(0.8, 0.9), opt_eps=1e-5))
    assert adam.defaults["betas"] == (0.8, 0.9) and adam.defaults["eps"] == 1e-5
    sgd = make_optimizer(model, values_of(opt="sgd", momentum=0.7))
    assert sgd.defaults["momentum"] == 0.7
    with pytest.raises(UserError, match=r"--opt adamv: timm has no such optimiser; did you mean"):
        check_optimizer(values_of(opt="adamv"))
    with pytest.raises(UserError, match=r"no such optimiser; use e.g. sgd, adamw, .*adafactor$"):
        check_optimizer(values_of(opt="zzz"))
    with pytest.raises(UserError, match=r"did you mean (?!.*(bnb|adahessian))"):
        check_optimizer(values_of(opt="bnbadamx"))
    with pytest.raises(UserError, match=r"--opt adahessian: needs second derivatives"):
        check_optimizer(values_of(opt="adahessian"))
    for given, option in (
        ({"opt": "sgd", "opt_betas": (0.8, 0.9)}, "--opt-betas"),
        ({"opt": "adamw", "momentum": 0.5}, "--momentum"),
        ({"opt": "sgd", "opt_eps": 1e-5}, "--opt-eps"),
    ):
        with pytest.raises(UserError, match=rf"--opt {given['opt']} has no {option}; remove it"):
            check_optimizer(values_of(**given))


def test_layer_decay_gives_lower_layers_a_lower_rate() -> None:
    model = timm.create_model("test_vit", img_size=32, num_classes=3)
    optimizer = make_optimizer(model, values_of(layer_decay=0.5))
    set_rate(optimizer, 0.2)
    rates = {
        name: group["lr"]
        for group in optimizer.param_groups
        for name, parameter in model.named_parameters()
        if any(parameter is one for one in group["params"])
    }
    assert rates["head.weight"] == 0.2
    blocks = [rates[f"blocks.{number}.mlp.fc1.weight"] for number in range(6)]
    assert blocks == sorted(blocks) and len(set(blocks)) == 6
    assert rates["patch_embed.proj.weight"] < blocks[0]


@pytest.mark.parametrize("every", ["step", "epoch"])
def test_schedules_of_timm_follow_the_warm_up(every: str) -> None:
    given = {"epochs": 10, "warmup_epochs": 2.0, "schedule_every": every}
    steps = range(50)

    def rates(**more: Any) -> list[float]:
        return [*map(make_schedule(values_of(**given, **more), steps_per_epoch=5), steps)]

    falling = rates(schedule="multistep", decay_milestones=(3, 6), decay_rate=0.1)
    assert falling[10:25] == [pytest.approx(0.1)] * 15
    assert falling[25:40] == [pytest.approx(0.01)] * 15
    assert falling[40:] == [pytest.approx(0.001)] * 10
    stairs = rates(schedule="step", decay_epochs=4, decay_rate=0.5)
    assert stairs[10:30] == [pytest.approx(0.1)] * 20
    assert stairs[30:] == [pytest.approx(0.05)] * 20
    for name in ("tanh", "poly", "cosine"):
        power = {"decay_rate": 1.0} if name == "poly" else {}
        smooth = rates(schedule=name, min_lr=0.02, **power)
        assert smooth[:10] == sorted(smooth[:10])
        assert smooth[10:] == sorted(smooth[10:], reverse=True)
        assert 0.02 <= smooth[-1] < 0.04
        # A function of the step: a resumed run sees the same rates.
        assert smooth[33] == make_schedule(
            values_of(**given, schedule=name, min_lr=0.02, **power), steps_per_epoch=5
        )(33)


CONTRADICTIONS = [
    ({"bce_sum": True}, r"--bce-sum needs --bce-loss; add it, or remove --bce-sum"),
    ({"mixup_mode": "elem"}, r"--mixup-mode needs --mixup or --cutmix"),
    ({"cutmix": 1.0, "mixup_switch_prob": 0.3}, r"--mixup-switch-prob needs --mixup;"),
    ({"model_ema_decay": 0.9}, r"--model-ema-decay needs --model-ema;"),
    ({"bce_loss": True, "focal_gamma": 2.0}, r"--bce-loss and --focal-gamma are two losses"),
    ({"min_lr": 1.0}, r"--min-lr 1 must be below --lr"),
    ({"decay_rate": 0.3}, r"--decay-rate is not used by --schedule cosine, only by step, multi"),
    ({"schedule": "plateau"}, "--schedule plateau: expected cosine, constant, tanh, "),
    ({"opt_betas": (0.9, 1.5)}, r"--opt-betas 1\.5: expected less than 1"),
]


@pytest.mark.parametrize(("given", "message"), CONTRADICTIONS)
def test_contradictions_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        resolve("quick", model="test_resnet", overrides=given)
    with pytest.raises(UserError, match=r"--augment: recount has no effect without reprob"):
        resolve("quick", model="x", overrides={}, augmentation={"recount": 2})


def test_everything_together_is_repeatable_and_recorded(options: TrainOptions) -> None:
    given = {
        **{"mixup": 0.5, "cutmix": 1.0, "bce_loss": True, "opt": "lamb", "layer_decay": 0.8},
        **{"model_ema": True, "model_ema_decay": 0.9, "accumulate": 2, "balance_classes": True},
    }
    augmentation = {"aa": "rand-m5", "reprob": 0.5}
    runs = [
        replace(
            options,
            out=options.out / name,
            overrides={**options.overrides, **given},
            augmentation=augmentation,
        )
        for name in ("a", "b")
    ]
    for run in runs:
        train(run)
    files = [(run.out / "model.safetensors").read_bytes() for run in runs]
    assert files[0] == files[1]
    recorded = yaml.safe_load((runs[0].out / "config.yaml").read_text())["hyperparameters"]
    assert {name: recorded[name] for name in given} == given
    assert {name: recorded["augmentation"][name] for name in augmentation} == augmentation
    with pytest.raises(UserError, match=r"hyperparameters.mixup \(0.5 there, 0.0 now\)"):
        train(replace(runs[0], overrides={**options.overrides, **given, "mixup": 0.0}))


def test_the_average_is_scored_and_saved(options: TrainOptions) -> None:
    from timm.utils import ModelEmaV3

    whole = {**options.overrides, "val_fraction": 0.0, "epochs": 1}
    train(replace(options, overrides={**whole, "model_ema": True, "model_ema_decay": 0.5}))
    checkpoint = load_checkpoint(options.out)
    assert checkpoint is not None and checkpoint.average is not None
    saved = load_file(options.out / "model.safetensors")
    assert all(torch.equal(one, saved[name]) for name, one in checkpoint.average.items())
    assert not all(torch.equal(one, saved[name]) for name, one in checkpoint.model.items())
    # The weights themselves are those of a run without an average.
    plain = replace(options, out=options.out.with_name("plain"), overrides=whole)
    train(plain)
    bare = load_checkpoint(plain.out)
    assert bare is not None and bare.average is None
    assert all(torch.equal(one, checkpoint.model[name]) for name, one in bare.model.items())
    # Of one step, the average is that step's weights.
    ema = ModelEmaV3(timm.create_model("test_resnet"), decay=0.5)
    assert ema.get_decay(1) == 0 and ema.get_decay(2) == 0.5


def test_options_have_timms_names() -> None:
    words = (
        "set --model x --out r --opt sgd --smoothing 0.2 --sched poly --clip-grad 3 --scale 0.2 1 "
        "--ratio 0.75 1.33 --hflip 0.5 --color-jitter 0.4 --aa rand-m9 --reprob 0.25 --mixup 0.8 "
        "--opt-betas 0.9 0.95 --grad-accum-steps 2 --img-size 64 --model-ema --bce-loss"
    )
    found = options_of(build_parser().parse_args(words.split()))
    assert found is not None
    assert found.overrides == {
        **{"opt": "sgd", "label_smoothing": 0.2, "schedule": "poly", "clip_grad_norm": 3},
        **{"mixup": 0.8, "opt_betas": [0.9, 0.95], "accumulate": 2, "image_size": 64},
        **{"model_ema": True, "bce_loss": True},
    }
    jitter = dict.fromkeys(("brightness", "contrast", "saturation"), 0.4)
    assert found.augmentation == {
        **{"crop_scale": [0.2, 1], "crop_ratio": [0.75, 1.33], "horizontal_flip": 0.5},
        **jitter,
        **{"aa": "rand-m9", "reprob": 0.25},
    }
    twice = [*words.split(), "--augment", "crop_scale=0.5,1"]
    with pytest.raises(UserError, match=r"--augment crop_scale=.* is given by another option too"):
        options_of(build_parser().parse_args(twice))
    with pytest.raises(UserError, match="--no-flip excludes horizontal_flip"):
        options_of(build_parser().parse_args([*words.split(), "--no-flip"]))


def test_every_value_of_a_preset_has_an_option() -> None:
    options = [one for group in GROUPS.values() for one in group]
    own = {field for one in options if not one.augments for field in one.fields or (one.name,)}
    # Set by other means: decay of every parameter, torchvision's weights, and the normalisation
    # belong to presets alone.
    presets_own = {"decay_all", "initialisation", "mean", "std", "augmentation"}
    assert own | presets_own == set(Hyperparameters.model_fields)
    augments = {field for one in options if one.augments for field in one.fields or (one.name,)}
    assert augments <= set(Augmentation.model_fields)


def test_a_compiled_model_is_recorded(options: TrainOptions) -> None:
    one = replace(options, torchcompile="eager", overrides={**options.overrides, "epochs": 1})
    train(one)
    config = yaml.safe_load((options.out / "config.yaml").read_text())
    assert config["environments"][0]["compiled"] == "eager"
    assert len(read_metrics(options.out)) == 1
    assert not any("_orig_mod" in name for name in load_file(options.out / "model.safetensors"))
