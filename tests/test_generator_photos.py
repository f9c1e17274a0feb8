"""Captioned pictures that the generator learns from: rows, filters, captions, held-out ones."""

import re
from pathlib import Path

import datasets
import numpy as np
import pytest
from photo_parts import photo_source, write_boxed_photos, write_photos
from PIL import Image, ImageOps
from pydantic import ValidationError

from factory.errors import UserError
from train.generator.boxes import check_box, cut_out
from train.generator.captions import caption_named, make_captioner, with_article
from train.generator.config import Config, DataConfig, SourceConfig, with_source
from train.generator.data_summary import data_lines
from train.generator.filters import FILTERS, apply_filter
from train.generator.sources import open_source

LANCZOS = Image.Resampling.LANCZOS


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


def test_rows_then_mirror_images_then_filtered_ones(photos: Path) -> None:
    config = photo_source(photos, mirror=True, filtered=0.25, filters={"sketch": 1})
    source = open_source(config, image_size=32)
    assert len(source) == 32 + 32 + 8
    image, facts = source.draw(1)
    assert image.shape == (32, 32, 3)
    assert facts["name"] == "tabby cat"
    assert facts["class"] == facts["focus"] == "cat"
    assert facts["general"] == "cat|animal"
    mirrored, same = source.draw(33)
    assert np.array_equal(mirrored, image[:, ::-1])
    assert same == facts
    drawn, told = source.draw(70)
    assert told["filter"] == "sketch"
    assert drawn.std(axis=2).mean() < 0.3 * image.std(axis=2).mean(), "a sketch is nearly grey"
    assert np.array_equal(drawn, open_source(config, image_size=32).draw(70)[0])


def test_held_out_photographs_are_never_drawn(photos: Path) -> None:
    source = open_source(photo_source(photos, held_out=3), image_size=32)
    kept_out = source.held_out()
    assert [name for _, name in kept_out].count("cat") == 3
    assert [name for _, name in kept_out].count("ship") == 3
    drawn = {source.draw(i)[0].tobytes() for i in range(len(source))}
    assert len(drawn) == 32 - 6
    assert not any(image.tobytes() in drawn for image, _ in kept_out)


def test_a_row_filter_leaves_rows_out_and_tells_collections_apart(photos: Path) -> None:
    source = open_source(photo_source(photos, row_filter='domain != "painting"'), image_size=32)
    names = [source.draw(i)[1]["name"] for i in range(len(source))]
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


def test_boxes_are_cut_out_a_little_differently_each_time(tmp_path: Path) -> None:
    folder = write_boxed_photos(tmp_path)
    boxed = photo_source(
        folder, box_column="head", cuts=3, mirror=True, filtered=0.5, filters={"sketch": 1}
    )
    source = open_source(boxed, image_size=32)
    assert len(source) == 16 * 3 * 2 + 24, "16 cats, 3 cuts, mirrored; half as many filtered"
    images, facts = zip(*(source.draw(i) for i in range(len(source))), strict=True)
    assert {known["class"] for known in facts} == {"cat"}
    assert {image.shape for image in images} == {(32, 32, 3)}
    first, again, mirrored = images[0], images[16], images[48]
    assert facts[0] == facts[16] == facts[48]
    assert not np.array_equal(first, again)
    assert not np.array_equal(first[:, ::-1], mirrored), "cut out once more, then mirrored"
    assert np.array_equal(first, open_source(boxed, image_size=32).draw(0)[0])
    assert facts[-1]["filter"] == "sketch"


def test_what_one_source_holds_out_is_not_cut_out_by_another(tmp_path: Path) -> None:
    folder = write_boxed_photos(tmp_path)
    whole = open_source(photo_source(folder, held_out=3), image_size=64)
    boxed = open_source(photo_source(folder, held_out=3, box_column="head"), image_size=64)
    assert len(boxed) == 16 - 3
    assert boxed.held_out() == []
    rows = datasets.load_dataset(str(folder), split="train")
    kept_out = {image.tobytes() for image, _ in whole.held_out()}
    cats = [i for i, name in enumerate(rows["name"]) if "cat" in name]
    squares = [np.asarray(ImageOps.fit(rows[i]["image"], (64, 64), LANCZOS)) for i in cats]
    free = [i for i, square in zip(cats, squares, strict=True) if square.tobytes() not in kept_out]
    assert len(free) == 13
    for number, row in enumerate(free):
        cut, _ = boxed.draw(number)
        around = np.asarray(rows[row]["image"])[10:34, 20:44]
        assert abs(cut.mean() - around.mean()) < 6, "of the same picture, in the same order"


def test_what_was_cut_out_is_told(tmp_path: Path) -> None:
    folder = write_boxed_photos(tmp_path)
    sources = (photo_source(folder), photo_source(folder, box_column="head", cuts=3))
    config = Config(data=DataConfig(sources=sources))
    facts = [
        {**opened.draw(i)[1], "source": str(number)}
        for number, opened in enumerate(open_source(one, image_size=32) for one in sources)
        for i in range(len(opened))
    ]
    _, whole, cut = data_lines(config, facts)
    assert whole.startswith("32 captioned pictures (view ground), 50 % of the draws; 60 % of these")
    assert "60 % of these for cat, ship, in equal parts" in whole
    assert cut.startswith("16 pictures cut to their `head`, 3 times each, a little differently (")
    assert "all of these for cat, in equal parts" in cut, "no ship has a box"


def test_a_box_keeps_its_shape_and_its_place() -> None:
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[20:40, 30:50] = 255
    for seed in range(5):
        cut = cut_out(picture, (30, 20, 50, 40), size=32, rng=np.random.default_rng(seed))
        assert cut.mean() > 200
    wide = cut_out(picture, (20, 20, 60, 40), size=40, rng=np.random.default_rng(0))
    assert 14 < (wide.mean(axis=2) > 128).sum(axis=1).max() < 26, "square about its middle"
    beyond = cut_out(picture, (-90, -90, 10, 10), size=32, rng=np.random.default_rng(0))
    assert beyond.shape == (32, 32, 3)


def test_boxes_that_cannot_serve(tmp_path: Path) -> None:
    folder = write_boxed_photos(tmp_path)
    with pytest.raises(UserError, match=r"no column box; it has .*head"):
        open_source(photo_source(folder, box_column="box"), image_size=32)
    with pytest.raises(UserError, match=r"general, row 0: \['animal'\] is no box; give left, top"):
        open_source(photo_source(folder, box_column="general"), image_size=32)
    with pytest.raises(UserError, match="no row has a box in head"):
        open_source(
            photo_source(folder, box_column="head", row_filter='name == "ship"'), image_size=32
        )
    with pytest.raises(ValidationError, match="cuts are made of boxes; name their column"):
        photo_source(folder, cuts=2)
    for box in ([3, 3, 3, 9], [0, 0, 1], "abcd", [0, 0, float("nan"), 4], None):
        with pytest.raises(UserError, match="is no box"):
            check_box(box, where="x")


def test_sources_that_cannot_serve(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column caption, title; it has domain, general"):
        open_source(
            photo_source(photos, name_column=None, caption_column="caption", view_column="title"),
            image_size=32,
        )
    with pytest.raises(UserError, match=r"no rows with \{'view': 'sea'\}"):
        open_source(photo_source(photos, where={"view": "sea"}), image_size=32)
    with pytest.raises(UserError, match="--filter 'colour == 1': no column colour"):
        open_source(photo_source(photos, row_filter="colour == 1"), image_size=32)
    with pytest.raises(UserError, match="no filter glow; there are drawing, sketch"):
        open_source(photo_source(photos, filters={"glow": 1}, filtered=1), image_size=32)
    with pytest.raises(UserError, match="cannot be opened"):
        open_source(photo_source(tmp_path / "nothing"), image_size=32)


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
    drawn = [source.draw(i)[1] for i in range(len(source))]
    assert len(drawn) == 10
    assert all(known["name"] for known in drawn)
    assert "left out 2 rows without words" in caplog.text
    assert "reads 10 of 30 pictures, as `images` says" in caplog.text
    with pytest.raises(UserError, match="no row has a caption or a name"):
        open_source(photo_source(tmp_path / "gaps", row_filter="name is None"), image_size=32)


def test_every_filter_changes_the_picture_and_repeats() -> None:
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


def test_filters_keep_a_dark_thing_on_rough_ground_in_sight() -> None:
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
    drawn = [caption_named(facts, np.random.default_rng(seed)) for seed in range(400)]
    named = [re.search(r"\bcat\b", caption) is not None for caption in drawn]
    assert 0.9 < np.mean(named) < 1, "a general word now and then"
    bare = sum(caption == "cat" for caption in drawn) / len(drawn)
    assert 0.15 < bare < 0.45
    assert not any("sketch" in caption for caption in drawn)


def test_captions_say_the_domain_and_the_view() -> None:
    cat = {"name": "cat", "general": "animal", "class": "cat", "focus": "cat", "view": "ground"}
    sketched = cat | {"filter": "rock drawing", "source": "0"}
    drawn = [caption_named(sketched, np.random.default_rng(seed)) for seed in range(50)]
    assert all("rock drawing" in caption or "cave painting" in caption for caption in drawn)
    river = {"name": "river", "general": "water|land", "class": "river", "view": "satellite"}
    above = [caption_named(river, np.random.default_rng(seed)) for seed in range(300)]
    said = [c for c in above if re.search(r"satellite|aerial|above", c)]
    assert len(said) > 240


def test_synonyms_are_used_as_often_as_the_word(photos: Path) -> None:
    config = photo_source(photos, synonyms={"ship": ["sailing vessel"]})
    caption = make_captioner([config])
    ship = {"name": "ship", "class": "ship", "focus": "ship", "source": "0", "domain": "photo"}
    drawn = [caption(ship, np.random.default_rng(seed)) for seed in range(200)]
    share = sum("sailing vessel" in text for text in drawn) / 200
    assert 0.35 < share < 0.65


def test_plurals_have_no_article() -> None:
    assert with_article("trees") == "trees"
    assert with_article("school bus") == "a school bus"
    assert with_article("area of grass") == "an area of grass"
