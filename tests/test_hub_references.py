"""Parts of a recipe pinned by a Hub commit: captions of a dataset, LoRA adapters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models
from hub_parts import run_factory
from localhub import LocalHub
from localhub_repos import Repo
from recipe_texts import BASE, write
from test_adapters import _save_adapter
from test_hub_recipes import put, team_hub

from factory.builder.build import build
from factory.recipe.library import load_recipe
from factory.shards.settings import BuildSettings

__all__ = ["team_hub"]
TABLE = "label,text\ncat,a cat on a sofa\ncat,two cats\ndog,a wet dog\n"


def prompts(hub: LocalHub, folder: Path, home: Path) -> list[str]:
    done = run_factory(hub, home, "plan", folder / "r.yaml", "--jsonl")
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["prompt"] for line in done.stdout.splitlines()]


def test_captions_come_from_a_dataset_at_its_commit(team_hub: LocalHub, tmp_path: Path) -> None:
    commit = put(team_hub, {"train.csv": TABLE}, repo="team/captions")
    put(team_hub, {"train.csv": TABLE.replace("wet", "dry")}, repo="team/captions")
    source = f"{{dataset: team/captions, revision: {commit}, label_column: label, order: cycle}}"
    text = BASE.replace('"a {class}"', '"{caption}"')
    write(tmp_path, r=text + f"variables: {{caption: {{captions: {source}}}}}\n")
    found = prompts(team_hub, tmp_path, tmp_path / "home")
    assert found == ["a cat on a sofa", "a wet dog", "two cats", "a wet dog"]
    # Read once, they are at hand without the Hub.
    offline = run_factory(
        team_hub, tmp_path / "home", "plan", tmp_path / "r.yaml", "--jsonl", HF_HUB_OFFLINE="1"
    )
    assert [json.loads(line)["prompt"] for line in offline.stdout.splitlines()] == found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("label_column: label", "column: words"), "has no column 'words'; it has: label, text"),
        (("team/captions", "team/nothing"), "team/nothing"),
        (("split: train", "split: test"), "no split 'test'"),
        (("label_column: label", "label_column: text"), "has no captions for class cat"),
    ],
)
def test_captions_that_cannot_be_had(
    change: tuple[str, str], message: str, team_hub: LocalHub, tmp_path: Path
) -> None:
    commit = put(team_hub, {"train.csv": TABLE}, repo="team/captions")
    keys = f"dataset: team/captions, revision: {commit}, label_column: label, split: train"
    text = BASE.replace('"a {class}"', '"{caption}"')
    source = keys.replace(*change)
    write(tmp_path, r=text + f"variables: {{caption: {{captions: {{{source}}}}}}}\n")
    done = run_factory(team_hub, tmp_path / "home", "plan", tmp_path / "r.yaml")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_an_adapter_comes_from_the_hub_at_its_commit(team_hub: LocalHub, tmp_path: Path) -> None:
    from diffusers import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(tiny_models.save_stable_diffusion(tmp_path / "sd"))
    _save_adapter(pipeline, tmp_path / "warm", seed=1)
    (file,) = (tmp_path / "warm").glob("*.safetensors")
    repo = team_hub.repos.setdefault(("models", "team/warm"), Repo("models", "team/warm"))
    blob = team_hub.regular_blob(file.read_bytes())
    commit = repo.add_commit("main", "a commit", "", "someone", {file.name: blob}).oid
    keys = {
        "near": f"id: ./warm/{file.name}",
        "far": f"id: team/warm, revision: {commit}, weight_name: {file.name}",
    }
    base = BASE + "sampling: {num_inference_steps: 2}\nname: r\n"
    for name, adapter in keys.items():
        model = f"{{id: ./sd, adapters: [{{{adapter}}}]}}"
        write(tmp_path, **{name: base.replace("{id: embedded}", model)})
    settings = BuildSettings(batch_size=4, dtype="float32")
    build(load_recipe(tmp_path / "near.yaml"), tmp_path / "out" / "near", settings=settings)
    far = ["build", tmp_path / "far.yaml", tmp_path / "out" / "far", "--quiet"]
    flags = ["--batch-size", "4", "--dtype", "float32"]
    done = run_factory(team_hub, tmp_path / "home", *far, *flags)
    assert done.returncode == 0, done.stderr
    generated = [_images(tmp_path / "out" / name) for name in keys]
    assert generated[0] == generated[1]


def _images(out: Path) -> list[bytes]:
    from datasets import load_dataset

    return [row["image"].tobytes() for row in load_dataset(str(out), split="train")]
