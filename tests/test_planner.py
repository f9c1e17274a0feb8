import time
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from recipe_texts import BASE, write

from factory.common.errors import UserError
from factory.planner.listed import scattered
from factory.planner.plan import ImageSpec, column_of, plan
from factory.recipe.library import load_recipe
from factory.recipe.resolved import ResolvedRecipe

RICH = """\
classes:
  - cat
  - {label: dog, prompt: [dog, hound], habitat: [yard, park]}
  - {label: bird, habitat: tree}
images_per_class: 40
prompt: ["a {domain} of a {class}", {text: "{class}, {weather}, {label}", weight: 3}]
negative_prompt: "no {domain}"
variables:
  domain: [photo, drawing, painting]
  weather: {choice: {sunny: 3, foggy: 1}}
  place: {per_class: {cat: [sofa]}, default: [outdoors, indoors]}
  style_medium: {linked: [style, medium], values: [[baroque, oil], [pop art, silkscreen]]}
  side: {cycle: [left, right]}
sampling:
  guidance_scale: {uniform: [1, 5]}
  num_inference_steps: {integers: [5, 9]}
model: {id: embedded}
"""


def recipe(folder: Path, text: str, name: str = "r") -> ResolvedRecipe:
    return load_recipe(write(folder, **{name: text}) / f"{name}.yaml")


def rows(folder: Path, text: str, name: str = "r") -> list[ImageSpec]:
    one = recipe(folder, text, name)
    return plan(one).rows(0, one.num_images)


def test_a_planned_row_never_changes(tmp_path: Path) -> None:
    """Protects existing datasets: a change here changes every dataset; raise PLAN_VERSION."""
    row = rows(tmp_path, RICH)[4]
    assert row.as_row() == GOLDEN


GOLDEN = {
    "label": 1,
    "class": "dog",
    "recipe": "r",
    "prompt": "dog, sunny, dog",
    "negative_prompt": "no drawing",
    "template": "{class}, {weather}, {label}",
    "domain": "drawing",
    "habitat": "yard",
    "medium": "oil",
    "place": "indoors",
    "side": "right",
    "style": "baroque",
    "weather": "sunny",
    "guidance_scale": 4.5904130935668945,
    "num_inference_steps": 9,
    "seed": 49349294705598511,
    "index": 4,
    "attempt": 0,
}


def test_labels_cycle_and_every_prefix_is_balanced(tmp_path: Path) -> None:
    found = rows(tmp_path, RICH)
    assert [row.label for row in found[:7]] == [0, 1, 2, 0, 1, 2, 0]
    assert [row.index for row in found] == list(range(120))
    counts = Counter(row.label for row in found[:50])
    assert max(counts.values()) - min(counts.values()) <= 1


def test_any_range_is_part_of_the_whole(tmp_path: Path) -> None:
    one = recipe(tmp_path, RICH)
    whole = plan(one).rows(0, 120)
    for start, stop in ((0, 1), (7, 8), (13, 57), (119, 120), (60, 60)):
        assert plan(one).rows(start, stop) == whole[start:stop]


def test_a_grown_config_keeps_its_first_images(tmp_path: Path) -> None:
    small = rows(tmp_path, RICH)
    grown = load_recipe(tmp_path / "r.yaml", images_per_class=500)
    assert plan(grown).rows(0, 120) == small
    assert grown.fingerprint == recipe(tmp_path, RICH).fingerprint


def test_a_new_variable_changes_no_other_value(tmp_path: Path) -> None:
    before = rows(tmp_path, RICH)
    after = rows(tmp_path, RICH.replace("variables:\n", "variables:\n  a: [1, 2]\n"))
    for old, new in zip(before, after, strict=True):
        assert {**new.as_row(), **old.as_row()} == new.as_row()


def test_name_and_base_seed_change_the_samples(tmp_path: Path) -> None:
    seeds = [
        [row.seed for row in rows(tmp_path, text, name)]
        for text, name in (
            (BASE, "r"),
            (BASE, "other"),
            (BASE + "sampling: {seed: 1}\n", "r"),
        )
    ]
    assert len({seed for one in seeds for seed in one}) == 12


def test_shared_noise_is_that_of_the_number_within_the_class(tmp_path: Path) -> None:
    shared = BASE + "sampling: {noise: shared}\n"
    first, second = rows(tmp_path, shared, "one"), rows(tmp_path, shared, "two")
    assert [row.seed for row in first] == [row.seed for row in second]
    assert first[0].seed == first[1].seed != first[2].seed == first[3].seed
    long = load_recipe(tmp_path / "one.yaml", images_per_class=50)
    assert plan(long).rows(37, 61) == plan(long).rows(0, 100)[37:61]


@pytest.mark.parametrize("noise", ["independent", "shared"])
def test_images_in_a_row_may_share_their_noise(noise: str, tmp_path: Path) -> None:
    sampling = f"{{seed: 3, noise: {noise}, images_per_noise: 3}}"
    text = BASE.replace("class: 2", "class: 9") + "variables: {v: {cycle: [x, y, z]}}\n"
    write(tmp_path, plain=text, r=text + f"sampling: {sampling}\n")
    recipe = load_recipe(tmp_path / "r.yaml")
    rows = plan(recipe).rows(0, 18)
    for label in (0, 1):
        own = [row for row in rows if row.label == label]
        assert [row.variables["v"] for row in own] == ["x", "y", "z"] * 3
        seeds = [row.seed for row in own]
        assert seeds == [one for one in seeds[::3] for _ in range(3)]
        assert len(set(seeds)) == 3
    assert (rows[0].seed == rows[1].seed) == (noise == "shared")
    assert plan(recipe).rows(5, 11) == rows[5:11]
    assert "images_per_noise: 3" in recipe.to_yaml()


def test_once_is_one_value_for_all_images(tmp_path: Path) -> None:
    once = "{once: {integers: [1, 1000]}}"
    write(
        tmp_path,
        r=BASE.replace("class: 2", "class: 9")
        + f"variables: {{v: {once}}}\nsampling: {{guidance_scale: {once}}}\n",
    )
    rows = plan(load_recipe(tmp_path / "r.yaml")).rows(0, 18)
    assert (
        len({row.guidance_scale for row in rows}) == len({row.variables["v"] for row in rows}) == 1
    )
    assert rows[0].guidance_scale != rows[0].variables["v"], "each quantity has its own stream"
    later = plan(load_recipe(tmp_path / "r.yaml")).rows(7, 9)
    assert later == rows[7:9]
    other = plan(load_recipe(tmp_path / "r.yaml", overrides=["sampling.seed=1"])).rows(0, 1)[0]
    assert other.guidance_scale != rows[0].guidance_scale


@pytest.mark.parametrize("variable", ["weather", "template"])
def test_a_column_has_the_values_of_the_rows(variable: str, tmp_path: Path) -> None:
    """A variable named `template` replaces the reserved column."""
    found = rows(tmp_path, RICH.replace("weather", variable))
    names = {name for row in found for name in row.as_row()} | {"absent"}
    for name in names:
        assert column_of(found, name) == [row.as_row().get(name) for row in found]


def test_numbers_that_are_constant_per_class_have_the_type_of_the_column(tmp_path: Path) -> None:
    varied = "{per_class: {cat: 1, dog: 2.5}}"
    found = rows(tmp_path, BASE + f"variables: {{v: {varied}}}\n")
    assert [repr(row.variables["v"]) for row in found] == ["1.0", "2.5", "1.0", "2.5"]


def test_values_of_a_row(tmp_path: Path) -> None:
    found = rows(tmp_path, RICH)
    for row in found:
        own = row.variables
        assert list(row.as_row())[5:13] == ["template", *sorted(own)]
        label = ("cat", "dog", "bird")[row.label]
        assert row.prompt in (
            f"a {own['domain']} of a {row.class_name}",
            f"{row.class_name}, {own['weather']}, {label}",
        )
        assert row.negative_prompt == f"no {own['domain']}"
        assert row.guidance_scale == float(np.float32(row.guidance_scale))
        assert 1 <= row.guidance_scale <= 5
        assert 5 <= row.num_inference_steps <= 9
        assert 0 <= row.seed < 2**63
        assert (own["style"], own["medium"]) in {("baroque", "oil"), ("pop art", "silkscreen")}
        assert own["side"] == ("left", "right")[row.index // 3 % 2]
        allowed = {"cat": {None}, "dog": {"yard", "park"}, "bird": {"tree"}}
        assert own["habitat"] in allowed[label]
        assert (own["place"] == "sofa") == (label == "cat")
    assert {row.class_name for row in found} == {"cat", "dog", "hound", "bird"}
    assert {row.variables["style"] for row in found} == {"baroque", "pop art"}
    weighted = sum(row.prompt.startswith("a ") for row in found)
    assert 15 <= weighted <= 45


def test_a_thousand_rows_of_a_hundred_million_come_at_once(tmp_path: Path) -> None:
    write(tmp_path, r=RICH)
    big = plan(load_recipe(tmp_path / "r.yaml", images_per_class=40_000_000))
    assert len(big) == 120_000_000
    started = time.perf_counter()
    found = big.rows(99_999_000, 100_000_000)
    assert time.perf_counter() - started < 1
    assert [row.index for row in found] == list(range(99_999_000, 100_000_000))


def combined(folder: Path, text: str) -> ResolvedRecipe:
    write(folder, one=BASE, two=BASE.replace("2", "3"), all=text)
    return load_recipe(folder / "all.yaml")


def test_a_union_is_its_members_one_after_the_other(tmp_path: Path) -> None:
    union = combined(tmp_path, "combine: [one, two]\n")
    one, two = union.members
    assert union.num_images == len(plan(union)) == 10
    assert plan(union).rows(0, 10) == plan(one).rows(0, 4) + plan(two).rows(0, 6)
    assert plan(union).rows(3, 6) == plan(union).rows(0, 10)[3:6]
    assert plan(union).parts() == [(one, 4), (two, 6)]
    assert [row.recipe for row in plan(union).rows(3, 5)] == ["one", "two"]


def test_an_equal_share_is_the_members_first_images(tmp_path: Path) -> None:
    share = combined(tmp_path, "combine: [one, two]\nimages_per_class: 3\n")
    one, two = share.members
    assert plan(share).parts() == [(one, 4), (two, 2)]
    assert plan(share).rows(0, 6) == plan(one).rows(0, 4) + plan(two).rows(0, 2)
    assert Counter(row.label for row in plan(share).rows(0, 6)) == {0: 3, 1: 3}


def test_a_combination_lists_images_of_its_members(tmp_path: Path) -> None:
    chosen = combined(tmp_path, "combine: [one, two]\nrows: {one: 0-1, two: [1, '2, 4-5']}\n")
    one, two = (plan(member).rows(0, member.num_images) for member in chosen.members)
    # Every second row is of the second class, as in every config.
    assert plan(chosen).rows(0, 6) == [one[0], one[1], two[2], two[1], two[4], two[5]]
    assert plan(chosen).rows(3, 5) == [two[1], two[4]]
    assert (chosen.images_per_class, chosen.num_images) == (3, 6)
    assert plan(chosen).parts() == [(chosen.members[0], 2), (chosen.members[1], 6)]
    other = combined(tmp_path, "combine: [one, two]\nrows: {one: 0-1, two: 0-3}\n")
    assert other.fingerprint != chosen.fingerprint
    text = chosen.to_yaml()
    assert "images_per_class" not in text
    (tmp_path / "again.yaml").write_text(text)
    assert load_recipe(str(tmp_path / "again.yaml")).fingerprint == chosen.fingerprint


def test_listed_images_far_apart_are_those_of_the_plan() -> None:
    planned = plan(load_recipe("cifar10/base-class"))
    wanted = np.array([3, 40_000, 5, 36, 49_999, 40_001])
    found = scattered(planned.rows, wanted)
    assert found == {index: planned.rows(index, index + 1)[0] for index in wanted.tolist()}


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 5), (5, 5)])
def test_a_range_outside_is_refused(start: int, stop: int, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=f"r: there are no rows {start}:{stop}; ask for a range within 0:"
    ):
        plan(recipe(tmp_path, BASE)).rows(start, stop)


def test_any_shard_of_a_hundred_million_images_is_planned_at_once(tmp_path: Path) -> None:
    names = ", ".join(f"class_{number}" for number in range(1000))
    vast = recipe(
        tmp_path,
        f"classes: [{names}]\nimages_per_class: 100_000\n"
        'prompt: "a {class} {place} at {light}"\n'
        "variables: {place: [in a field, by a lake], light: {uniform: [0, 1]}}\n"
        "model: {id: embedded}\n",
    )
    planned = plan(vast)
    assert len(planned) == 100_000_000
    planned.rows(0, 512)
    peaks = []
    for start in (0, 50_000_000, 100_000_000 - 512):
        tracemalloc.start()
        began = time.process_time()
        rows = planned.rows(start, start + 512)
        took = time.process_time() - began
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert took < 1.0
        assert [row.index for row in rows] == list(range(start, start + 512))
    assert max(peaks) < 1.5 * min(peaks)
    assert max(peaks) < 10_000_000
