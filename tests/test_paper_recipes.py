"""The paper's recipes against tables typed from the paper; checks of all recipes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from eval.study.paper import TABLE_1
from factory.cli.main import main
from factory.planner.cost import estimate
from factory.planner.plan import plan
from factory.recipe.library import load_recipe, load_recipes, packaged_dir
from factory.recipe.resolved import ResolvedRecipe

RECIPES = packaged_dir("recipes")
FILES = sorted(
    path.relative_to(RECIPES).with_suffix("").as_posix()
    for path in RECIPES.rglob("*.yaml")
    if "classes" not in path.parts and not path.name.startswith("_")
)

# Sections 3 and 3.1: images per class of the real training sets, and their size.
SIZES = {"cifar10": (10, 5000, 32), "cifar100": (100, 500, 32), "eurosat": (10, 2700, 64)}
# Section 3.3.
CIFAR_DOMAINS = [
    *("photo", "drawing", "painting", "sketch", "collage", "poster"),
    *("digital art image", "rock drawing", "stick figure", "3D rendering"),
]
EUROSAT_DOMAINS = ["realistic photo", "drawing", "painting", "sketch", "3D rendering"]
CIFAR_DOMAIN_PROMPT = "a {domain} of a {class}"
EUROSAT_DOMAIN_PROMPT = "a satellite photo of a {class} in the style of a {domain}"
BASE_PROMPT = "an image of a {class}"
# Data set, recipe: prompt, domains, lowest and highest guidance, anti-aliasing.
SETS: dict[tuple[str, str], tuple[str, list[str], tuple[float, float], bool]] = {
    ("cifar10", "base-class"): (BASE_PROMPT, [], (7.5, 7.5), False),
    ("cifar10", "anti-aliased"): (BASE_PROMPT, [], (7.5, 7.5), True),
    ("cifar10", "class-prompt"): ("{class}", [], (7.5, 7.5), True),
    ("cifar10", "multi-domain"): (CIFAR_DOMAIN_PROMPT, CIFAR_DOMAINS, (7.5, 7.5), True),
    ("cifar10", "random-guidance"): (BASE_PROMPT, [], (1, 5), True),
    ("cifar100", "base-class"): (BASE_PROMPT, [], (7.5, 7.5), False),
    ("cifar100", "anti-aliased"): (BASE_PROMPT, [], (7.5, 7.5), True),
    ("cifar100", "class-prompt"): ("{class}", [], (7.5, 7.5), True),
    ("cifar100", "multi-domain"): (CIFAR_DOMAIN_PROMPT, CIFAR_DOMAINS, (7.5, 7.5), True),
    ("cifar100", "random-guidance"): (BASE_PROMPT, [], (1, 5), True),
    ("eurosat", "base-class"): (BASE_PROMPT, [], (7.5, 7.5), False),
    ("eurosat", "anti-aliased"): (BASE_PROMPT, [], (7.5, 7.5), True),
    ("eurosat", "multi-domain"): (EUROSAT_DOMAIN_PROMPT, EUROSAT_DOMAINS, (7.5, 7.5), False),
    ("eurosat", "random-guidance"): (BASE_PROMPT, [], (1, 5), False),
    # Not in Table 1: the other reading of the base prompt, and the second half of best tricks.
    ("eurosat", "base-class-satellite"): (
        *("a satellite photo of a {class}", [], (7.5, 7.5), False),
    ),
    ("eurosat", "random-guidance-additional"): (BASE_PROMPT, [], (1, 5), False),
}
# Sections 3.3 and 4.4: members and images per class.
UNIONS = {
    ("cifar10", "all-combined"): (
        ["anti-aliased", "class-prompt", "multi-domain", "random-guidance"],
        20_000,
    ),
    ("cifar100", "all-combined"): (
        ["anti-aliased", "class-prompt", "multi-domain", "random-guidance"],
        2_000,
    ),
    ("eurosat", "all-combined"): (["base-class", "multi-domain", "random-guidance"], 8_100),
    ("cifar10", "best-tricks"): (
        ["anti-aliased", "class-prompt", "multi-domain", "random-guidance"],
        20_000,
    ),
    ("cifar100", "best-tricks"): (["anti-aliased", "multi-domain", "random-guidance"], 1_500),
    ("eurosat", "best-tricks"): (["random-guidance", "random-guidance-additional"], 5_400),
}


def test_there_are_recipes_and_each_paper_recipe_is_in_a_table() -> None:
    assert len(FILES) > 20
    of_the_paper = {name for name in FILES if name.split("/")[0] in SIZES}
    assert of_the_paper == {"/".join(key) for key in (*SETS, *UNIONS)}


@pytest.mark.parametrize("name", FILES)
def test_check_passes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", name])
    assert capsys.readouterr().out.startswith("ok: ")


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("beyond/")])
def test_a_recipe_beyond_the_paper_states_its_question(name: str) -> None:
    text = (RECIPES / f"{name}.yaml").read_text()
    assert "# Question: " in text
    assert "?" in text.split("# Compare with: ")[0]
    recipe = load_recipe(name)
    folder = name.split("/")[1]
    assert recipe.images_per_class == SIZES[folder][1], "as many images as the base set"


@pytest.mark.parametrize("name", FILES)
def test_every_header_contains_command_and_cost(name: str) -> None:
    lines = (RECIPES / f"{name}.yaml").read_text().splitlines()
    head = "\n".join(line for line in lines if line.startswith("#"))
    build = "# Command: data-factory build"
    assert f"{build} {name} " in head or f"{build} {Path(name).parent} " in head
    assert "Cost:" in head or "Time:" in head


def header_of(name: str) -> str:
    lines = (RECIPES / f"{name}.yaml").read_text().splitlines()
    return " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))


@pytest.mark.parametrize("name", FILES)
def test_a_headers_counts_and_hours_are_the_plans(name: str) -> None:
    head, recipe = header_of(name), load_recipe(name)
    leaves = recipe.members if recipe.is_combination else (recipe,)
    found = re.search(r"Images: ([\d,]+) per class, ([\d,]+) in total, (\d+) x (\d+)", head)
    if found is not None:
        classes = len(leaves[0].labels)
        counts = [f"{recipe.num_images // classes:,}", f"{recipe.num_images:,}"]
        assert [*found.groups()] == [*counts, *map(str, leaves[0].output.size or ())]
    hours = re.search(r"about ([\d.]+) hours on one A100", head)
    if hours is not None:
        seconds = sum(estimate(one).seconds or 0 for one in leaves)
        assert float(hours[1]) == pytest.approx(seconds / 3600, rel=0.03)
    assert found is not None or name.startswith("quickstart/")


@pytest.mark.parametrize("key", [*SETS, *UNIONS], ids="/".join)
def test_a_header_gives_the_papers_figure(key: tuple[str, str]) -> None:
    column = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "eurosat": "EuroSAT"}[key[0]]
    figures = re.findall(r"([\d.]+) %", header_of("/".join(key)))
    expected = [TABLE_1[column][key[1]]] if key[1] in TABLE_1[column] else []
    if key[1] == "best-tricks":
        expected.append(TABLE_1[column]["base-class"])
    assert [*map(float, figures)] == expected


@pytest.mark.parametrize("key", SETS, ids="/".join)
def test_a_recipe_has_the_papers_values(key: tuple[str, str]) -> None:
    prompt, domains, guidance, antialias = SETS[key]
    classes, images_per_class, size = SIZES[key[0]]
    recipe = load_recipe("/".join(key))
    assert recipe.name == key[1]
    assert len(recipe.labels) == classes
    assert recipe.images_per_class == images_per_class
    assert [one.text for one in recipe.prompt] == [prompt]
    assert recipe.negative_prompt == ""
    assert {name: one.values() for name, one in _variables(recipe)} == (
        {"domain": domains} if domains else {}
    )
    assert recipe.sampling.guidance_scale.bounds() == guidance
    assert recipe.sampling.num_inference_steps.values() == [40]
    assert recipe.model.id == "CompVis/stable-diffusion-v1-4"
    assert len(recipe.model.revision or "") == 40
    assert recipe.model.scheduler == "DDIMScheduler"
    assert (recipe.model.height, recipe.model.width) == (512, 512)
    output = recipe.output
    assert (output.size, output.resample, output.antialias) == (
        (size, size),
        "bilinear",
        antialias,
    )
    assert output.format == "png"


def _variables(recipe: ResolvedRecipe) -> list[tuple[str, Any]]:
    return list(recipe.variables.items())


@pytest.mark.parametrize("name", [key for key in SETS if key[1] == "multi-domain"], ids="/".join)
def test_domains_take_equal_shares(name: tuple[str, str]) -> None:
    recipe = load_recipe("/".join(name))
    domains = SETS[name][1]
    rows = plan(recipe).rows(0, 20_000)
    for domain in domains:
        share = sum(row.variables["domain"] == domain for row in rows) / len(rows)
        assert share == pytest.approx(1 / len(domains), rel=0.1)


@pytest.mark.parametrize("key", UNIONS, ids="/".join)
def test_a_union_has_the_papers_members(key: tuple[str, str]) -> None:
    members, images_per_class = UNIONS[key]
    recipe = load_recipe("/".join(key))
    assert list(recipe.combine or ()) == members
    assert recipe.images_per_class is None, "a union copies nothing"
    assert recipe.num_images == images_per_class * SIZES[key[0]][0]


@pytest.mark.parametrize("folder", SIZES)
def test_the_recipes_of_a_folder_are_one_dataset(folder: str) -> None:
    recipes = {recipe.name: recipe for recipe in load_recipes(folder)}
    base, twin = (plan(recipes[name]).rows(40, 60) for name in ("base-class", "anti-aliased"))
    # The anti-aliased set shows the images of the base set.
    assert [(row.prompt, row.seed) for row in base] == [(row.prompt, row.seed) for row in twin]
    guided = plan(recipes["random-guidance"]).rows(40, 60)
    assert not {row.seed for row in guided} & {row.seed for row in base}
    assert len({row.guidance_scale for row in guided}) == len(guided)


@pytest.mark.parametrize("key", [key for key in SETS if "satellite" not in key[1]], ids="/".join)
def test_an_as_code_twin_differs_as_the_code_does(key: tuple[str, str]) -> None:
    folder, name = key
    classes, images_per_class, _ = SIZES[folder]
    paper, code = load_recipe(f"{folder}/{name}"), load_recipe(f"{folder}-as-code/{name}")
    assert (code.model, code.output) == (paper.model, paper.output)
    assert (code.sampling.seed, code.sampling.noise) == (64, "shared")
    rows = plan(code).rows(0, 40 * classes)
    if name.startswith("random-guidance"):
        assert code.prompt[0].text == "an image of {class}"
        (scale,) = {row.guidance_scale for row in rows}
        assert scale in (1, 2, 3, 4, 5)
    else:
        assert code.prompt == paper.prompt
        assert code.sampling.guidance_scale == paper.sampling.guidance_scale
    domains = SETS[key][1]
    assert code.images_per_class == images_per_class * max(1, len(domains))
    # The n-th image of every class, domain and set starts from the same noise.
    noises = [row.seed for row in plan(load_recipe("cifar10-as-code/base-class")).rows(0, 400)]
    for row in rows:
        number = row.index // classes // max(1, len(domains))
        assert row.seed == noises[number * 10]
    if domains:
        sampled = [row.variables["domain"] for row in rows if row.label == 0]
        assert sampled == (domains * 10)[: len(sampled)]


def test_two_runs_of_random_guidance_sample_two_numbers() -> None:
    first, second = load_recipe("eurosat-as-code/best-tricks").members
    scales = {plan(one).rows(0, 1)[0].guidance_scale for one in (first, second)}
    assert len(scales) == 2


def test_prompts_read_as_in_the_paper() -> None:
    assert (
        plan(load_recipe("cifar10/base-class")).rows(1, 2)[0].prompt == "an image of a automobile"
    )
    assert plan(load_recipe("cifar100/class-prompt")).rows(1, 2)[0].prompt == "aquarium fish"
    figure = load_recipe("cifar10/multi-domain", overrides=["classes=[car]"])
    assert {row.prompt for row in plan(figure).rows(0, 200)} == {
        f"a {domain} of a car" for domain in CIFAR_DOMAINS
    }


def test_the_page_repeats_the_papers_table() -> None:
    """Compare every row of Table 1 in `docs/paper.md` with the table typed from the paper."""
    text = (RECIPES.parent / "docs" / "paper.md").read_text()
    rows = text.split("### What the paper reports")[1].split("##")[0].splitlines()
    names = {"anti-aliasing": "anti-aliased"}
    printed = 0
    for line in rows:
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        row = names.get(name, name.replace(" ", "-"))
        if row not in TABLE_1["CIFAR-10"]:
            continue
        printed += 1
        found = [float(cell) if cell else None for cell in cells]
        assert found == [
            TABLE_1[column].get(row) for column in ("CIFAR-10", "CIFAR-100", "EuroSAT")
        ]
    assert printed == len(TABLE_1["CIFAR-10"])
