import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recipe_texts import BASE, write
from write_reference import EXAMPLES

from factory.common.errors import UserError
from factory.data.columns import features, fixed_columns
from factory.planner.plan import plan
from factory.recipe.library import (
    list_recipes,
    load_recipe,
    load_recipes,
    load_stored_recipe,
    packaged_dir,
)
from factory.recipe.lint import lint

ROOT = Path(__file__).parent.parent


def test_packaged_recipes_load_and_lint_clean() -> None:
    folders = {Path(entry.name).parent.as_posix() for entry in list_recipes()}
    assert {"quickstart", "cifar10", "beyond/cifar10"} <= folders
    for folder in folders:
        recipes = load_recipes(folder)
        # The paper words CIFAR-100 by bare names and saw some go wrong: that is what is warned of.
        assert [w for w in lint(recipes) if "in `classes`" not in w.message] == []
        for recipe in recipes:
            assert plan(recipe).rows(0, 1)


def test_packaged_class_lists() -> None:
    sizes = {"digits": 10, "cifar10": 10, "cifar100-senses": 100, "eurosat": 10}
    for name, size in sizes.items():
        recipe = load_recipe("quickstart/base-class", overrides=[f"classes={name}"])
        assert len(recipe.labels) == size
        # The demo generator does not know, or was not measured on, all words of these lists.
        own = ("does not know", "not among its main classes")
        assert [one for one in lint([recipe]) if not any(map(one.message.count, own))] == []
    assert load_recipe("quickstart/base-class").labels == tuple("0123456789")


def test_order_and_members() -> None:
    names = [recipe.name for recipe in load_recipes("quickstart")]
    assert names == [
        "base-class",
        "class-prompt",
        "multi-domain",
        "random-guidance",
        "all-combined",
    ]
    assert [one.name for one in load_recipes("quickstart/all-combined")] == names
    union = load_recipe("quickstart/all-combined")
    assert union.is_combination
    assert [member.name for member in union.members] == names[:-1]
    assert union.variable_types == {"domain": "string"}


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, my_set=BASE) / "my-set.yaml")
    assert recipe.name == "my-set"
    assert recipe.sampling.guidance_scale.values() == [7.5]
    assert recipe.sampling.num_inference_steps.values() == [50]
    assert recipe.output.size is None
    assert recipe.output.format == "png"
    assert recipe.variable_types == {}


def test_a_child_is_merged_key_by_key(tmp_path: Path) -> None:
    write(
        tmp_path,
        top=BASE
        + "summary: old\nvariables: {a: [1, 2], b: {uniform: [1, 2]}}\n"
        + "sampling: {guidance_scale: 3, seed: 5}\noutput: {size: 32}\n",
        child="extends: top\nvariables: {b: {integers: [1, 9]}, a: null, c: x}\n"
        "sampling: {guidance_scale: {uniform: [1, 5]}}\noutput: null\n",
    )
    recipe = load_recipe(tmp_path / "child.yaml")
    assert sorted(recipe.variables) == ["b", "c"]
    assert recipe.variable_types == {"b": "int64", "c": "string"}
    assert recipe.sampling.guidance_scale.bounds() == (1, 5)
    assert recipe.sampling.seed == 5
    assert recipe.output.size is None
    assert (recipe.name, recipe.summary) == ("child", "")


def test_another_model_inherits_no_model_keys(tmp_path: Path) -> None:
    other = "{id: org/one, revision: abc, scheduler: DDIMScheduler, height: 64}"
    write(
        tmp_path,
        top=BASE.replace("{id: embedded}", other),
        same="extends: top\nmodel: {height: 32}\n",
        new="extends: top\nmodel: {id: org/two}\n",
    )
    same = load_recipe(tmp_path / "same.yaml").model
    assert (same.id, same.revision, same.height) == ("org/one", "abc", 32)
    new = load_recipe(tmp_path / "new.yaml").model
    assert (new.id, new.revision, new.scheduler, new.height) == ("org/two", None, None, None)
    given = load_recipe(tmp_path / "same.yaml", model="org/three@main").model
    assert (given.id, given.revision, given.scheduler) == ("org/three", "main", None)


def test_a_local_model_is_found_from_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model_index.json").write_text("{}")
    write(tmp_path, r=BASE.replace("{id: embedded}", "{id: ./weights}"))
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.model.id == str(tmp_path / "weights")
    assert lint([recipe]) == []


def test_a_combination_drops_inherited_keys(tmp_path: Path) -> None:
    write(tmp_path, one=BASE, two="extends: one\n", all="extends: one\ncombine: [one, two]\n")
    union = load_recipe(tmp_path / "all.yaml")
    assert union.combine == ("one", "two")
    # Inherited like any other key: a share of as many images as the parent has.
    assert union.images_per_class == 2


def test_faults_of_a_parent_point_into_its_file(tmp_path: Path) -> None:
    write(tmp_path, top=BASE + "sampling: {seed: -1}\n", a="extends: top\n", b="extends: top\n")
    with pytest.raises(UserError) as raised:
        load_recipes(tmp_path)
    (fault,) = raised.value.faults
    assert (fault.file, fault.line) == (str(tmp_path / "top.yaml"), 5)


def test_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    write(tmp_path, a=BASE + "x: 1\n", b=BASE + "y: 1\nz: 1\n")
    with pytest.raises(UserError) as raised:
        load_recipes(tmp_path)
    assert [fault.key for fault in raised.value.faults] == ["x", "y", "z"]


def test_cycles_name_the_chain(tmp_path: Path) -> None:
    write(tmp_path, a="extends: b\n", b="extends: c\n", c="extends: a\n")
    with pytest.raises(UserError, match="extend each other in a circle: a -> b -> c -> a"):
        load_recipe(tmp_path / "a.yaml")
    write(tmp_path, a="combine: [b]\n", b="combine: [a]\n")
    with pytest.raises(UserError, match="combine each other in a circle: a -> b -> a"):
        load_recipe(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sampling.sed=1", "--set sampling.sed=1: sampling.sed: unknown key; did you mean 'seed'?"),
        ("sampling", "--set sampling: expected KEY=VALUE, e.g. sampling.seed=1"),
        ("a..b=1", "--set a..b=1: expected KEY=VALUE, e.g. sampling.seed=1"),
        ("output.size=big", "--set output.size=big: output.size: expected pixels or"),
        (
            "prompt.x=1",
            "--set prompt.x=1: 'x' cannot be set: the value that should contain it",
        ),
        ("prompt=[", r"--set prompt=\[: is not valid YAML here"),
        ("prompt={class}", "prompt: {class} is a mapping in YAML; quote it: '{class}'"),
        ("extends=x", "--set extends=x: the parent cannot be set on the command line"),
    ],
)
def test_bad_overrides(change: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, r=BASE)
    with pytest.raises(UserError, match=message):
        load_recipe(tmp_path / "r.yaml", overrides=[change])


def test_overrides(tmp_path: Path) -> None:
    write(tmp_path, r=BASE + "variables: {a: [1, 2]}\n")
    recipe = load_recipe(
        tmp_path / "r.yaml",
        overrides=[
            "sampling.guidance_scale={uniform: [1, 2]}",
            "variables.a=null",
            "variables.b=[x, y]",
            "classes.0=mouse",
            "images_per_class=7",
            "negative_prompt=",
        ],
    )
    assert recipe.sampling.guidance_scale.bounds() == (1, 2)
    assert recipe.variable_types == {"b": "string"}
    assert recipe.labels == ("mouse", "dog")
    assert recipe.images_per_class == 7


def test_images_per_class_leaves_a_union_a_union() -> None:
    *sets, union = load_recipes("quickstart", images_per_class=5)
    assert {recipe.images_per_class for recipe in sets} == {5}
    assert union.images_per_class is None
    assert union.num_images == 200


def test_recipes_of_a_set_agree(tmp_path: Path) -> None:
    write(
        tmp_path,
        a=BASE + "variables: {x: [1, 2]}\n",
        b=BASE + "variables: {x: [s, t]}\n",
        c=BASE.replace("dog", "cow"),
    )
    with pytest.raises(UserError) as raised:
        load_recipes(tmp_path)
    assert [fault.message for fault in raised.value.faults] == [
        "is string here and int64 in a; a column must have one type",
        "the classes differ from those of a; all configs of a dataset have the same classes: "
        "change them, or build into different directories",
    ]
    write(tmp_path, c=BASE + "name: a\n")
    with pytest.raises(UserError, match="another recipe has the name 'a' too"):
        load_recipes(tmp_path)


def test_names_that_some_file_systems_take_for_one_are_refused(tmp_path: Path) -> None:
    write(tmp_path, a="name: Photos\n" + BASE, b="name: photos\n" + BASE)
    with pytest.raises(UserError, match="has the name 'photos' too \\(ignoring letter case\\)"):
        load_recipes(tmp_path)


def test_same_images_as_takes_the_other_sets_samples(tmp_path: Path) -> None:
    write(
        tmp_path,
        a=BASE + "variables: {x: [1, 2, 3]}\nsampling: {guidance_scale: {uniform: [1, 5]}}\n",
        b="extends: a\nsame_images_as: a\noutput: {size: 8}\n",
        c="extends: b\n",
    )
    a, b, c = load_recipes(tmp_path)
    own = [[row._replace(recipe="") for row in plan(one).rows(0, 4)] for one in (a, b, c)]
    assert own[0] == own[1]
    assert own[2] != own[1], "a child of a twin has images of its own"
    assert len({a.fingerprint, b.fingerprint, c.fingerprint}) == 3
    write(tmp_path, d=b.to_yaml())
    assert load_recipe(tmp_path / "d.yaml").fingerprint == b.fingerprint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('same_images_as: a\nprompt: "x {class}"', "differs from a in prompt; only `output` may"),
        ("same_images_as: b", "b generates no images itself; name the recipe that does"),
    ],
)
def test_same_images_as_another_set_with_other_images(
    text: str, message: str, tmp_path: Path
) -> None:
    write(tmp_path, a=BASE, b="extends: a\nsame_images_as: a\n", c=f"extends: a\n{text}\n")
    with pytest.raises(UserError, match=message) as raised:
        load_recipes(tmp_path)
    assert raised.value.faults[0].key == "same_images_as"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("quikstart", "there is no recipe 'quikstart'; did you mean 'quickstart'?"),
        ("quickstart/base", "there is no recipe 'quickstart/base'; did you mean 'quickstart/base-"),
        ("quickstart", "quickstart is a folder of recipes .*; name one of them"),
        ("", "there is no recipe ''"),
        ("animal", "there is no recipe 'animal'; did you mean 'animals'?"),
        ("animals/catts.yaml", "did you mean 'animals/cats.yaml'?"),
    ],
)
def test_unknown_references(
    reference: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "animals").mkdir()
    (tmp_path / "animals/cats.yaml").touch()
    with pytest.raises(UserError, match=message):
        load_recipe(reference)


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"binary.yaml: is not UTF-8 text \(byte 0\)"):
        load_recipe(tmp_path / "binary.yaml")
    (tmp_path / "big.yaml").write_text("a: " + "x" * 1_000_001)
    with pytest.raises(UserError, match="is larger than 1,000,000 bytes"):
        load_recipe(tmp_path / "big.yaml")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty contains no recipes \(\*.yaml\)"):
        load_recipes(tmp_path / "empty")


def test_the_embedded_model_is_pinned(tmp_path: Path) -> None:
    pinned = BASE.replace("{id: embedded}", "{id: embedded, revision: abc}")
    write(tmp_path, r=BASE, old=pinned)
    assert len(load_recipe(tmp_path / "r.yaml").model.revision or "") == 40
    with pytest.raises(UserError, match="abc is not the embedded generator of this version"):
        load_recipe(tmp_path / "old.yaml")


def test_every_example_survives_yaml(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("label,text\nship,a ship at sea\nno,a sign\n")
    variables = "".join(f"  v_{name}: {text}\n" for name, text in EXAMPLES.items())
    sign = '{label: "no", prompt: [a, "1e-4"], depth: {normal: {mean: 1.0e-4, std: 1}}}'
    classes = f"classes: [ship, {sign}]\n"
    rest = "".join(BASE.splitlines(keepends=True)[1:])
    extra = (
        "negative_prompt: '{{blurred}}'\nsampling: {guidance_scale: {loguniform: [1, 5]}}\n"
        "output: {size: [24, 32]}\n"
    )
    write(tmp_path, r=classes + rest + "variables:\n" + variables + extra)
    recipe = load_recipe(tmp_path / "r.yaml")
    write(tmp_path, again=recipe.to_yaml())
    again = load_recipe(tmp_path / "again.yaml")
    assert again.fingerprint == recipe.fingerprint
    assert again.to_yaml() == recipe.to_yaml()
    assert plan(again).rows(0, 4) == plan(recipe).rows(0, 4)


def test_resolved_sets_load_again(tmp_path: Path) -> None:
    recipes = load_recipes("quickstart", images_per_class=3)
    for recipe in recipes:
        (tmp_path / f"{recipe.name}.yaml").write_text(recipe.to_yaml())
    again = load_recipes(tmp_path)
    assert [one.fingerprint for one in again] == [one.fingerprint for one in recipes]
    assert [one.num_images for one in again] == [one.num_images for one in recipes]


def test_fingerprints_change_with_the_content_of_images(tmp_path: Path) -> None:
    write(tmp_path, r=BASE)
    fingerprint = load_recipe(tmp_path / "r.yaml").fingerprint

    def changed(*overrides: str) -> bool:
        other = load_recipe(tmp_path / "r.yaml", overrides=overrides)
        return other.fingerprint != fingerprint

    assert not changed("summary=x", "source=y", "images_per_class=9")
    for one in (
        "prompt='{class}'",
        "sampling.seed=1",
        "output.size=8",
        "classes.0=cow",
        "name=other",
        "model.scheduler=DDIMScheduler",
        "variables.x=[1]",
    ):
        assert changed(one), one
    # The order of weighted values decides which one is sampled.
    texts = [f"variables.x={{choice: {{{order}}}}}" for order in ("a: 1, b: 2", "b: 2, a: 1")]
    first, second = (load_recipe(tmp_path / "r.yaml", overrides=[text]) for text in texts)
    assert first.fingerprint != second.fingerprint


def test_lanczos_names_its_version_and_older_sets_have_none(tmp_path: Path) -> None:
    """Rows of an older version are never mixed with new ones, because the recipes differ."""
    path = write(tmp_path, r=BASE + "output: {size: 8, resample: lanczos}\n") / "r.yaml"
    recipe = load_recipe(path)
    assert recipe.output.lanczos_version == 2
    path.write_text(recipe.to_yaml())
    assert load_stored_recipe(path).fingerprint == load_recipe(path).fingerprint
    path.write_text(recipe.to_yaml().replace("  lanczos_version: 2\n", ""))
    old = load_stored_recipe(path)
    assert old.output.lanczos_version is None
    assert old.fingerprint != recipe.fingerprint
    assert old.images_fingerprint == recipe.images_fingerprint


def test_fast_files_are_part_of_a_recipe_and_do_not_change_its_images(tmp_path: Path) -> None:
    path = write(tmp_path, r=BASE) / "r.yaml"
    plain, fast = load_recipe(path), load_recipe(path, overrides=["output.compression=fast"])
    assert "compression" not in plain.to_yaml()
    assert fast.fingerprint != plain.fingerprint
    assert fast.images_fingerprint == plain.images_fingerprint
    path.write_text(fast.to_yaml())
    assert load_stored_recipe(path).fingerprint == fast.fingerprint


@pytest.mark.parametrize("resample", ["nearest", "bilinear", "bicubic", "lanczos", "area"])
def test_the_default_of_antialias_suits_every_interpolation(resample: str, tmp_path: Path) -> None:
    text = BASE + f"output: {{size: 8, resample: {resample}}}\n"
    recipe = load_recipe(write(tmp_path, r=text) / "r.yaml")
    again = write(tmp_path, again=recipe.to_yaml()) / "again.yaml"
    assert load_recipe(again).output == recipe.output


def test_stored_recipes_of_older_versions_load(tmp_path: Path) -> None:
    """They contain every key, even an `antialias` that nobody wrote."""
    text = BASE + "output: {size: 8, resample: nearest, antialias: true}\n"
    assert load_stored_recipe(write(tmp_path, r=text) / "r.yaml").output.antialias


def test_features_hold_the_rows_in_order(tmp_path: Path) -> None:
    write(tmp_path, r=BASE + "variables: {b: [1.5], a: [x], c: [true], d: [2]}\n")
    recipe = load_recipe(tmp_path / "r.yaml")
    found = features(recipe.labels, recipe.variable_types)
    row = plan(recipe).rows(0, 1)[0].as_row()
    assert list(found) == ["image", *row]
    assert [name for name in found if name in fixed_columns()] == list(fixed_columns())
    types = {name: found[name].dtype for name in found if name not in ("image", "label")}
    assert types["guidance_scale"] == "float32"
    assert types["num_inference_steps"] == types["attempt"] == "int32"
    assert types["seed"] == types["index"] == "int64"
    assert [types[name] for name in "abcd"] == ["string", "float64", "bool", "int64"]


def test_loading_and_planning_start_light() -> None:
    code = (
        "import sys\n"
        "import factory.recipe.library, factory.recipe.lint, factory.recipe.scaffold\n"
        "import factory.planner.plan\n"
        "import factory.cli.check, factory.cli.plan, factory.cli.new, factory.cli.recipes\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'datasets', 'scipy', 'pandas', 'PIL'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


KEYS = st.sampled_from(
    [
        "name",
        "extends",
        "classes",
        "images_per_class",
        "prompt",
        "variables",
        "sampling",
        "model",
        "output",
        "combine",
        "negative_prompt",
        "guidance_scale",
        "uniform",
        "choice",
        "linked",
        "values",
        "per_class",
        "default",
        "id",
        "size",
        "label",
        "text",
        "weight",
        "seed",
        "x",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["{class}", "{x}", "embedded", "r", "digits", "1e-4"])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)
GOOD = yaml.safe_load(BASE)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changes=st.dictionaries(KEYS, TREES, max_size=4), style=st.booleans())
def test_any_tree_loads_or_is_a_user_error(
    changes: dict[str, object], style: bool, tmp_path: Path
) -> None:
    path = tmp_path / "r.yaml"
    text = yaml.safe_dump({**GOOD, **changes}, default_flow_style=style, allow_unicode=True)
    path.write_text(text, encoding="utf-8", errors="replace")
    _load_or_refuse(path)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(alphabet="ab:{}[]-'\"\n &*!|>#,?\t0é\x00%@", max_size=60))
def test_any_text_loads_or_is_a_user_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(BASE + text, encoding="utf-8")
    _load_or_refuse(path)


def _load_or_refuse(path: Path) -> None:
    try:
        recipe = load_recipe(path, images_per_class=2)
    except UserError as error:
        assert error.faults
        assert all(fault.message and "\n" not in fault.message for fault in error.faults)
    else:
        rows = plan(recipe).rows(0, 2)
        assert all(json.dumps(row.as_row()) for row in rows)


def test_packaged_files_are_found() -> None:
    assert (packaged_dir("recipes") / "schema.json").is_file()
