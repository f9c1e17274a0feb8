from pathlib import Path

import pytest
from recipe_texts import BASE, write

from factory.common.errors import Fault, without_repeats
from factory.recipe.articles import article_of
from factory.recipe.library import load_recipes
from factory.recipe.lint import lint


@pytest.fixture(autouse=True)
def _a_model_that_knows_every_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown words have tests of their own, in `test_known_words`."""
    monkeypatch.setattr("factory.recipe.known_words.known_words", lambda model_id: None)


WARNED = [
    (
        BASE.replace("dog", "{label: hound, prompt: Cat}"),
        "@:1:16: classes.1: 'Cat' is also the prompt text of 'cat': their images will look "
        "alike; use different texts",
    ),
    (
        BASE.replace("dog", "crane"),
        "@:1:16: classes.1: 'crane' has several meanings; write one of them in `classes`: "
        "{label: crane, prompt: crane bird} (the bird) or "
        "{label: crane, prompt: construction crane} (the machine)",
    ),
    (
        BASE.replace("a {class}", "a nice image"),
        "@:3:9: prompt: a prompt without {class} is the same for every class: images will not "
        "match their labels",
    ),
    (
        BASE.replace("a {class}", "a (red:1.3) {class}"),
        "@:3:9: prompt: '(red:1.3)' is syntax of other tools and is read as plain text here; "
        "remove it",
    ),
    (
        BASE + "negative_prompt: 'dull, (blurred: -.5)'\n",
        "@:5:18: negative_prompt: '(blurred: -.5)' is syntax of other tools and is read as "
        "plain text here; remove it",
    ),
    (
        BASE.replace("dog", "{label: dog, prompt: 'dog <lora:pixel art:0.8>'}"),
        "@:1:16: classes.1: '<lora:pixel art:0.8>' is syntax of other tools and is read as "
        "plain text here; name it in model.adapters",
    ),
    (
        BASE + "variables: {sea: [a, b]}\n",
        "@:5:18: variables.sea: no prompt uses {sea}: it becomes a column but has no effect on "
        "images",
    ),
    (
        BASE.replace("embedded", "org/model"),
        "@:4:13: model.id: org/model is not pinned and may change; add `revision` (a commit)",
    ),
    (
        BASE + "sampling: {guidance_scale: [0, 7.5]}\n",
        "@:5:28: sampling.guidance_scale: reaches down to 0; 0 is no guidance, as 1 is",
    ),
    (
        BASE.replace("cat", "elephant").replace("dog", "{label: d, prompt: old dog}"),
        "@:3:9: prompt: wrong article: 'a elephant', 'a old dog'. Write {article} instead of it "
        "and add `variables: {article: {per_class: {elephant: an, ...}, default: a}}`, or write "
        "the article with each name",
    ),
    (
        BASE.replace("[cat, dog]", "[cat]"),
        "@:1:10: classes: one class, cat; a classifier needs two or more",
    ),
    (
        BASE + "sampling: {guidance_interval: [0.1, 1], num_inference_steps: {integers: [4, 9]}}\n",
        "@:5:31: sampling.guidance_interval: [0.1, 1] guides all of 9 steps, as without it; remove "
        "it, or raise its start",
    ),
    (
        BASE + "sampling: {guidance_scale: 0}\n",
        "@:5:28: sampling.guidance_scale: is 0; 0 is no guidance, as 1 is",
    ),
    (
        BASE.replace("a {class}", "{a} {class}") + "variables: {a: {cycle: [x, y, z]}}\n",
        "@:5:16: variables.a: 2 images per class are not divisible by 3 values; make "
        "images_per_class a multiple",
    ),
    (
        BASE.replace("a {class}", "{a} {b} {class}")
        + "variables: {a: {cycle: [x, y]}, b: {cycle: [x, y]}}\n",
        "@:5:36: variables.b: some pairs of values with 'a' never occur, because the lengths of "
        "the two cycles have a common divisor; make one of them a list",
    ),
]


@pytest.mark.parametrize(("text", "warning"), WARNED)
def test_warnings(text: str, warning: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, r=text)
    assert [str(one) for one in lint(load_recipes("r.yaml"))] == [warning.replace("@", "r.yaml")]


@pytest.mark.parametrize(
    "text",
    [
        BASE,
        BASE.replace("dog", "{label: crane, prompt: crane bird}"),
        BASE.replace("a {class}", "a (red) {class} (left: 2 of 3), 16:9, <b>"),
        BASE.replace(
            "[cat, dog]", "[{label: a, prompt: x, f: 1}, {label: b, prompt: x, f: 2}]"
        ).replace("a {class}", "a {class} {f}"),
        BASE.replace("a {class}", "a {label}"),
        BASE.replace("a {class}", "{a}") + "variables: {a: {per_class: {cat: x, dog: y}}}\n",
        BASE.replace("embedded", "org/model, revision: abc"),
    ],
)
def test_nothing_to_warn_of(text: str, tmp_path: Path) -> None:
    write(tmp_path, r=text)
    assert lint(load_recipes(tmp_path)) == []


@pytest.mark.parametrize(
    ("article", "names"),
    [
        ("an", ["elephant", "Apple pie", "hour_glass", "uninhabited island", "ox"]),
        ("a", ["cat", "unicorn", "European city", "one-way sign", "user", "house", "yak", "ewe"]),
        (None, ["x", "8", "X-ray image", "MRI scan", "", "3D rendering"]),
    ],
)
def test_articles_follow_the_sound(article: str | None, names: list[str]) -> None:
    assert [article_of(name) for name in names] == [article] * len(names)


def test_wording_of_a_source_keeps_its_articles(tmp_path: Path) -> None:
    text = BASE.replace("cat", "elephant")
    write(tmp_path, r=text + "source: a paper\n")
    assert lint(load_recipes(tmp_path)) == []
    assert not [one for one in lint(load_recipes("cifar10/base-class")) if "article" in str(one)]


def test_the_same_warning_of_several_recipes_is_one() -> None:
    faults = [Fault("odd", file=name, key="prompt") for name in ("a.yaml", "b.yaml", "a.yaml")]
    other = Fault("odd", file="b.yaml", key="classes")
    assert [str(one) for one in without_repeats([*faults, other])] == [
        "a.yaml: prompt: odd (also in b.yaml)",
        "b.yaml: classes: odd",
    ]


def test_combinations(tmp_path: Path) -> None:
    write(
        tmp_path,
        a=BASE,
        b=BASE + "output: {size: 8}\n",
        c="combine: [a, b]\nimages_per_class: 3\n",
    )
    assert [warning.message for warning in lint(load_recipes(tmp_path))] == [
        "3 images per class are not divisible by 2 members: the first members contribute one more; "
        "use a multiple of 2",
        "its members' images differ in size; set the same output.size for all",
    ]
