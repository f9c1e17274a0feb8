from pathlib import Path

import pytest

from factory.common.errors import UserError
from factory.planner.plan import plan
from factory.recipe.library import load_recipes
from factory.recipe.scaffold import class_names, scaffold

NAMES = ["base-class", "class-prompt", "multi-domain", "random-guidance", "all-combined"]


def test_the_folder_passes_check(tmp_path: Path) -> None:
    paths = scaffold("birds", classes=["no", "snow owl", "7"], out=tmp_path / "new")
    assert [path.stem for path in paths] == [*NAMES, "schema"]
    recipes = load_recipes(tmp_path / "new" / "birds")
    assert [recipe.name for recipe in recipes] == NAMES
    assert recipes[0].labels == ("no", "snow_owl", "7")
    assert plan(recipes[0]).rows(0, 2)[1].prompt == "an image of a snow owl"
    for path in paths[:-1]:
        lines = path.read_text().splitlines()
        assert lines[0] == "# yaml-language-server: $schema=schema.json"
        assert lines[1].startswith("# Question: ")
        assert lines[2].startswith("# Command: data-factory build ")
        assert lines[3].startswith("# Images: ")
        assert "the weights of the model `embedded` are for research only" in lines[4]


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
    assert names == [name for name in NAMES if name != "random-guidance"]


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
