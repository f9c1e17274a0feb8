"""Training data of the generator: digits, domains, captions."""

import re
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset

import train.generator
from factory.common.errors import UserError
from train.generator.cli import main
from train.generator.config import Config, DataConfig, SourceConfig, load_config, with_source
from train.generator.images import captions, digits
from train.generator.images.data import join_parts, load_collection, prepare_part, sampling_weights
from train.generator.images.domains import DOMAINS, render
from train.generator.images.sources import DigitSource
from train.generator.release.card import _subjects

SOURCES = Path(train.generator.__file__).parent


def digit_source(*, images: int, seed: int = 0, image_size: int = 32) -> DigitSource:
    return DigitSource(SourceConfig(images=images, seed=seed), image_size=image_size)


def test_an_image_is_a_function_of_seed_and_index() -> None:
    first, second = digit_source(images=20), digit_source(images=9)
    for index in (0, 3, 8):
        image, facts = first.sample(index)
        again, facts_again = second.sample(index)
        assert np.array_equal(image, again)
        assert facts == facts_again
        assert facts["digit"] == str(index)
    other, _ = digit_source(images=20, seed=1).sample(3)
    assert not np.array_equal(first.sample(3)[0], other)


def test_every_domain_paints_a_visible_digit() -> None:
    for name in DOMAINS:
        rng = np.random.default_rng(0)
        image = render(digits.random_glyph(rng, digit=8, printed=False), name, rng)
        assert image.shape == (32, 32, 3)
        assert image.dtype == np.uint8
        assert image.std() > 15, name


def test_held_out_digits_are_never_used_for_masks() -> None:
    held, labels = digits.held_out_digits()
    kept, _ = digits.training_digits()
    assert np.bincount(labels).tolist() == [digits.HELD_OUT_PER_CLASS] * 10
    assert len(held) + len(kept) == 5_000
    train_bytes = {image.tobytes() for image in kept}
    assert not any(image.tobytes() in train_bytes for image in held)


def test_the_study_s_test_set_is_not_used_here() -> None:
    for path in SOURCES.rglob("*.py"):
        assert "load_digits" not in path.read_text(encoding="utf-8"), path


def test_rendered_digits_are_written_as_a_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rendered"
    command = ["digits", str(out), "--images", "12", "--image-size", "32", "--seed", "3"]
    assert main(command) == 0
    rows = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.features["label"].names == [str(digit) for digit in range(10)]
    assert rows["label"] == [*range(10), 0, 1]
    pixels, facts = DigitSource(SourceConfig(seed=3, images=12), image_size=32).sample(11)
    assert np.array_equal(np.asarray(rows[11]["image"]), pixels)
    assert rows[11]["printed"] == (facts["printed"] == "yes")
    with pytest.raises(UserError, match="name a new folder"):
        main(command)
    with pytest.raises(SystemExit, match="2"):
        main(["digits", str(tmp_path / "none"), "--images", "0"])
    assert "--images 0: expected 1 or more" in capsys.readouterr().err


def test_captions_repeat_with_the_seed_and_name_the_digit() -> None:
    facts = {"digit": "8", "printed": "no", "domain": "chalk"}
    generated = [captions.caption_digit(facts, np.random.default_rng(seed)) for seed in range(200)]
    again = [captions.caption_digit(facts, np.random.default_rng(seed)) for seed in range(200)]
    assert generated == again
    assert all(re.search(r"\b(eight|8)\b", caption) for caption in generated)
    assert any("chalk" in caption for caption in generated)
    assert not any(re.search(r"\ba (eight|8|image|ink)\b", caption) for caption in generated)


def test_articles() -> None:
    assert captions.with_article("eight") == "an eight"
    assert captions.with_article("handwritten eight") == "a handwritten eight"
    assert captions.with_article("8") == "an 8"
    assert captions.with_article("one") == "a one"


def test_parts_of_two_processes_join_in_order(tmp_path: Path) -> None:
    config = DataConfig(sources=(SourceConfig(images=11),))
    for rank in range(2):
        prepare_part(config, tmp_path, rank=rank, world_size=2)
    join_parts(config, tmp_path, world_size=2)
    joined = load_collection(config, tmp_path)
    for index in range(11):
        image, facts = digit_source(images=11).sample(index)
        assert np.array_equal(joined.images[index], image)
        assert joined.facts[index] == {**facts, "source": "0"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["collection.json", "images.npy"]
    with pytest.raises(UserError, match="other data settings"):
        load_collection(DataConfig(sources=(SourceConfig(images=12),)), tmp_path)


def test_wrong_settings_are_all_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("fit: {sampels: 3}\nunet: {layers: many}\n", encoding="utf-8")
    with pytest.raises(UserError, match="sampels") as caught:
        load_config(path, {})
    assert len(caught.value.faults) == 2
    with pytest.raises(UserError, match="image_size"):
        digit_source(images=1, image_size=48)
    for option in ("--images", "--samples"):
        with pytest.raises(SystemExit, match="2"):
            main(["fit", "--out", str(tmp_path / "run"), option, "0"])
        assert f"{option} 0: expected 1 or more" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_digits_of_another_size_are_the_same_digits() -> None:
    small, _ = digit_source(images=3).sample(2)
    large, _ = digit_source(images=3, image_size=64).sample(2)
    assert large.shape == (64, 64, 3)
    halved = large.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved - small).max() <= 1


def test_samples_are_shared_out_as_the_settings_say() -> None:
    facts = [{"source": "0", "class": "cat"}] * 10 + [{"source": "0", "class": "dog"}] * 30
    facts += [{"source": "0", "class": "cup"}] * 4 + [{"source": "0", "class": "pen"}] * 16
    facts += [{"source": "1", "class": "7"}] * 5
    config = DataConfig(
        sources=(
            SourceConfig(source="a", focus=("cat", "dog"), focus_share=0.6, share=3),
            SourceConfig(share=1),
        )
    )
    weights = sampling_weights(config, facts)
    share = {
        name: weights[[known["class"] == name for known in facts]].sum()
        for name in ("cat", "dog", "cup", "pen", "7")
    }
    assert share["7"] == pytest.approx(0.25)
    # 60 % of three quarters in equal parts; the rest by the square root of the count: 2 to 4.
    assert share["cat"] == pytest.approx(0.225)
    assert share["dog"] == pytest.approx(0.225)
    assert share["cup"] == pytest.approx(0.1)
    assert share["pen"] == pytest.approx(0.2)


def test_the_card_counts_a_class_of_several_sources_once() -> None:
    one = SourceConfig(source="a", focus=("cat", "dog"))
    other = SourceConfig(source="b", focus=("dog", "ship"))
    settings = Config(data=DataConfig(sources=(SourceConfig(), one, other)))
    assert "digits and 3 classes of objects and places" in _subjects(settings, 100)


def test_another_source_replaces_all_but_the_digits() -> None:
    mixed = load_config(SOURCES / "embedded.yaml", {})
    changed = with_source(mixed, {"source": "ORG/NAME", "images": 7})
    assert [one.source for one in changed.data.sources] == ["digits", "ORG/NAME", "ORG/NAME"]
    assert [one.images for one in changed.data.sources] == [40_000, 7, 7]
    alone = with_source(load_config(None, {}), {"source": "ORG/NAME"})
    assert [one.source for one in alone.data.sources] == ["ORG/NAME"]
