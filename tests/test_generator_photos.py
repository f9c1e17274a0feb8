"""Captioned training images of the generator: rows, filters, captions, held-out ones."""

import re
from pathlib import Path

import datasets
import numpy as np
import pytest
from photo_parts import photo_source, write_photos
from pydantic import ValidationError

from factory.common import image_bytes
from factory.common.errors import UserError
from train.generator.config import Config, DataConfig, SourceConfig, with_source
from train.generator.images.captions import caption_named, make_captioner, with_article
from train.generator.images.data_summary import data_lines
from train.generator.images.filters import FILTERS, apply_filter
from train.generator.images.sources import open_source


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


def test_rows_then_mirror_images_then_filtered_ones(photos: Path) -> None:
    config = photo_source(photos, mirror=True, filtered=0.25, filters={"sketch": 1})
    source = open_source(config, image_size=32)
    assert len(source) == 32 + 32 + 8
    image, facts = source.sample(1)
    assert image.shape == (32, 32, 3)
    assert facts["name"] == "tabby cat"
    assert facts["class"] == facts["focus"] == "cat"
    assert facts["general"] == "cat|animal"
    mirrored, same = source.sample(33)
    assert np.array_equal(mirrored, image[:, ::-1])
    assert same == facts
    generated, facts_of_it = source.sample(70)
    assert facts_of_it["filter"] == "sketch"
    assert generated.std(axis=2).mean() < 0.3 * image.std(axis=2).mean(), "a sketch is nearly grey"
    assert np.array_equal(generated, open_source(config, image_size=32).sample(70)[0])


def test_held_out_photographs_are_never_generated(photos: Path) -> None:
    source = open_source(photo_source(photos, held_out=3), image_size=32)
    kept_out = source.held_out()
    assert [name for _, name in kept_out].count("cat") == 3
    assert [name for _, name in kept_out].count("ship") == 3
    generated = {source.sample(i)[0].tobytes() for i in range(len(source))}
    assert len(generated) == 32 - 6
    assert not any(image.tobytes() in generated for image, _ in kept_out)


def test_a_row_filter_excludes_rows_and_is_part_of_the_fingerprint(photos: Path) -> None:
    source = open_source(photo_source(photos, row_filter='domain != "painting"'), image_size=32)
    names = [source.sample(i)[1]["name"] for i in range(len(source))]
    assert sorted(set(names)) == ["cat", "ship", "tabby cat"]
    assert len(names) == 24
    whole, filtered = (
        DataConfig(sources=(photo_source(photos, row_filter=expression),)).fingerprint()
        for expression in (None, 'domain != "painting"')
    )
    assert whole != filtered
    both = with_source(
        Config(data=DataConfig(sources=(photo_source(photos, row_filter='domain != "painting"'),))),
        {"row_filter": 'name == "cat"'},
    ).data.sources[0]
    assert 0 < len(open_source(both, image_size=32)) < len(source)
    assert both.row_filter == '(domain != "painting") and (name == "cat")'


def test_collections_made_before_filters_were_there_are_still_known() -> None:
    source = SourceConfig(source="ORG/NAME", focus=("cat",), filtered=1e-7)
    assert DataConfig(sources=(source,)).fingerprint() == "c31409f84a5ba53e"


def test_copies_are_described(photos: Path) -> None:
    settings = photo_source(photos, mirror=True, filtered=0.25, filters={"sketch": 1})
    source = open_source(settings, image_size=32)
    facts = [{**source.sample(i)[1], "source": "0"} for i in range(len(source))]
    assert data_lines(Config(data=DataConfig(sources=(settings,))), facts) == [
        "72 images in total, including mirrored and filtered copies.",
        "32 captioned images (view ground), 100 % of the samples; 60 % of these samples show cat, "
        "ship, in equal parts; filtered copies per image: 0.25.",
    ]


def test_settings_of_runs_without_boxes_are_still_read() -> None:
    assert SourceConfig.model_validate({"boxes": None}) == SourceConfig()
    with pytest.raises(ValidationError, match="crops of `boxes` are no longer supported"):
        SourceConfig.model_validate({"boxes": {"column": "head"}})


def test_invalid_sources_are_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column caption, title; it has domain, general"):
        open_source(
            photo_source(photos, name_column=None, caption_column="caption", view_column="title"),
            image_size=32,
        )
    with pytest.raises(UserError, match=r"no rows with \{'view': 'sea'\}"):
        open_source(photo_source(photos, where={"view": "sea"}), image_size=32)
    with pytest.raises(UserError, match="row_filter or --filter 'colour == 1': no column colour"):
        open_source(photo_source(photos, row_filter="colour == 1"), image_size=32)
    with pytest.raises(UserError, match="no filter glow; there are drawing, sketch"):
        open_source(photo_source(photos, filters={"glow": 1}, filtered=1), image_size=32)
    with pytest.raises(UserError, match="directory not found"):
        open_source(photo_source(tmp_path / "nothing"), image_size=32)


def test_an_unreadable_image_is_reported(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = datasets.load_dataset(str(photos), split="train")
    stored = rows.cast_column("image", datasets.Image(decode=False))
    images = stored["image"][:]
    images[1], images[2] = {"bytes": b"no image", "path": None}, None
    features = {**stored.features, "image": datasets.Image()}
    broken = datasets.Dataset.from_dict(
        {**stored.to_dict(), "image": images}, features=datasets.Features(features)
    )
    (tmp_path / "broken").mkdir()
    broken.to_parquet(str(tmp_path / "broken" / "train-00000-of-00001.parquet"))
    source = open_source(photo_source(tmp_path / "broken"), image_size=32)
    source.sample(0)
    with pytest.raises(
        UserError, match=r"broken: image, row 1 of those .*: the image cannot be decoded"
    ):
        source.sample(1)
    monkeypatch.setattr(image_bytes, "MAX_PIXELS", 100)
    with pytest.raises(UserError, match=r"row 0 of .*: the image of .* is larger than 100 pixels"):
        source.sample(0)
    with pytest.raises(UserError, match=r"broken: image, row 2 of .*: the image is missing"):
        source.sample(2)


def test_rows_without_words_are_left_out_and_counted(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = datasets.load_dataset(str(photos), split="train")
    names = [None if i == 1 else " " if i == 2 else name for i, name in enumerate(rows["name"])]
    table = rows.remove_columns("name").add_column("name", names)
    (tmp_path / "gaps").mkdir()
    table.to_parquet(str(tmp_path / "gaps" / "train-00000-of-00001.parquet"))
    caplog.set_level("INFO")
    source = open_source(photo_source(tmp_path / "gaps", images=10), image_size=32)
    generated = [source.sample(i)[1] for i in range(len(source))]
    assert len(generated) == 10
    assert all(known["name"] for known in generated)
    assert "skipped 2 rows without words" in caplog.text
    assert "using 10 of 30 images, as set by `images`" in caplog.text
    with pytest.raises(UserError, match="no row has a caption or a name"):
        open_source(photo_source(tmp_path / "gaps", row_filter="name is None"), image_size=32)


def test_every_filter_changes_the_image_and_repeats() -> None:
    ramp = np.linspace(40, 220, 64)
    photo = np.stack([np.add.outer(ramp, ramp) / 2] * 3, axis=2).astype(np.uint8)
    photo[20:44, 20:44] = (200, 60, 40)
    for name in FILTERS:
        first = apply_filter(name, photo, np.random.default_rng(3))
        again = apply_filter(name, photo, np.random.default_rng(3))
        assert first.shape == photo.shape
        assert first.dtype == np.uint8
        assert np.array_equal(first, again), name
        assert np.abs(first.astype(int) - photo).mean() > 4, name


def test_filters_keep_a_dark_subject_visible() -> None:
    rows, columns = np.mgrid[-32:32, -32:32]
    far = np.hypot(rows, columns)
    rough = np.random.default_rng(0).integers(-60, 61, (64, 64))
    grey = np.clip(np.where(far < 18, 70, 150) + rough, 0, 255)
    photo = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    inside, around = far < 12, (far > 21) & (np.maximum(abs(rows), abs(columns)) < 25)
    # A filter that takes out what changes slowly falls below: roughness is all it leaves.
    for name, least in {"sketch": 1.2, "drawing": 0.4, "poster": 2.0, "rock drawing": 1.0}.items():
        for seed in range(6):
            made = apply_filter(name, photo, np.random.default_rng(seed)).mean(axis=2)
            contrast = made[around].mean() - made[inside].mean()
            assert contrast > least * (made[around].std() + made[inside].std()), (name, seed)


def test_captions_of_photographs_name_the_class_most_often() -> None:
    facts = {"name": "tabby cat", "general": "cat|animal", "class": "cat", "focus": "cat"}
    facts |= {"view": "ground", "domain": "photo", "source": "0"}
    generated = [caption_named(facts, np.random.default_rng(seed)) for seed in range(400)]
    named = [re.search(r"\bcat\b", caption) is not None for caption in generated]
    assert 0.9 < np.mean(named) < 1, "a general word now and then"
    bare = sum(caption == "cat" for caption in generated) / len(generated)
    assert 0.15 < bare < 0.45
    assert not any("sketch" in caption for caption in generated)


def test_captions_say_the_domain_and_the_view() -> None:
    cat = {"name": "cat", "general": "animal", "class": "cat", "focus": "cat", "view": "ground"}
    sketched = cat | {"filter": "rock drawing", "source": "0"}
    generated = [caption_named(sketched, np.random.default_rng(seed)) for seed in range(50)]
    assert all("rock drawing" in caption or "cave painting" in caption for caption in generated)
    river = {"name": "river", "general": "water|land", "class": "river", "view": "satellite"}
    above = [caption_named(river, np.random.default_rng(seed)) for seed in range(300)]
    said = [c for c in above if re.search(r"satellite|aerial|above", c)]
    assert len(said) > 240


def test_synonyms_are_used_as_often_as_the_word(photos: Path) -> None:
    config = photo_source(photos, synonyms={"ship": ["sailing vessel"]})
    caption = make_captioner([config])
    ship = {"name": "ship", "class": "ship", "focus": "ship", "source": "0", "domain": "photo"}
    generated = [caption(ship, np.random.default_rng(seed)) for seed in range(200)]
    share = sum("sailing vessel" in text for text in generated) / 200
    assert 0.35 < share < 0.65


def test_plurals_have_no_article() -> None:
    assert with_article("trees") == "trees"
    assert with_article("school bus") == "a school bus"
    assert with_article("area of grass") == "an area of grass"
