"""Inputs that `build` rejects: the messages, and an unchanged directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from build_parts import SETTINGS, FakeRenderer, combination, recipe, tree

from factory.builder.build import BuildReport, build
from factory.common.errors import Failure, UserError
from factory.inspection.verify import verify_set
from factory.shards.settings import BuildSettings


def generate(recipes: Any, out: Path, **changes: Any) -> BuildReport:
    options = {"settings": SETTINGS, "show_progress": False, "renderer_factory": FakeRenderer}
    return build(recipes, out, **(options | changes))


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """Return a dataset of 15 images."""
    generate(recipe(tmp_path, "base"), tmp_path / "out")
    return tmp_path / "out"


def refused(recipes: Any, out: Path, message: str, **changes: Any) -> None:
    before = tree(out) if out.is_dir() else None
    with pytest.raises(UserError, match=message):
        generate(recipes, out, **changes)
    assert (tree(out) if out.is_dir() else None) == before


def test_another_recipe_of_the_same_name(begun: Path, tmp_path: Path) -> None:
    other = recipe(tmp_path, "base", prompt="one {class}")
    message = r"(?s)recipes/base\.yaml: .*-prompt: a \{class\}.*\+prompt: one \{class\}"
    refused(other, begun, message)


def test_a_set_that_an_older_lanczos_resized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dataset is valid, and images resized by another version are not added to it."""
    keys = {"output": {"size": 8, "resample": "lanczos"}}
    with monkeypatch.context() as older:
        older.setattr("factory.recipe.validate.pinned_output", lambda output: output)
        generate(recipe(tmp_path, "base", **keys), tmp_path / "out")
    assert verify_set(tmp_path / "out").whole
    grown = recipe(tmp_path, "base", images_per_class=9, **keys)
    refused(grown, tmp_path / "out", r"(?s)another recipe .*\+  lanczos_version: 2")


def test_fewer_images(begun: Path, tmp_path: Path) -> None:
    fewer = recipe(tmp_path, "base", images_per_class=4)
    refused(fewer, begun, "base has 15 images, but 12 were requested; a dataset is never shortened")


def test_other_classes(begun: Path, tmp_path: Path) -> None:
    other = recipe(tmp_path, "other", classes=["cat", "frog"])
    refused(other, begun, r"has cat, dog, ship \(3\), but recipe other has cat, frog")


def test_recipes_of_different_classes(tmp_path: Path) -> None:
    recipes = [recipe(tmp_path, "base"), recipe(tmp_path, "other", classes=["frog"])]
    refused(recipes, tmp_path / "out", "other and base have different classes")


def test_two_recipes_of_one_name(tmp_path: Path) -> None:
    recipes = [recipe(tmp_path, "base"), recipe(tmp_path, "base", prompt="{class}")]
    refused(recipes, tmp_path / "out", "two different recipes are named base")


def test_a_variable_of_two_types(begun: Path, tmp_path: Path) -> None:
    text = recipe(tmp_path, "text", prompt="{d} {class}", variables={"d": ["x", "y"]})
    number = recipe(tmp_path, "number", prompt="{d} {class}", variables={"d": [1, 2]})
    generate(text, begun)
    refused(number, begun, "variable d of number is int64, but string in another config")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (BuildSettings(batch_size=2), r"batch_size 2 \(recorded: 4\); remove these options"),
        (BuildSettings(shard_size=4, threads=2), r"shard_size 4 \(recorded: 8\), threads 2"),
        (BuildSettings(dtype="bfloat16"), r"dtype bfloat16 \(recorded: float32\)"),
        (BuildSettings(batch_size=0), "batch_size 0: expected 1 or more"),
        (BuildSettings(dtype="float8"), "dtype float8: expected auto, float32"),
        (
            BuildSettings(guidance_interval="0,.60"),
            r"base was generated from another recipe .*\n  \+  guidance_interval: \[0, 0\.6\]",
        ),
        (BuildSettings(guidance_interval="0.6"), "guidance_interval is '0.6'; give START,STOP"),
    ],
)
def test_other_settings(begun: Path, tmp_path: Path, settings: BuildSettings, message: str) -> None:
    refused(recipe(tmp_path, "base"), begun, message, settings=settings)


def test_omitted_settings_are_those_of_the_dataset(begun: Path, tmp_path: Path) -> None:
    grown = recipe(tmp_path, "base", images_per_class=8)
    generate(grown, begun, settings=BuildSettings())
    assert len(list((begun / "data/base").iterdir())) == 3


def test_a_directory_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("mine")
    refused(recipe(tmp_path, "base"), tmp_path / "out", r"is not empty .*thesis\.tex")


def test_a_file_at_the_directorys_path(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    refused(recipe(tmp_path, "base"), tmp_path / "out", "is a file; name a directory")


def test_a_damaged_manifest(begun: Path, tmp_path: Path) -> None:
    (begun / "manifest.json").write_text('{"format": 1')
    refused(recipe(tmp_path, "base"), begun, r"manifest\.json: is not a manifest of this version")


def test_a_missing_model_begins_no_directory(tmp_path: Path) -> None:
    """Tests are offline, so the model of a Hub id is missing."""
    missing = recipe(tmp_path, "base")
    refused(
        missing, tmp_path / "out", "model tests/none@0+: cannot be loaded", renderer_factory=None
    )
    assert not (tmp_path / "out").exists()


def test_a_share_too_large_for_a_set_that_was_asked_for(tmp_path: Path) -> None:
    recipe(tmp_path, "base", images_per_class=10)
    recipe(tmp_path, "word", prompt="{class}")
    share = combination(tmp_path, "share", ["base", "word"], images_per_class=8)
    small = recipe(tmp_path, "base", images_per_class=2)
    refused([small, share], tmp_path / "out", "takes 4 images per class of base, which has 2")


class Broken(FakeRenderer):
    def render(self, rows: Any, *, batch_size: int) -> Any:
        raise Failure("the model produced NaN or infinite values for image 0")


def test_a_failure_to_generate_passes_through(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="infinite values for image 0"):
        generate(recipe(tmp_path, "base"), tmp_path / "out", renderer_factory=Broken)
    assert [path.name for path in tmp_path.rglob(".*")] == [".generations"]


def test_a_path_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(recipe(tmp_path, "base"), tmp_path / "file" / "out", r"file: is a file; name a direc")


def test_a_size_that_no_pipeline_generates_is_refused_with_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"height: 33 is not a multiple of 8; write 32"):
        recipe(tmp_path, "base", model={"id": "embedded", "height": 33, "width": 32})


def test_growth_that_is_stopped_leaves_no_row_twice(begun: Path, tmp_path: Path) -> None:
    class Stopping(FakeRenderer):
        calls = 0

        def render(self, rows: Any, *, batch_size: int) -> Any:
            Stopping.calls += 1
            if Stopping.calls > 2:
                raise Failure("stopped")
            return super().render(rows, batch_size=batch_size)

    with pytest.raises(Failure):
        generate(recipe(tmp_path, "base", images_per_class=20), begun, renderer_factory=Stopping)
    (config,) = yaml.safe_load((begun / "README.md").read_text().split("---")[1])["configs"]
    read = datasets.Dataset.from_parquet(
        [str(begun / file) for file in config["data_files"][0]["path"]],
        cache_dir=str(tmp_path / "cache"),
    )
    assert read["index"][:] == list(range(15))
    assert len(list((begun / "data" / "base").glob("train-*"))) > 2


def test_a_dataset_that_another_launch_begins_meanwhile_is_accepted(
    begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, aside = Path.iterdir, tmp_path / "aside.json"
    (begun / "manifest.json").rename(aside)

    def listed_as_it_appears(path: Path) -> Any:
        if path == begun and aside.exists():
            aside.rename(begun / "manifest.json")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", listed_as_it_appears)
    assert generate(recipe(tmp_path, "base"), begun).generated == 0
