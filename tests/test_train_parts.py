"""Augmentation, order, held-out part, schedule and presets, each tested alone."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from eval.study.statistics import difference, spread_of_differences
from factory.common.errors import UserError
from factory.data.row_subsets import hold_out
from train.arguments import options_of
from train.augment import NUM_DRAWS, affine_maps, augment, to_float
from train.config import differing_keys
from train.data import LabelledPixels, epoch_batches, part_of_rank
from train.optimizer import parameter_groups
from train.parser import build_parser
from train.presets import PRESETS, resolve
from train.schedule import make_schedule
from train.settings import Augmentation, Hyperparameters
from train.uniforms import uniforms


def draws_for(num_images: int, *, epoch: int = 0) -> torch.Tensor:
    rows = np.arange(num_images)
    return torch.from_numpy(uniforms(rows, seed=3, epoch=epoch, num_draws=NUM_DRAWS))


def random_images(num_images: int, *, side: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (num_images, side, side, 3), generator=generator)
    return to_float(pixels.to(torch.uint8))


def test_uniforms_depend_on_image_epoch_and_seed_alone() -> None:
    rows = np.arange(1000)
    whole = uniforms(rows, seed=1, epoch=2, num_draws=8)
    part = uniforms(rows[500:600][::-1], seed=1, epoch=2, num_draws=8)
    assert np.array_equal(whole[500:600][::-1], part)
    for seed, epoch in ((1, 3), (2, 2)):
        assert not np.isin(whole, uniforms(rows, seed=seed, epoch=epoch, num_draws=8)).mean() > 0.01
    assert abs(whole.mean() - 0.5) < 0.01
    assert abs(whole.std() - math.sqrt(1 / 12)) < 0.01
    assert 0 <= whole.min() < whole.max() < 1
    assert np.abs(np.corrcoef(whole.T) - np.eye(8)).max() < 0.15


def test_without_augmentation_images_are_unchanged() -> None:
    images = random_images(4)
    assert torch.equal(augment(images, draws_for(4), Augmentation()), images)


def test_flips_and_inversion_are_exact() -> None:
    images = random_images(4)
    flipped = augment(images, draws_for(4), Augmentation(horizontal_flip=1))
    torch.testing.assert_close(flipped, images.flip(3), rtol=0, atol=1e-5)
    upside_down = augment(images, draws_for(4), Augmentation(vertical_flip=1))
    torch.testing.assert_close(upside_down, images.flip(2), rtol=0, atol=1e-5)
    inverted = augment(images, draws_for(4), Augmentation(invert=1))
    torch.testing.assert_close(inverted, 1 - images)
    half = augment(random_images(2000), draws_for(2000), Augmentation(invert=0.5))
    changed = (half != random_images(2000)).flatten(1).any(dim=1).float().mean()
    assert 0.45 < changed < 0.55


def test_crops_stay_inside_and_have_the_area_asked_for() -> None:
    policy = Augmentation(crop_scale=(0.2, 0.6), crop_ratio=(3 / 4, 4 / 3))
    theta = affine_maps(draws_for(5000), policy)
    assert theta is not None
    size, centre = torch.stack((theta[:, 0, 0], theta[:, 1, 1]), dim=1), theta[:, :, 2]
    assert (centre.abs() + size).max() <= 1 + 1e-5
    area, ratio = size.prod(dim=1), size[:, 0] / size[:, 1]
    assert area.min() >= 0.2 - 1e-5 and area.max() <= 0.6 + 1e-5
    assert abs(area.mean() - 0.4) < 0.01
    assert ratio.min() >= 3 / 4 - 1e-5 and ratio.max() <= 4 / 3 + 1e-5


def test_crop_agrees_with_torchvision() -> None:
    from torchvision.transforms.functional import resized_crop

    images = random_images(1, side=16)
    # A window of 8x8 pixels with its corner at (4, 2).
    theta = torch.tensor([[[0.5, 0, 2 * (4 + 4) / 16 - 1], [0, 0.5, 2 * (2 + 4) / 16 - 1]]])
    grid = torch.nn.functional.affine_grid(theta, [1, 3, 16, 16], align_corners=False)
    ours = torch.nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    theirs = resized_crop(images, top=2, left=4, height=8, width=8, size=[16, 16], antialias=False)
    # At the window's edge torchvision repeats its border pixels, ours sees what lies outside.
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], theirs[..., 1:-1, 1:-1], rtol=0, atol=1e-5)


def test_rotation_by_half_a_turn_is_two_flips() -> None:
    images, draws = random_images(1), torch.full((1, NUM_DRAWS), 1.0)
    turned = augment(images, draws, Augmentation(rotation=180))
    torch.testing.assert_close(turned, images.flip(2, 3), rtol=0, atol=1e-4)


def test_colours_stay_in_range_and_grey_is_grey() -> None:
    images = random_images(64)
    policy = Augmentation(brightness=1, contrast=1, saturation=1, greyscale=1)
    changed = augment(images, draws_for(64), policy)
    assert changed.min() >= 0 and changed.max() <= 1
    torch.testing.assert_close(changed[:, 0], changed[:, 1], rtol=0, atol=1e-5)


def test_an_image_is_augmented_the_same_in_any_batch() -> None:
    policy = PRESETS["digits"].hyperparameters.augmentation
    images, draws = random_images(8), draws_for(8)
    whole = augment(images, draws, policy)
    parts = torch.cat([augment(images[i : i + 1], draws[i : i + 1], policy) for i in range(8)])
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-5)
    assert not torch.equal(whole, augment(images, draws_for(8, epoch=1), policy))


def test_hold_out_is_stratified_and_seeded() -> None:
    labels = np.repeat([0, 1, 2, 3], [100, 50, 3, 1])
    train, val = hold_out(labels, fraction=0.1, seed=0)
    assert np.bincount(labels[val], minlength=4).tolist() == [10, 5, 1, 0]
    assert sorted([*train, *val]) == list(range(len(labels)))
    assert np.array_equal(val, hold_out(labels, fraction=0.1, seed=0)[1])
    assert not np.array_equal(val, hold_out(labels, fraction=0.1, seed=1)[1])
    assert len(hold_out(labels, fraction=0.0, seed=0)[1]) == 0


def test_an_epoch_contains_every_row_once_for_any_number_of_processes() -> None:
    rows = np.arange(100, 229)
    batches = epoch_batches(rows, batch_size=64, seed=0, epoch=4)
    assert [len(batch) for batch in batches] == [43, 43, 43]
    assert sorted(np.concatenate(batches)) == list(rows)
    for world_size in (1, 2, 3):
        parts = [part_of_rank(batches[0], rank=r, world_size=world_size) for r in range(world_size)]
        assert sorted(np.concatenate(parts)) == sorted(batches[0])
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    again = epoch_batches(rows, batch_size=64, seed=0, epoch=4)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    other = epoch_batches(rows, batch_size=64, seed=0, epoch=5)
    assert not np.array_equal(batches[0], other[0])


def test_schedule_warms_up_and_anneals_to_zero() -> None:
    values = Hyperparameters(epochs=10, batch_size=8, lr=1.0, warmup_epochs=2)
    rates = [*map(make_schedule(values, steps_per_epoch=5), range(50))]
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[10] == 1.0
    assert rates[30] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.01


def test_a_schedule_of_epochs_is_torchs_stepped_once_per_epoch() -> None:
    values = Hyperparameters(epochs=4, batch_size=8, lr=0.3, schedule_every="epoch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    for step in range(12):
        ours = make_schedule(values, steps_per_epoch=3)(step)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"])
        if step % 3 == 2:
            optimizer.step()
            theirs.step()


def test_preset_values_are_fitted_and_own_ones_refused() -> None:
    notes: list[str] = []
    values = resolve("quick", model="x", overrides={"epochs": 2}, note=notes.append)
    assert values.warmup_epochs == 1 and len(notes) == 1 and "; using 1" in notes[0]
    values = resolve("as-code", model="x", overrides={"epochs": 3}, note=notes.append)
    assert values.keep_every == 3 and "; using 3" in notes[1]
    for own in ({"warmup_epochs": 30.0}, {"epochs": 2, "keep_every": 3, "warmup_epochs": 0.0}):
        with pytest.raises(UserError, match=r"lower .*, or raise --epochs"):
            resolve("quick", model="x", overrides=own)
    by_epoch = {"schedule_every": "epoch", "epochs": 9}
    with pytest.raises(UserError, match=r"--warmup-epochs 0.5: with --schedule-every epoch"):
        resolve("quick", model="x", overrides={**by_epoch, "warmup_epochs": 0.5})
    short = resolve("quick", model="x", overrides={**by_epoch, "epochs": 1}, note=notes.append)
    assert short.warmup_epochs == 0 and "; using 0" in notes[2]
    with pytest.raises(UserError, match="exclude each other"):
        resolve("quick", model="x", overrides={"val_images": 3, "val_fraction": 0.1})


def test_a_crop_of_the_whole_image_is_none() -> None:
    whole = {"crop_scale": [1, 1]}
    policy = resolve("quick", model="x", overrides={}, augmentation=whole).augmentation
    assert policy.crop_scale == policy.crop_ratio == (1, 1)
    with pytest.raises(UserError, match="crop_scale 1,1 is no crop"):
        own = {**whole, "crop_ratio": [0.5, 2]}
        resolve("quick", model="x", overrides={}, augmentation=own)


@pytest.mark.parametrize("name", PRESETS)
def test_preset_numbers_stay(name: str) -> None:
    listed = yaml.safe_load(Path(__file__).with_name("preset_values.yaml").read_text())
    kept, off = listed[name], listed["unlisted"]
    own = {**off, **kept, "augmentation": {**off["augmentation"], **kept["augmentation"]}}
    assert resolve(name, model="test_resnet", overrides={}).model_dump(mode="json") == own


def test_cosine_is_torchs() -> None:
    values = Hyperparameters(epochs=4, batch_size=8, lr=0.3)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    for step in range(12):
        ours = make_schedule(values, steps_per_epoch=3)(step)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


def test_paper_preset_has_the_values_of_section_4_1() -> None:
    values = resolve("paper", model="resnet50", overrides={})
    assert (values.epochs, values.batch_size) == (200, 128)
    assert (values.lr, values.weight_decay) == (2e-4, 0.9)
    assert (values.schedule, values.warmup_epochs, values.decay_all) == ("cosine", 0, True)
    small = resolve("paper", model="mobilenetv3_small_100", overrides={})
    assert small.weight_decay == 0.1
    assert resolve("paper-eurosat", model="resnet50", overrides={}).weight_decay == 0.3
    mobile = resolve("paper-eurosat", model="mobilenetv3_small_100", overrides={})
    assert mobile.weight_decay == 0.1
    assert resolve("paper", model="resnet50", overrides={"weight_decay": 0.2}).weight_decay == 0.2


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid(name: str) -> None:
    values = resolve(name, model="resnet50", overrides={})
    assert Hyperparameters.model_validate(values.model_dump()) == values


def test_digits_are_never_mirrored() -> None:
    policy = PRESETS["digits"].hyperparameters.augmentation
    assert policy.horizontal_flip == policy.vertical_flip == 0
    theta = affine_maps(draws_for(2000), policy)
    assert theta is not None
    assert torch.linalg.det(theta[:, :, :2]).min() > 0


def test_decay_spares_norms_and_biases_unless_all_decay() -> None:
    import timm

    model = timm.create_model("test_resnet", num_classes=3)
    decayed, free = parameter_groups(model, weight_decay=0.1, decay_all=False)
    assert all(parameter.ndim >= 2 for parameter in decayed["params"])
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))
    assert len(parameter_groups(model, weight_decay=0.9, decay_all=True)) == 1


def test_differing_keys_are_dotted() -> None:
    one = {"a": 1, "b": {"c": 2, "d": 3}}
    assert differing_keys(one, one) == []
    assert differing_keys(one, {"a": 1, "b": {"c": 5}, "e": 0}) == [
        "b.c (2 there, 5 now)",
        "b.d (3 there, None now)",
        "e (None there, 0 now)",
    ]


def test_equal_weights_are_equal_files(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from train.saving import keep_weights

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    files = []
    for number in range(12):
        folder = tmp_path / str(number)
        folder.mkdir()
        keep_weights(model, folder, epoch=3)
        (path,) = folder.rglob("*.safetensors")
        files.append(path)
    assert len({path.read_bytes() for path in files}) == 1
    loaded = load_file(files[0])
    assert all(torch.equal(one, loaded[name]) for name, one in model.state_dict().items())


def test_balanced_epochs_have_equally_many_images_of_every_class() -> None:
    from train.mixing import rows_of_epoch

    labels = np.repeat([0, 2, 3], [60, 10, 5])
    parts = [np.arange(40), np.arange(40, 75)]
    options = {"shares": None, "num_rows": 75, "seed": 1}
    rows = rows_of_epoch(parts, **options, epoch=0, balanced=labels)
    assert np.bincount(labels[rows % 75]).tolist() == [25, 0, 25, 25]
    # Repeats are spread evenly, and have numbers of their own.
    assert len(set(rows.tolist())) == 75
    assert np.bincount(rows % 75)[70:].tolist() == [5] * 5
    other = rows_of_epoch(parts, **options, epoch=1, balanced=labels)
    assert set(rows[:25].tolist()) != set(other[:25].tolist())
    again = rows_of_epoch(parts, **options, epoch=0, balanced=labels)
    assert np.array_equal(rows, again)
    # Within the share of each dataset.
    mixed = rows_of_epoch(parts, **{**options, "shares": (0.6, 0.4)}, epoch=0, balanced=labels)
    first = mixed % 75 < 40
    assert (first.sum(), (~first).sum()) == (45, 30)
    assert np.bincount(labels[mixed[~first] % 75]).tolist() == [10, 0, 10, 10]


def test_held_out_images_that_are_trained_on_are_reported() -> None:
    from train.duplicates import report_duplicates

    pixels = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
    pixels[[7, 8]] = pixels[[2, 3]]
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 0, 0, 1])
    notes: list[str] = []
    rows = {"train_rows": np.arange(7), "val_rows": np.arange(7, 10)}
    digests = LabelledPixels(pixels, labels, ("a", "b"), "").digests
    assert report_duplicates(digests, labels, **rows, note=notes.append) == 2
    assert "2 of 3 held-out images are also training images (rows 7 = 2, 8 = 3)" in notes[0]
    assert ", 1 of them with another label; the held-out accuracy" in notes[0]
    kept = {"train_rows": np.arange(2), "val_rows": np.arange(2, 10)}
    # Repeats within one part are no fault here.
    assert report_duplicates(digests, labels, **kept, note=notes.append) == 0
    assert len(notes) == 1


def test_options_are_compared_with_the_baseline_by_seed() -> None:
    from compare_training import tables

    right = {"quick": (40, 44, 48), "ema": (43, 46, 52), "same": (40, 44, 48)}
    # 100 test images; a row's runs classify so many of them correctly.
    runs = {
        row: {(0, seed): (np.arange(100) < count) * 1.0 for seed, count in enumerate(counts)}
        for row, counts in right.items()
    }
    first, _, other = tables(
        {"a": runs, "b": runs, "c": {"ema": runs["ema"]}}, baseline="quick"
    ).partition("\nb\n")
    quick, ema, same = first.splitlines()[5:8]
    assert quick == "| quick | 3 | 44.00 |  |  |"
    assert ema.startswith("| ema | 3 | 47.00 | +3.00 (+")
    assert same.startswith("| same | 3 | 44.00 | +0.00 (-") and same.endswith(" | 1.000 |")
    # Four comparisons in all, so the smallest p-value is multiplied by four.
    spread = spread_of_differences([*runs.values()])
    smallest = difference(runs["ema"], runs["quick"], spread).p
    assert smallest is not None and ema.endswith(f" | {4 * smallest:.3f} |")
    assert ema in other
    assert other.endswith("| ema | 3 | 47.00 |  |  |\n"), "not compared without the baseline"
    # A baseline of its own for each row: `same` is now the baseline of `quick`.
    pairs = tables({"a": runs}, baseline={"quick": "same", "ema": "quick"}).splitlines()[5:8]
    assert pairs[0].startswith("| quick | 3 | 44.00 | +0.00 (")
    assert pairs[1].split(" | ")[3] == ema.split(" | ")[3]
    assert pairs[2] == "| same | 3 | 44.00 |  |  |"


@pytest.mark.parametrize(("page", "name"), [("faster", "faster"), ("train", "strong")])
def test_commands_of_a_page_name_rows_of_their_file(page: str, name: str) -> None:
    docs = Path(__file__).parent.parent / "docs"
    text = (docs / f"{page}.md").read_text().replace("\\\n", "")
    rows = yaml.safe_load((docs / f"{name}.yaml").read_text())["rows"]
    assert {*re.findall(r"--row (\S+)", text)} == {*rows}
    # A file has rows of several tables, and every row that is compared changes the intervals.
    commands = re.findall(rf"python docs/compare_training.py docs/{name}.yaml .*", text)
    assert commands and all("--row" in one or '"$@"' in one for one in commands)


def test_every_row_to_compare_is_a_valid_command() -> None:
    spec = yaml.safe_load((Path(__file__).parent.parent / "docs/strong.yaml").read_text())
    for row in spec["rows"].values():
        words = ["set", "--model", "test_resnet", "--out", "run", *spec["options"], *row]
        found = options_of(build_parser().parse_args(words))
        assert found is not None
        resolve(
            "quick",
            model="test_resnet",
            overrides=found.overrides,
            augmentation=found.augmentation,
        )
