"""`diff`: the changes, and the shards a build would generate, compared with such a build."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from build_parts import SETTINGS, FakeRenderer, combination, recipe, tree

from factory.builder.build import build
from factory.cli import diff as command
from factory.common.errors import UserError
from factory.inspection.diff import Change, ConfigDifference, diff
from factory.shards.settings import BuildSettings


def generate(recipes: Any, out: Path, **changes: Any) -> Any:
    options = {"settings": SETTINGS, "show_progress": False, "renderer_factory": FakeRenderer}
    return build(recipes, out, **(options | changes))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return a dataset of 15 images in shards of 8."""
    generate(recipe(tmp_path, "base"), tmp_path / "out")
    return tmp_path / "out"


def only(found: Any) -> ConfigDifference:
    (config,) = found.configs
    assert isinstance(config, ConfigDifference)
    return config


def test_a_dataset_does_not_differ_from_its_copy_and_its_recipe(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "copy")
    assert diff(str(out), str(tmp_path / "copy")).same
    found = diff(str(out), str(tmp_path / "base.yaml"))
    assert found.same
    assert only(found).shards is not None
    assert (only(found).shards.kept, only(found).shards.generated) == (2, 0)  # type: ignore[union-attr]


def test_changes_of_a_recipe_are_reported_by_key(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    recipe(tmp_path / "a", "base", variables={"d": ["x", "y"]})
    recipe(
        tmp_path / "b",
        "base",
        classes=["cat", {"label": "dog", "prompt": "a puppy"}, "ship"],
        sampling={"guidance_scale": 7, "num_inference_steps": 2},
        summary="Puppies.",
    )
    config = only(diff(str(tmp_path / "a/base.yaml"), str(tmp_path / "b/base.yaml")))
    assert config.changes == (
        Change("classes.dog.prompt", "dog", "a puppy"),
        Change("variables", {"d": ["x", "y"]}, "absent"),
        Change("sampling.guidance_scale", {"uniform": [1.0, 5.0]}, 7),
        Change("summary", "absent", "Puppies."),
    )
    assert not config.same_images
    assert config.shards is None, "no set, no shards"


def test_another_order_of_classes_is_a_difference(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    recipe(tmp_path, "base")
    recipe(tmp_path / "b", "base", classes=["dog", "cat", "ship"])
    config = only(diff(str(tmp_path / "base.yaml"), str(tmp_path / "b/base.yaml")))
    assert [change.key for change in config.changes] == ["order of classes"]


@pytest.mark.parametrize(
    ("count", "kept", "completed", "generated"), [(5, 2, 0, 0), (6, 1, 1, 1), (20, 1, 1, 6)]
)
def test_growth_generates_the_reported_shards(
    out: Path, tmp_path: Path, count: int, kept: int, completed: int, generated: int
) -> None:
    before = set(tree(out).values())
    grown = recipe(tmp_path, "base", images_per_class=count)
    shards = only(diff(str(out), str(tmp_path / "base.yaml"))).shards
    assert shards is not None
    assert (shards.kept, shards.completed, shards.generated) == (kept, completed, generated)
    generate(grown, out)
    data = [digest for file, digest in tree(out).items() if file.startswith("data/")]
    assert len(data) == kept + completed + generated
    assert sum(digest in before for digest in data) >= kept


def test_a_difference_of_recipes_generates_all_images_again(out: Path, tmp_path: Path) -> None:
    other = recipe(tmp_path, "base", prompt="one {class}")
    config = only(diff(str(out), str(tmp_path / "base.yaml")))
    assert config.changes == (Change("prompt", "a {class}", "one {class}"),)
    assert config.shards is not None
    assert (config.shards.kept, config.shards.generated) == (0, 2)
    with pytest.raises(UserError, match="was generated from another recipe"):
        generate(other, out)


def test_datasets_with_other_settings_differ(out: Path, tmp_path: Path) -> None:
    settings = BuildSettings(batch_size=2, shard_size=8, dtype="float32")
    generate(recipe(tmp_path, "base", images_per_class=6), tmp_path / "b", settings=settings)
    found = diff(str(out), str(tmp_path / "b"))
    assert found.settings == (Change("settings.batch_size", 4, 2),)
    config = only(found)
    assert config.images == (15, 18)
    assert config.same_images
    assert config.shards is not None
    assert (config.shards.generated, config.shards.why[:29]) == (3, "different settings.batch_size")


def test_configs_of_one_side_and_combinations(out: Path, tmp_path: Path) -> None:
    word = recipe(tmp_path, "word", prompt="{class}")
    both = combination(tmp_path, "both", ["base", "word"])
    share = combination(tmp_path, "share", ["base", "word"], images_per_class=2)
    generate([word, both, share], tmp_path / "more")
    found = {one.name: one for one in diff(str(out), str(tmp_path / "more")).configs}
    assert found["word"].images == (None, 15)
    assert found["both"].shards is not None
    assert found["both"].shards.why == "uses the files of its members"
    assert found["share"].shards is not None
    assert found["share"].shards.why == "new"
    back = {one.name: one for one in diff(str(tmp_path / "more"), str(out)).configs}
    assert back["word"].images == (15, None)


def test_fewer_images_are_refused(out: Path, tmp_path: Path) -> None:
    recipe(tmp_path, "base", images_per_class=2)
    assert only(diff(str(out), str(tmp_path / "base.yaml"))).shards is None


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


def test_the_diff_command_prints_differences_and_sets_the_exit_status(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe(tmp_path, "base", images_per_class=20)
    sides = (str(out), str(tmp_path / "base.yaml"))
    assert run(*sides) == 0
    assert capsys.readouterr().out.splitlines() == [
        "base: same images, 15 -> 60 images",
        "  images_per_class: 5 -> 20",
        "  shards: 1 kept, 1 completed, 6 generated (grown: existing rows are kept)",
    ]
    assert run(*sides, "--exit-code") == 1
    assert run(str(out), str(out), "--exit-code") == 0
    capsys.readouterr()
    run(*sides, "--json")
    assert json.loads(capsys.readouterr().out)["configs"][0]["images"] == [15, 60]


def test_input_that_is_neither_dataset_nor_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no recipe"):
        diff(str(tmp_path / "nothing"), str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="is not a dataset"):
        diff("memory://nothing", "memory://nothing")
