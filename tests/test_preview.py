"""Contact sheets: the image in each cell, and its visibility."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_parts import FakeRenderer, combination, recipe

from factory.common.errors import UserError
from factory.inspection.preview import preview
from factory.planner.plan import ImageSpec
from factory.renderer.contact_sheet import contact_sheet

DOMAINS = {"prompt": "a {d} of a {class}", "variables": {"d": ["photo", "sketch", "stick figure"]}}


class Recording(FakeRenderer):
    """Stores the rows that it receives."""

    rows: Sequence[ImageSpec] = ()

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[Any]:
        Recording.rows = [*Recording.rows, *rows]
        return super().render(rows, batch_size=batch_size)


def generated(recipe_: Any, **options: Any) -> Sequence[ImageSpec]:
    Recording.rows = ()
    preview(recipe_, renderer_factory=Recording, **options)
    return Recording.rows


def test_rows_share_noise_and_columns_vary_the_first_variable(tmp_path: Path) -> None:
    rows = generated(recipe(tmp_path, "domain", **DOMAINS), rows=2)
    photo, sketch, figure = (f"a {d} of a cat" for d in DOMAINS["variables"]["d"])  # type: ignore[index]
    assert [row.prompt for row in rows] == [photo, sketch, figure] * 2
    seeds = [row.seed for row in rows]
    assert len(set(seeds[:3])) == len(set(seeds[3:])) == 1
    assert seeds[0] != seeds[3]


def test_a_value_of_each_class_is_not_varied(tmp_path: Path) -> None:
    article = {"per_class": {"ant": "an"}, "default": "a"}
    made = recipe(
        tmp_path,
        "article",
        classes=["ant", "cat"],
        prompt="{article} {class}",
        variables={"article": article},
    )
    assert [row.prompt for row in generated(made, rows=1)] == ["an ant", "a cat"]


def test_the_sheet_shows_images_of_the_set(tmp_path: Path) -> None:
    """The first row starts from the noise of the class's first image."""
    from factory.planner.plan import plan

    domain = recipe(tmp_path, "domain", **DOMAINS)
    rows = generated(domain, rows=1, class_name="dog")
    assert rows[0].seed == plan(domain).rows(1, 2)[0].seed
    assert rows[0].prompt == "a photo of a dog"


def test_rows_are_other_noises_where_images_share_them(tmp_path: Path) -> None:
    sampling = {"num_inference_steps": 2, "images_per_noise": 3}
    rows = generated(recipe(tmp_path, "domain", **DOMAINS, sampling=sampling), rows=3)
    assert len({row.seed for row in rows}) == 3


def test_guidance_and_classes_can_vary(tmp_path: Path) -> None:
    base = recipe(tmp_path, "base")
    rows = generated(base, vary="guidance_scale", rows=1)
    assert [row.guidance_scale for row in rows] == [1.0, 2.0, 3.0, 5.0, 7.5]
    classes = generated(base, rows=1)
    assert [row.prompt for row in classes] == ["a cat", "a dog", "a ship"]
    assert len({row.seed for row in classes}) == 1


def test_the_sampling_of_the_sheet_is_reported(tmp_path: Path) -> None:
    """The line shows the recipe's guidance, or the values of the columns if these vary it."""
    base = recipe(tmp_path, "base", sampling={"guidance_scale": 2, "num_inference_steps": 3})
    made = preview(base, rows=1, renderer_factory=FakeRenderer)
    assert "guidance 2; steps 3; scheduler the model's own; size the model's own" in made.sampling
    sampled = preview(recipe(tmp_path, "plain"), rows=2, renderer_factory=FakeRenderer)
    assert "guidance uniform from 1 to 5; steps 2" in sampled.sampling
    varied = preview(base, rows=1, vary="guidance_scale", renderer_factory=FakeRenderer)
    assert "guidance one of 1, 2, 3, 5, 7.5; steps 3" in varied.sampling


def test_linked_variables_vary_together(tmp_path: Path) -> None:
    pairs = {"linked": ["style", "medium"], "values": [["baroque", "oil"], ["pop art", "print"]]}
    linked = recipe(
        tmp_path, "linked", prompt="{style} {medium} {class}", variables={"both": pairs}
    )
    prompts = [row.prompt for row in generated(linked, vary="both", rows=1)]
    assert prompts == ["baroque oil cat", "pop art print cat"]


def test_a_combination_shows_its_first_member(tmp_path: Path) -> None:
    recipe(tmp_path, "domain", **DOMAINS)
    rows = generated(combination(tmp_path, "all", ["domain"]), rows=1)
    assert {row.recipe for row in rows} == {"domain"}


def test_recipes_of_a_folder_are_shown_below_one_another(tmp_path: Path) -> None:
    base, domain = recipe(tmp_path, "base"), recipe(tmp_path, "domain", **DOMAINS)
    both = combination(tmp_path, "both", ["base", "domain"])
    rows = generated([base, domain, both], rows=1)
    assert [row.recipe for row in rows] == ["base"] * 3 + ["domain"] * 3
    found = [preview(one, rows=1, renderer_factory=Recording) for one in (base, domain)]
    whole = preview([base, domain, both], rows=1, renderer_factory=Recording)
    assert whole.sheet.height == sum(one.sheet.height for one in found)
    assert whole.sampling.splitlines() == [one.sampling for one in found]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vary": "colour"}, "domain has no variable 'colour' to vary; it has: d, guidance_scale"),
        ({"class_name": "frog"}, "domain has no class 'frog'; it has: cat, dog, ship"),
        ({"rows": 0}, "0 rows and 10 columns were requested"),
    ],
)
def test_invalid_previews_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        generated(recipe(tmp_path, "domain", **DOMAINS), **options)


@pytest.mark.parametrize(("size", "cell"), [(8, 112), (32, 128), (512, 256)])
def test_cells_are_large_enough_to_see_and_small_enough_to_fit(size: int, cell: int) -> None:
    red = np.full((size, size, 3), (255, 0, 0), dtype=np.uint8)
    sheet = np.asarray(contact_sheet([[red, red], [red, red]]))
    seen = (sheet == (255, 0, 0)).all(axis=2).sum()
    assert seen == 4 * cell * cell


def test_labels_are_written(tmp_path: Path) -> None:
    image = np.full((32, 32, 3), 255, dtype=np.uint8)
    plain = contact_sheet([[image]])
    assert np.asarray(plain).min() == 255
    labelled = contact_sheet(
        [[image]], row_labels=["row"], column_labels=["a long label that wraps"], title="title"
    )
    titled = contact_sheet([[image]], title="title")
    assert contact_sheet([[image]], title="title", caption="more").height > titled.height
    assert labelled.width > plain.width
    assert labelled.height > plain.height
    assert np.asarray(labelled).min() < 60
