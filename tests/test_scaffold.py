import re
from pathlib import Path

import pytest

from factory.cli.main import main
from factory.common.errors import UserError
from factory.planner.plan import plan
from factory.recipe.library import load_recipe, load_recipes
from factory.recipe.lint import lint
from factory.recipe.scaffold import class_names, parse_subtypes, scaffold
from factory.recipe.senses import SENSES
from factory.recipe.styles import STYLES
from train.arguments import options_of
from train.parser import build_parser

ROOT = Path(__file__).parent.parent

PAPER = ["base-class", "class-prompt", "multi-domain", "random-guidance"]
NAMES = [*PAPER, "recommended", "all-combined"]


def test_the_folder_passes_check(tmp_path: Path) -> None:
    paths = scaffold("birds", classes=["no", "snow owl", "7"], out=tmp_path / "new")
    assert [path.stem for path in paths] == [
        "recommended",
        *PAPER,
        "all-combined",
        "schema",
        "README",
    ]
    recipes = load_recipes(tmp_path / "new" / "birds")
    assert [recipe.name for recipe in recipes] == NAMES
    assert recipes[0].labels == ("no", "snow_owl", "7")
    assert plan(recipes[0]).rows(0, 2)[1].prompt == "an image of a snow owl"
    for path in paths[:-2]:
        lines = path.read_text().splitlines()
        assert lines[0] == "# yaml-language-server: $schema=schema.json"
        assert lines[1].startswith("# Question: ")
        assert lines[2].startswith("# Command: data-factory build ")
        assert lines[3].startswith("# Images: ")
        assert "the weights of the model `embedded` are for research only" in path.read_text()


def test_a_model_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scaffold("hub", classes=["a"], out=tmp_path, model="org/model@abc")
    model = load_recipes(tmp_path / "hub")[0].model
    assert (model.id, model.revision) == ("org/model", "abc")
    assert "Licence" not in (tmp_path / "hub" / "base-class.yaml").read_text()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model_index.json").write_text("{}")
    scaffold("local", classes=["a"], out=Path("deep/er"), model="weights")
    model = load_recipes("deep/er/local")[0].model
    assert model.id == str(tmp_path / "weights")


def test_a_preset_sets_size_and_sampling(tmp_path: Path) -> None:
    scaffold("xl", classes=["a"], out=tmp_path, model="sdxl")
    base = load_recipes(tmp_path / "xl")[0]
    assert (base.model.id, base.model.height) == ("stabilityai/stable-diffusion-xl-base-1.0", 1024)
    assert base.sampling.guidance_scale.values() == [5]
    # A model that cannot be guided gets no recipe that would ask it to.
    scaffold("turbo", classes=["a"], out=tmp_path, model="sdxl-turbo")
    names = [recipe.name for recipe in load_recipes(tmp_path / "turbo")]
    assert names == ["base-class", "class-prompt", "multi-domain", "all-combined"]
    # FLUX reads guidance as an input: what was measured with others does not transfer.
    scaffold("flux", classes=["a"], out=tmp_path, model="flux")
    assert "recommended" not in [recipe.name for recipe in load_recipes(tmp_path / "flux")]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "birds").mkdir()
    with pytest.raises(UserError, match="birds exists; nothing is overwritten"):
        scaffold("birds", classes=["a"], out=tmp_path)
    assert list((tmp_path / "birds").iterdir()) == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "ü"])
def test_bad_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot name a folder"):
        scaffold(name, classes=["a"], out=tmp_path)


def test_a_missing_model_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--model: ./nowhere is not a directory"):
        scaffold("birds", classes=["a"], out=tmp_path, model="./nowhere")
    assert list(tmp_path.iterdir()) == []


def test_class_names_are_checked() -> None:
    assert class_names([" heron", "snow   owl", ""]) == ["heron", "snow owl"]
    with pytest.raises(UserError, match="no class is named"):
        class_names([" "])
    with pytest.raises(UserError, match="a_b is given twice"):
        class_names(["a b", "a_b"])


def comments(path: Path) -> str:
    """Return the comments above a recipe as one line."""
    lines = path.read_text().splitlines()
    assert max(map(len, lines)) <= 100
    return " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))


def test_the_recommended_config_has_the_guidance_of_the_study_and_names_its_effect(
    tmp_path: Path,
) -> None:
    scaffold("pets", classes=["cat", "dog"], out=tmp_path)
    by_name = {recipe.name: recipe for recipe in load_recipes(tmp_path / "pets")}
    studied = load_recipe("beyond/cifar10/low-guidance").sampling.guidance_scale
    assert by_name["recommended"].sampling.guidance_scale.bounds() == studied.bounds() == (1.5, 2)
    # The union is of the paper's rows alone.
    assert [member.name for member in by_name["all-combined"].members] == PAPER
    line = comments(tmp_path / "pets/recommended.yaml")
    assert "1.5 to 2 instead of 7.5, at 40 steps: +10.6 and +10.8 points on CIFAR-10" in line
    assert "+1.3 and +9.9 points on EuroSAT, not significant" in line
    study = (ROOT / "docs/study.md").read_text()
    row = re.findall(r"\| low-guidance +\| +base-class \|.*?\| +([+-][\d.]+) \[", study)
    assert [f"{float(one):+.1f}" for one in row[:2]] == ["+10.6", "+10.8"]
    assert [f"{float(one):+.1f}" for one in row[2:]] == ["+1.3", "+9.9"]


@pytest.mark.parametrize("style", STYLES)
def test_styles_pass_check_and_ask_for_their_kind_of_image(style: str, tmp_path: Path) -> None:
    scaffold("x", classes=["chair", "table"], out=tmp_path, style=style)
    recipes = load_recipes(tmp_path / "x")
    warnings = [one.message for one in lint(recipes)]
    about_words = ("does not know these prompt words", "not among its main classes")
    assert [one for one in warnings if not any(said in one for said in about_words)] == [
        one for one in warnings if "'table' has several meanings" in one
    ]
    by_name = {recipe.name: recipe for recipe in recipes}
    assert by_name["recommended"].prompt[0].text == STYLES[style].prompt
    assert ("class-prompt" in by_name) == (style == "photo")
    prompts = {row.prompt for row in plan(by_name["multi-domain"]).rows(0, 100)}
    assert len(prompts) == 2 * len(STYLES[style].domains)
    assert STYLES[style].measured in comments(tmp_path / "x/recommended.yaml")
    assert "{{" not in STYLES[style].measured, "the text is inserted as it is"
    readme = (tmp_path / "x/README.md").read_text()
    assert ("diagnosis" in readme) == (style == "medical")


def test_images_are_as_small_as_the_model_makes_them(tmp_path: Path) -> None:
    def shape(name: str, model: str | None) -> tuple[int, tuple[int, int] | None]:
        scaffold(name, classes=["a"], out=tmp_path, model=model)
        base = load_recipes(tmp_path / name)[0]
        return base.images_per_class or 0, base.output.size

    assert shape("demo", None) == (200, (64, 64))
    assert shape("xl", "sdxl") == (100, (256, 256))


def test_subtypes_have_a_config_of_their_own(tmp_path: Path) -> None:
    subtypes = parse_subtypes(["snow owl=young snow owl, old snow owl"], classes=["snow owl", "no"])
    assert subtypes == {"snow_owl": ["young snow owl", "old snow owl"]}
    scaffold("birds", classes=["snow owl", "no"], out=tmp_path, subtypes=subtypes)
    own = next(one for one in load_recipes(tmp_path / "birds") if one.name == "subtypes")
    prompts = {row.prompt for row in plan(own).rows(0, 40)}
    assert prompts == {
        "an image of a young snow owl",
        "an image of a old snow owl",
        "an image of a no",
    }
    assert own.sampling.guidance_scale.bounds() == (1.5, 2)
    for bad, message in (
        ("owl", "write CLASS=A,B"),
        ("owl= ,", "write CLASS=A,B"),
        ("owl=a", "no class 'owl'; did you mean snow_owl\\?"),
    ):
        with pytest.raises(UserError, match=message):
            parse_subtypes([bad], classes=["snow owl", "no"])
    with pytest.raises(UserError, match="no is given twice"):
        parse_subtypes(["no=a", "no=b"], classes=["no"])


def test_the_readme_has_the_next_commands_and_they_parse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scaffold("pets", classes=["cat", "dog"], out=tmp_path)
    text = (tmp_path / "pets/README.md").read_text()
    lines = [line.split()[1:] for line in text.splitlines() if line.startswith("    data-factory")]
    assert [line[0] for line in lines] == ["plan", "build", "train"]
    assert str(tmp_path) not in text, "files that people share name no folders of this machine"
    assert lines[1] == ["build", "pets/recommended.yaml", "out/pets"], "only what is trained on"
    assert "`data-factory build pets out/pets` adds `base-class`, " in " ".join(text.split())
    main(lines[0])
    options = options_of(build_parser().parse_args(lines[2][1:]))
    assert options is not None
    assert (options.config_name, options.model) == ("recommended", "test_resnet")


def test_ambiguous_names_come_with_the_lines_to_write(tmp_path: Path) -> None:
    names = ["crane", "bat", "mouse", "jaguar", "mercury", "seal"]
    assert set(names) <= set(SENSES)
    scaffold("x", classes=names, out=tmp_path)
    recipes = load_recipes(tmp_path / "x")
    warned = [str(one) for one in lint(recipes) if "several meanings" in str(one)]
    assert len(warned) == len(names)
    assert "write one of them in `classes`: {label: bat, prompt: bat animal}" in warned[1]
    # With the first of the suggested lines each, nothing is left to warn of.
    text = (tmp_path / "x/base-class.yaml").read_text()
    for name in names:
        prompt = next(iter(SENSES[name].values()))
        text = text.replace(f"- {name}\n", f"- {{label: {name}, prompt: {prompt}}}\n")
    (tmp_path / "x/base-class.yaml").write_text(text)
    again = load_recipes(tmp_path / "x")
    assert again[0].labels == tuple(names)
    assert not [one for one in lint(again) if "several meanings" in str(one)]


@pytest.mark.parametrize("name", ["can", "bats", "cricket"])
def test_plurals_and_names_with_one_reading_are_ambiguous_too(name: str, tmp_path: Path) -> None:
    scaffold("x", classes=[name, "zebra"], out=tmp_path)
    found = map(str, lint(load_recipes(tmp_path / "x")))
    (warned,) = [one for one in found if "in `classes`" in one]
    assert f"'{name}'" in warned
    assert ("is ambiguous; write in" in warned) == (name == "can")


def test_one_class_is_no_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same is said once, although it is true of every recipe of the folder."""
    main(["new", "x", "--class", "zebra", "--out", str(tmp_path)])
    assert capsys.readouterr().err.count("one class, zebra; a classifier needs two or more") == 1


def test_prompts_have_the_right_articles(tmp_path: Path) -> None:
    """Recipes without such names are as they were."""
    birds = {"subtypes": {"owl": ["eagle owl", "barn owl"]}}
    scaffold("x", classes=["owl", "snow goose"], out=tmp_path, **birds)  # type: ignore[arg-type]
    prompts = {
        recipe.name: [row.prompt for row in plan(recipe).rows(0, 2)]
        for recipe in load_recipes(tmp_path / "x")
        if not recipe.is_combination
    }
    assert prompts["base-class"] == ["an image of an owl", "an image of a snow goose"]
    assert prompts["recommended"] == prompts["base-class"]
    assert prompts["class-prompt"] == ["owl", "snow goose"]
    assert [text.partition(" of ")[2] for text in prompts["multi-domain"]] == [
        "an owl",
        "a snow goose",
    ]
    warnings = [one.message for one in lint(load_recipes(tmp_path / "x"))]
    assert [one for one in warnings if "article" in one] == [
        one for one in warnings if "'a eagle owl'" in one
    ]
    scaffold("y", classes=["heron", "goose"], out=tmp_path)
    assert "article" not in (tmp_path / "y/base-class.yaml").read_text()


@pytest.mark.parametrize("style", STYLES)
def test_domains_have_the_right_articles(style: str, tmp_path: Path) -> None:
    scaffold("x", classes=["owl", "goose"], out=tmp_path, style=style)
    assert not [one for one in lint(load_recipes(tmp_path / "x")) if "article" in str(one)]
