"""`train --push`: a model repository that timm and `eval` load, with a correct card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hub_parts import ORG, run_factory, run_python
from hub_sets import small_set
from huggingface_hub import ModelCard
from localhub import LocalHub
from PIL import Image

SET, MODEL = f"{ORG}/set", f"{ORG}/model"
_LOAD = """
import sys
import timm
import torch

there = timm.create_model(f"hf_hub:{sys.argv[1]}", pretrained=True).state_dict()
here = timm.create_model(f"local-dir:{sys.argv[2]}", pretrained=True).state_dict()
assert all(torch.equal(there[name], here[name]) for name in here)

from PIL import Image
from transformers import pipeline

image = Image.new("RGB", (32, 32), (200, 60, 60))
there, here = (pipeline("image-classification", model=name)(image) for name in sys.argv[1:])
assert there == here, (there, here)
"""
_SHOW = """
import json

print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_run_is_published_loaded_scored_and_published_again(
    either_hub: LocalHub, tmp_path: Path
) -> None:
    hub, home, run = either_hub, tmp_path / "home", tmp_path / "run"
    out = small_set(tmp_path / "set")
    assert run_factory(hub, home, "push", out, SET, "--tag", "v1").returncode == 0
    command = [f"{SET}@v1", "--config", "both", "--model", "test_resnet", "--out", run]
    command += ["--epochs", "1", "--total-batch-size", "8", "--push", MODEL]
    done = run_factory(hub, home, *command, module="train")
    assert done.returncode == 0, done.stderr
    Image.new("RGB", (90, 60), (200, 60, 60)).save(tmp_path / "photo.jpg")
    card = hub.read_text_file(hub.repos["models", MODEL].at("main"), "README.md").decode()
    snippets = [part.split("```")[0] for part in card.split("```python\n")[1:]]
    [snippet] = [one for one in snippets if "from eval import load_classifier\n" in one]
    *_, last, end = snippet.split("\n")
    assert (last, end) == (f'load_classifier("{MODEL}")(images)', "")
    code = snippet.replace(last, f"found = {last}") + _SHOW
    called = run_python(hub, home, f"import os; os.chdir({str(tmp_path)!r})\n{code}")
    assert called.returncode == 0, called.stderr
    asked = ["predict", MODEL, tmp_path / "photo.jpg", f"hf://datasets/{SET}@v1", f"{SET}@v1"]
    done = run_factory(hub, home, *asked, "--config", "base", "--json", module="eval")
    assert done.returncode == 0, done.stderr
    images = json.loads(done.stdout)["images"]
    assert images[0]["path"] == str(tmp_path / "photo.jpg")
    [found] = json.loads(called.stdout)
    labels = [pair["label"] for pair in found]
    count = len(images[0]["predictions"])
    assert labels[:count] == [pair["label"] for pair in images[0]["predictions"]]
    assert images[1]["path"] == f"hf://datasets/{SET}@v1 row 0"
    assert images[-1]["path"].startswith(f"{SET}@v1 row ")
    commit = hub.repos["datasets", SET].tags["v1"]
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["commit"] == commit

    loaded = run_python(hub, home, _LOAD, MODEL, run)
    assert loaded.returncode == 0, loaded.stderr
    score = ["score", MODEL, "--real", f"{SET}@v1", "--config", "base"]
    scores = run / "scores-real.json"
    done = run_factory(hub, home, *score, "--out", scores, module="eval")
    assert done.returncode == 0, done.stderr
    written = json.loads(scores.read_text())
    repo = hub.repos["models", MODEL]
    assert written["model"]["commit"] == repo.at("main").oid
    assert written["real"]["commit"] == commit
    assert written["training"]["data"]["commit"] == commit

    done = run_factory(hub, home, *command, "--tag", "scored", module="train")
    assert done.returncode == 0, done.stderr
    files = repo.at("scored").files
    assert {"README.md", "config.json", "model.safetensors", scores.name} <= files.keys()
    card = ModelCard(hub.read_text_file(repo.at("scored"), "README.md").decode())
    assert (card.data.library_name, card.data.datasets) == ("timm", [SET])
    assert card.data.eval_results[0].metric_value == round(written["metrics"]["top1"], 6)
    assert commit in card.text and written["real"]["name"] in card.text
    assert len(repo.commits) == 3


def test_a_push_that_cannot_succeed_is_reported_before_training(tmp_path: Path) -> None:
    with LocalHub() as hub:
        command = ["ORG/none", "--model", "test_resnet", "--out", tmp_path / "run", "--push", MODEL]
        done = run_factory(hub, tmp_path, *command, module="train", token=hub.read_token)
    assert done.returncode == 2
    assert "is read-only" in done.stderr
    assert not (tmp_path / "run").exists()
