"""Guidance in part of the steps as a key of recipes: with real tiny pipelines, and where it shows.

How it is computed, and which models cannot, is in `test_inference.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from build_parts import SETTINGS, FakeRenderer, combination, recipe, shard, shard_hashes, tree

from eval.report_page.gather import gather
from factory.builder import prepare
from factory.builder.build import build
from factory.common.errors import UserError
from factory.inspection.preview import preview
from factory.inspection.replay import replay
from factory.inspection.verify import Sample, verify_set
from factory.planner.cost import estimate
from factory.planner.plan import plan
from factory.recipe.library import load_recipe, load_stored_recipe
from factory.recipe.resolved import ResolvedRecipe
from factory.shards.manifest import read_manifest
from factory.shards.parquet import read_rows
from factory.shards.settings import BuildSettings, fix

OPTION = replace(SETTINGS, guidance_interval="0.5,1")
GUIDED: dict[str, Any] = {"guidance_scale": {"uniform": [1, 5]}, "num_inference_steps": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.save_stable_diffusion(tmp_path_factory.mktemp("model") / "sd"))


def tiny(
    folder: Path, model: str, interval: Any = None, name: str = "base", **keys: Any
) -> ResolvedRecipe:
    sampling = GUIDED | ({"guidance_interval": interval} if interval else {})
    # Two shards, the second with a single image.
    keys = {"images_per_class": 3, "sampling": sampling} | keys
    return recipe(folder, name, model={"id": model}, output={"size": 16}, **keys)


def generate(
    made: ResolvedRecipe | list[ResolvedRecipe], out: Path, how: BuildSettings = SETTINGS
) -> Path:
    build(made, out, settings=how, show_progress=False)
    return out


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory, model: str) -> Path:
    """Datasets of one recipe: by key, by option, of an earlier version, and guided in all steps."""
    folder = tmp_path_factory.mktemp("datasets")
    plain = tiny(folder, model)
    generate(plain, folder / "all-steps")
    generate(plain, folder / "option", OPTION)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "fix", _as_before)
        generate(plain, folder / "older")
    generate(tiny(folder, model, [0.5, 1]), folder / "key")
    return folder


def _as_before(*args: Any, **options: Any) -> Any:
    """Record the interval as a setting, as builds did before recipes had the key."""
    return replace(fix(*args, **options), guidance_interval="0.5,1")


def pixels(out: Path) -> list[Any]:
    return [read_rows(shard(out, index=index)) for index in range(2)]


def test_the_key_the_option_and_the_earlier_setting_give_the_same_images(datasets: Path) -> None:
    assert tree(datasets / "key") == tree(datasets / "option")
    assert pixels(datasets / "key") == pixels(datasets / "older")
    assert pixels(datasets / "key") != pixels(datasets / "all-steps")
    found = {name: read_manifest(datasets / name) for name in ("key", "older", "all-steps")}
    assert {name: one.settings.guidance_interval for name, one in found.items() if one} == {
        "key": None,
        "older": "0.5,1",
        "all-steps": None,
    }
    of_all, of_key = (found[name].configs["base"] for name in ("all-steps", "key"))  # type: ignore[union-attr]
    assert of_all.fingerprint != of_key.fingerprint
    assert of_all.sampling is not None and of_key.sampling is not None
    assert of_key.sampling == of_all.sampling | {"guidance_interval": [0.5, 1]}


@pytest.mark.parametrize("name", ["key", "older"])
def test_a_dataset_is_verified_and_replayed_with_its_interval(name: str, datasets: Path) -> None:
    report = verify_set(datasets / name, sample=Sample(1.0, allow_local_model=True))
    assert (report.faults, report.compared) == ((), 9)
    found = replay(datasets / name, config="base", index=8, allow_local_model=True)
    assert found.regenerated.same_bytes


def test_a_dataset_with_the_earlier_setting_grows_with_it(
    datasets: Path, model: str, tmp_path: Path
) -> None:
    """Also if the command has the option; another interval is refused."""
    out, once = tmp_path / "grown", tmp_path / "once"
    five, eight = (tiny(tmp_path, model, images_per_class=number) for number in (5, 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "fix", _as_before)
        generate(five, out)
        generate(eight, once)
    generate(five, out, OPTION)
    generate(eight, out, BuildSettings())
    assert tree(out) == tree(once)
    other = replace(SETTINGS, guidance_interval="0,0.5")
    with pytest.raises(UserError, match=r"guidance_interval 0,0\.5 \(recorded: 0\.5,1\)"):
        generate(eight, out, other)
    with pytest.raises(
        UserError,
        match=r"sampling\.guidance_interval: is \[0, 0\.5\], but the dataset was started with "
        r"--guidance-interval 0\.5,1 for all its configs; write \[0\.5, 1\], or build into",
    ):
        generate(tiny(tmp_path, model, [0, 0.5], name="other"), out)
    assert tree(out) == tree(once)


def test_configs_of_a_dataset_have_intervals_of_their_own(model: str, tmp_path: Path) -> None:
    """In any order, each has the bytes that it has alone."""
    intervals = {"first": [0, 0.5], "second": [0.5, 1], "third": None}
    made = [tiny(tmp_path, model, interval, name) for name, interval in intervals.items()]
    out = generate(made, tmp_path / "all")
    for one in made:
        assert shard_hashes(generate(one, tmp_path / one.name)) == {
            one.name: shard_hashes(out)[one.name]
        }
    assert shard_hashes(generate(made[::-1], tmp_path / "reversed")) == shard_hashes(out)
    report = verify_set(out, sample=Sample(1.0, allow_local_model=True))
    assert (report.faults, report.compared) == ((), 27)


def test_the_option_and_another_interval_of_a_recipe_are_refused(tmp_path: Path) -> None:
    recipes = [
        recipe(tmp_path, name, sampling=GUIDED | {"guidance_interval": interval})
        for name, interval in (("one", [0, 0.5]), ("same", [0.5, 1]), ("two", [0.2, 1]))
    ]
    with pytest.raises(UserError) as raised:
        generate(recipes, tmp_path / "out", OPTION)
    assert [str(one) for one in raised.value.faults] == [
        f"{tmp_path}/{name}.yaml:15:3: sampling.guidance_interval: is {found}, but "
        "--guidance-interval is 0.5,1; remove one of them"
        for name, found in (("one", "[0, 0.5]"), ("two", "[0.2, 1]"))
    ]
    assert not (tmp_path / "out").exists()


def test_the_option_reaches_members_and_changes_no_begun_dataset(tmp_path: Path) -> None:
    recipe(tmp_path, "one", sampling=GUIDED)
    recipe(tmp_path, "two", sampling=GUIDED | {"guidance_interval": [0.5, 1]})
    both = combination(tmp_path, "both", ["one", "two"], images_per_class=4)
    out = tmp_path / "out"
    how: dict[str, Any] = {"show_progress": False, "renderer_factory": FakeRenderer}
    before = both.fingerprint
    build(both, out, settings=OPTION, **how)
    stored = load_stored_recipe(out / "recipes" / "both.yaml")
    assert [str(one.sampling.guidance_interval) for one in stored.members] == ["0.5,1"] * 2
    assert stored.fingerprint != before == both.fingerprint
    files = tree(out)
    # Again with the option, and with the recipes that it has written.
    assert build(both, out, settings=OPTION, **how).generated == 0
    assert build(stored, out, settings=SETTINGS, **how).generated == 0
    with pytest.raises(UserError, match=r"another recipe .*\n  -  guidance_interval: \[0\.5, 1\]"):
        build(both, out, settings=SETTINGS, **how)
    assert tree(out) == files


def test_recipes_without_the_key_are_as_before(tmp_path: Path) -> None:
    """The fingerprint is that of versions without the key."""
    plain = recipe(tmp_path, "base")
    assert plain.fingerprint == "098ca6c482e5e82dd8241457016b2cc1b0c050e86ca1a63a92476da2f0051469"
    assert "interval" not in plain.to_yaml()
    (tmp_path / "base.yaml").unlink()
    changed = recipe(tmp_path, "base", sampling=GUIDED | {"guidance_interval": [0.50, 1.0]})
    assert changed.fingerprint != plain.fingerprint
    assert plan(changed).rows(0, 15) == plan(plain).rows(0, 15)
    # Written, set and removed, it is the same key.
    (tmp_path / "stored.yaml").write_text(changed.to_yaml())
    assert load_stored_recipe(tmp_path / "stored.yaml").fingerprint == changed.fingerprint
    for text, expected in ((".5,1", changed), ("[0.5, 1]", changed), ("null", plain)):
        found = load_recipe(
            tmp_path / "base.yaml", overrides=[f"sampling.guidance_interval={text}"]
        )
        assert found.fingerprint == expected.fingerprint
    (tmp_path / "child.yaml").write_text("name: base\nextends: base\nsampling: {seed: 0}\n")
    assert load_recipe(tmp_path / "child.yaml").fingerprint == changed.fingerprint


def test_steps_outside_the_interval_cost_one_call(tmp_path: Path) -> None:
    steps: dict[str, Any] = {"guidance_scale": 3, "num_inference_steps": 12}
    assert estimate(recipe(tmp_path, "all", sampling=steps)).calls == 15 * 24
    limited = recipe(tmp_path, "part", sampling=steps | {"guidance_interval": [0.2, 1]})
    assert estimate(limited).calls == 15 * 22


def test_the_interval_is_shown_beside_the_guidance(
    datasets: Path, model: str, tmp_path: Path
) -> None:
    row = r"| `base` | uniform from 1 to 5 (interval \[0.5, 1\]) | 2 |"
    assert row in (datasets / "key" / "README.md").read_text()
    assert "interval" not in (datasets / "all-steps" / "README.md").read_text()
    (config,) = gather(datasets / "key", own_command="").facts.configs
    assert config.guidance == "1 to 5 (interval [0.5, 1])"
    made = [tiny(tmp_path, model, interval) for interval in ([0.5, 1], None)]
    sheets = [preview(one, rows=1, columns=2, device="cpu") for one in made]
    assert ["uniform from 1 to 5; interval [0.5, 1]; " in one.sampling for one in sheets] == [
        True,
        False,
    ]
    assert sheets[0].sheet.tobytes() != sheets[1].sheet.tobytes()
