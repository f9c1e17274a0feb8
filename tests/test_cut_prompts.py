"""Prompts over a model's token limit: counted per text encoder; cut values are rejected."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_families
from test_families import recipe_for

from factory.builder.build import BuildOptions, build
from factory.cli import check
from factory.common.errors import UserError
from factory.models.embedded import embedded_dir
from factory.planner.cut_prompts import cut_faults, cut_prompts
from factory.planner.plan import plan
from factory.planner.possible_prompts import possible_prompts
from factory.recipe.library import load_recipe
from factory.recipe.schema import Model
from factory.recipe.text_encoders import encoders_at_hand, encoders_of_pipeline
from factory.renderer.pipelines import Pipelines
from factory.shards.settings import BuildSettings

LONG = "a photo of a small table in a field under a sky with a house and a tree and a boat near "
SETTINGS = BuildSettings(batch_size=4, shard_size=8, dtype="float32", device="cpu")
# Limits of the tiny models: their CLIP tokenizers read 32 tokens, T5's limit is the pipeline's own.
LIMITS = {
    "stable_diffusion": {"tokenizer": 32},
    "sdxl": {"tokenizer": 32, "tokenizer_2": 32},
    "sd3": {"tokenizer": 32, "tokenizer_2": 32, "tokenizer_3": 256},
    "pixart": {"tokenizer": 120},
    "flux": {"tokenizer": 32, "tokenizer_2": 512},
}


def write(folder: Path, prompt: Any, **keys: Any) -> Path:
    import yaml

    text = {
        "name": "r",
        "classes": ["cat", "dog"],
        "images_per_class": 2,
        "prompt": prompt,
        "sampling": {"num_inference_steps": 1, "guidance_scale": 1, "noise": "shared"},
        "model": {"id": "embedded"},
        "output": {"size": 8},
    }
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump(text | keys))
    return path


def run_check(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    check.add_arguments(parser)
    check.run(parser.parse_args(arguments))


def test_a_class_name_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, LONG + "a {class}")
    message = (
        r"prompt: embedded truncates \{class\} in 4 of 4 images: tokenizer reads 20 of up to "
        r"\d+ tokens; .*--allow-cut-prompts"
    )
    with pytest.raises(UserError, match=message):
        run_check(str(path))
    out = tmp_path / "out"
    with pytest.raises(UserError, match=message):
        build(load_recipe(str(path)), out, settings=SETTINGS, show_progress=False)
    assert not out.exists()


def test_cut_prompts_can_be_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, LONG + "a {class}")
    run_check(str(path), "--allow-cut-prompts")
    assert "truncates {class} in 4 of 4 images" in capsys.readouterr().err
    options = BuildOptions(allow_cut_prompts=True, show_progress=False)
    report = build(load_recipe(str(path)), tmp_path / "out", settings=SETTINGS, options=options)
    assert report.generated == 4
    assert "truncates {class} in 4 of 4 images" in capsys.readouterr().err


def test_words_after_the_last_value_are_only_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "a {class}, " + LONG)
    run_check(str(path))
    assert "4 of 4 prompts exceed the token limit of embedded: tokenizer" in capsys.readouterr().err
    with pytest.raises(UserError, match="exceed the token limit of embedded"):
        run_check(str(path), "--strict")
    run_check(str(write(tmp_path, "a photo of a {class}")))
    assert "embedded" not in capsys.readouterr().err


def test_values_of_variables_captions_and_negative_prompts_count(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a cat\n" + LONG + "\n")
    captions = {"c": {"captions": {"file": "captions.txt", "order": "cycle"}}}
    path = write(tmp_path, "{class} {c}", variables=captions)
    with pytest.raises(UserError, match=r"truncates \{c\} in 2 of 4 images"):
        run_check(str(path))
    place = {"place": {"cycle": ["sea", "port"]}}
    keys = {"negative_prompt": LONG + "{place}", "sampling": {"guidance_scale": 3}}
    path = write(tmp_path, "a {class} {place}", variables=place, **keys)
    with pytest.raises(UserError, match=r"truncates \{place\} in 4 of 4 images"):
        run_check(str(path))


def test_a_value_that_is_read_once_is_not_lost(tmp_path: Path) -> None:
    recipe = load_recipe(str(write(tmp_path, "a {class}, " + LONG + "a {class}")))
    errors, warnings = cut_faults(recipe, encoders_at_hand(recipe.model))
    assert not errors and len(warnings) == 1


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    root = tmp_path_factory.mktemp("cut")

    def save(name: str) -> Path:
        if not (root / name).is_dir():
            pipeline = getattr(tiny_families, name)(root / f"parts-{name}")
            pipeline.save_pretrained(root / name)
        return root / name

    return save


@pytest.mark.parametrize("family", LIMITS)
def test_limits_are_those_of_each_text_encoder(saved: Callable[[str], Path], family: str) -> None:
    folder = saved(family)
    at_hand = encoders_at_hand(Model(id=str(folder)))
    loaded = encoders_of_pipeline(Pipelines(device="cpu").get(recipe_for(folder)))
    assert {one.name: one.limit for one in at_hand} == LIMITS[family]
    assert {one.name: one.limit for one in loaded} == LIMITS[family]
    for one, other in zip(at_hand, loaded, strict=True):
        assert one.count(LONG) == other.count(LONG) > 32


# The tiny tokenizers make a token of every letter: 40 words are over 120, 150 over 512.
@pytest.mark.parametrize(
    ("family", "words", "refused", "printed"),
    [
        ("sdxl", 10, True, "tokenizer reads 32 of up to 35 tokens, tokenizer_2 reads 32 of"),
        (
            "sd3",
            10,
            False,
            r"tokenizer_2 reads 32 of up to 35 tokens \(tokenizer_3 reads all of them\)",
        ),
        ("sd3", 100, True, "tokenizer_3 reads 256 of"),
        ("flux", 100, False, r"\(tokenizer_2 reads all of them\)"),
        ("flux", 200, True, "tokenizer_2 reads 512 of"),
        ("pixart", 10, None, ""),
        ("pixart", 60, True, "tokenizer reads 120 of"),
    ],
)
def test_a_value_is_lost_where_no_encoder_reads_it(
    saved: Callable[[str], Path], family: str, words: int, refused: bool | None, printed: str
) -> None:
    import re

    prompt = [{"text": "abc " * words + "{class}"}]
    recipe = recipe_for(saved(family), prompt=prompt)
    errors, warnings = cut_faults(recipe, encoders_at_hand(recipe.model))
    assert (bool(errors), bool(warnings)) == (refused is True, refused is False)
    for fault in (*errors, *warnings):
        assert re.search(printed, fault.message), fault.message


def test_large_plans_are_sampled_over_their_length(tmp_path: Path) -> None:
    recipe = load_recipe(str(write(tmp_path, LONG + "{class}", images_per_class=100_000)))
    found = cut_prompts(recipe, encoders_at_hand(recipe.model), most=12_000)
    assert (found.images, found.cut, found.lost) == (12_000, 12_000, {"class": 12_000})


def test_models_of_the_hub_are_checked_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "a" * 40
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert encoders_at_hand(Model(id="org/model", revision=commit)) == []
    snapshot = tmp_path / "cache" / "models--org--model" / "snapshots" / commit
    shutil.copytree(embedded_dir() / "tokenizer", snapshot / "tokenizer")
    shutil.copy(embedded_dir() / "model_index.json", snapshot)
    found = encoders_at_hand(Model(id="org/model", revision=commit))
    assert [(one.name, one.limit) for one in found] == [("tokenizer", 20)]
    (snapshot / "tokenizer" / "tokenizer.json").write_text("{")
    assert encoders_at_hand(Model(id="org/model", revision=commit)) == []


def test_members_of_a_combination_are_checked(tmp_path: Path) -> None:
    write(tmp_path, LONG + "a {class}")
    (tmp_path / "both.yaml").write_text("name: both\ncombine: [r]\n")
    with pytest.raises(UserError, match=r"truncates \{class\} in 4 of 4 images"):
        run_check(str(tmp_path / "both.yaml"))


VALUES = {
    "variables": {
        "size": {"per_class": {"cat": [1000000, 2]}, "default": [0.5, 1000000]},
        "place": {"once": ["here", "there"]},
        "pair": {"linked": ["day", "hour"], "values": [["mon", 1], ["tue", 2.5]]},
        "count": {"integers": [1, 3]},
    },
    "classes": [{"label": "cat", "prompt": ["cat", "kitten"]}, {"label": "dog", "tail": "long"}],
}


@pytest.mark.parametrize(
    ("prompt", "keys"),
    [
        ("plain", {}),
        (["a {class}", "the {label} {size}"], VALUES),
        (
            "{class} {place} {count} {day} {hour}",
            VALUES | {"negative_prompt": "no {count}", "sampling": {"guidance_scale": 2}},
        ),
    ],
)
def test_possible_prompts_contain_those_of_the_plan(
    tmp_path: Path, prompt: Any, keys: dict[str, Any]
) -> None:
    recipe = load_recipe(str(write(tmp_path, prompt, images_per_class=40, **keys)))
    rows = plan(recipe).rows(0, 80)
    texts = possible_prompts(recipe)
    assert texts is not None
    assert {row.prompt for row in rows} | {row.negative_prompt for row in rows} <= texts


@pytest.mark.parametrize("value", [{"uniform": [0, 1]}, {"integers": [1, 900]}])
def test_many_prompts_are_not_listed(tmp_path: Path, value: dict[str, Any]) -> None:
    keys = {"variables": {"x": value}}
    recipe = load_recipe(str(write(tmp_path, "a {class} {x}", **keys)))
    assert possible_prompts(recipe) is None


def test_many_templates_are_not_listed(tmp_path: Path) -> None:
    keys = {"variables": {"x": {"integers": [1, 300]}}}
    recipe = load_recipe(str(write(tmp_path, [f"{n} {{class}} {{x}}" for n in range(2)], **keys)))
    assert possible_prompts(recipe) is None


@pytest.mark.parametrize(
    ("module", "model"),
    [
        ("numpy", {"id": "embedded"}),
        # The Hub's client, for a model of which the cache has no file.
        ("huggingface_hub.file_download", {"id": "nobody/nothing", "revision": "0" * 40}),
    ],
)
def test_a_check_of_few_prompts_imports_little(
    tmp_path: Path, module: str, model: dict[str, str]
) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from factory.command_line.cli import start; start()"
    )
    recipe = write(tmp_path, "a {class}", model=model)
    done = subprocess.run(
        [sys.executable, "-c", code, "check", recipe], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "ok: 1 recipe, 4 images to generate\n"), (
        done.stderr
    )
