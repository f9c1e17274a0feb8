"""Pushed datasets and models, read by `load_dataset`, `train` and `eval`, also offline."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hub_parts import ORG, run_factory, run_python
from hub_sets import large_set, small_set
from localhub import LocalHub
from quick_python import python

REPO = f"{ORG}/set"
ROOT = Path(__file__).parent.parent

# Compares every row of every config with the directory it was pushed from.
_COMPARE = """
import sys
import datasets
import numpy as np

repo_id, out = sys.argv[1:3]

def hashes(dataset):
    # Encoded images are compared byte by byte; a few are decoded too.
    raw = dataset.cast_column("image", datasets.Image(decode=False))
    return [(row["image"]["bytes"], {k: v for k, v in row.items() if k != "image"}) for row in raw]

configs = datasets.get_dataset_config_names(repo_id, revision="v1")
assert configs == datasets.get_dataset_config_names(out), configs
read = 0
for config in configs:
    here = datasets.load_dataset(out, config)
    there = datasets.load_dataset(repo_id, config, revision="v1")
    assert list(here) == list(there) == ["train"]
    here, there = here["train"], there["train"]
    assert here.features == there.features, (here.features, there.features)
    assert here.features["label"].names == there.features["label"].names
    assert hashes(here) == hashes(there)
    for index in range(0, len(here), 97):
        pixels = [np.asarray(one[index]["image"]) for one in (here, there)]
        assert np.array_equal(*pixels)
    read += len(there)
whole = datasets.DatasetDict(
    {c: datasets.load_dataset(repo_id, c, split="train", revision="v1") for c in configs}
)
assert sum(whole.num_rows.values()) == read
streamed = datasets.load_dataset(repo_id, configs[1], split="train", revision="v1", streaming=True)
assert streamed.features == whole[configs[1]].features
for row, known in zip(streamed, whole[configs[1]], strict=True):
    assert np.array_equal(np.asarray(row.pop("image")), np.asarray(known.pop("image")))
    assert row == known
print(read)
"""

_OFFLINE = """
import sys
import datasets

repo_id, config, out = sys.argv[1:4]
there = datasets.load_dataset(repo_id, config, split="train", revision="v1")
here = datasets.load_dataset(out, config, split="train")
assert there.features == here.features
assert there["seed"][:] == here["seed"][:]
print(len(there))
"""

_OPEN = """
import sys
from factory.common.entry import run_main
from factory.data.open import open_dataset

def main():
    *references, config = sys.argv[1:]
    for reference in references:
        opened = open_dataset(reference, config_name=config)
        opened.dataset[0]["image"]
        sys.stdout.write(f"{opened.commit} {len(opened.dataset)}")

run_main(main)
"""

# A line for each "REFERENCE CONFIG" that is refused: exit status, message.
_REFUSED = """
import sys, time
from factory.common.errors import FactoryError
from factory.data.open import open_dataset

# huggingface_hub itself waits 1, 2, 4, 8 and 8 s between attempts.
wait = time.sleep
time.sleep = lambda seconds: wait(min(seconds, 0.05))
for reference in sys.argv[1:]:
    try:
        open_dataset(reference.split()[0], config_name=reference.split()[1])
    except FactoryError as error:
        sys.stdout.write(f"{error.exit_status} {error}\\n")
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large_set(tmp_path_factory.mktemp("large"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("small"))


def push(hub: LocalHub, home: Path, out: Path) -> str:
    done = run_factory(hub, home, "push", out, REPO, "--tag", "v1", "--quiet")
    assert done.returncode == 0, done.stderr
    return hub.repos["datasets", REPO].tags["v1"]


@pytest.mark.slow
def test_a_set_of_thousands_comes_back_the_same(
    either_hub: LocalHub, large: Path, tmp_path: Path
) -> None:
    push(either_hub, tmp_path / "pusher", large)
    home = tmp_path / "reader"
    done = run_python(either_hub, home, _COMPARE, REPO, large)
    assert done.returncode == 0, done.stderr
    # 1,410 images are stored; the union's are read twice.
    assert int(done.stdout) == 1410 + 1050
    either_hub.clear_log()
    offline = run_python(
        either_hub, home, _OFFLINE, REPO, "multi-domain", large, HF_HUB_OFFLINE="1"
    )
    assert (offline.returncode, offline.stdout.strip()) == (0, "600"), offline.stderr
    assert either_hub.log() == []


def test_open_dataset_reads_a_revision_and_finds_it_again_offline(
    either_hub: LocalHub, small: Path, tmp_path: Path
) -> None:
    commit = push(either_hub, tmp_path, small)
    contents = "xorb_get" if either_hub.xet_enabled else "content"
    either_hub.clear_log()
    done = run_python(either_hub, tmp_path, _OPEN, f"{REPO}@v1", "both")
    assert (done.returncode, done.stdout) == (0, f"{commit} 30"), done.stderr
    # Files are downloaded once, by the first reader.
    assert either_hub.log(contents)
    either_hub.clear_log()
    # A folder called like the repository is not meant by `hf://`.
    (tmp_path / "here" / REPO).mkdir(parents=True)
    elsewhere = f"import os; os.chdir({str(tmp_path / 'here')!r})\n{_OPEN}"
    references = [f"hf://datasets/{REPO}@{revision}" for revision in (commit, "v1")]
    done = run_python(either_hub, tmp_path, elsewhere, *references, "both")
    assert (done.returncode, done.stdout) == (0, f"{commit} 30" * 2), done.stderr
    assert not either_hub.log(contents)
    either_hub.clear_log()
    done = run_python(either_hub, tmp_path, _OPEN, f"{REPO}@v1", "both", HF_HUB_OFFLINE="1")
    assert (done.returncode, done.stdout) == (0, f"{commit} 30"), done.stderr
    assert either_hub.log() == []
    done = run_python(either_hub, tmp_path, _OPEN, f"{REPO}@v1", "base", HF_HUB_OFFLINE="1")
    assert done.returncode == 2
    assert "HF_HUB_OFFLINE is set" in done.stderr


def test_a_damaged_download_is_noticed_and_fetched_again(
    either_hub: LocalHub, small: Path, tmp_path: Path
) -> None:
    commit = push(either_hub, tmp_path / "pusher", small)
    route = "xorb_get" if either_hub.xet_enabled else "content"
    either_hub.fault(route, "flip")
    done = run_python(either_hub, tmp_path / "reader", _OPEN, f"{REPO}@v1", "both")
    assert (done.returncode, done.stdout) == (0, f"{commit} 30"), done.stderr
    assert "downloaded files are damaged" in done.stderr
    either_hub.fault(route, "flip", times=None)
    done = run_python(either_hub, tmp_path / "other", _OPEN, f"{REPO}@v1", "both")
    assert done.returncode == 1
    assert "is damaged after every download" in done.stderr.splitlines()[-1]


def test_each_failed_download_is_one_line(
    either_hub: LocalHub, small: Path, tmp_path: Path
) -> None:
    hub = either_hub
    push(hub, tmp_path / "pusher", small)
    public = hub.repos["datasets", REPO]
    gated, private = f"{ORG}/gated", f"{ORG}/private"
    hub.repos["datasets", gated] = replace(public, name=gated, gated="manual")
    hub.repos["datasets", private] = replace(public, name=private, private=True)

    def lines(*references: str, **env: str | None) -> list[str]:
        done = run_python(hub, tmp_path / "reader", _REFUSED, *references, **env)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    said = lines(
        f"{REPO} bot",
        f"{REPO}@v9 both",
        f"{ORG}/other both",
        f"{gated} both",
        f"{private} both",
        token=hub.other_token,
    )
    assert "2 " + f"{REPO}: no config 'bot'; did you mean both?" == said[0]
    assert "revision not found" in said[1]
    assert "no such dataset" in said[2]
    assert "access is restricted" in said[3] and f"/datasets/{gated}" in said[3]
    assert "no access to a private one" in said[4]
    assert all(line.startswith("2 ") for line in said) and len(said) == 5
    assert "no token is set" in lines(f"{private} both", token=None)[0]
    for route in ("info", "tree"):
        hub.fault(route, "status", status=503, times=None)
        down = lines(f"{REPO} both", DATA_FACTORY_HUB_PATIENCE_S="1")[-1]
        assert down.startswith(f"1 {REPO}") and "could not be reached" in down
        hub.clear_faults()


_UNRESOLVED = """
from factory.common.errors import FactoryError
from factory.hub.download import resolve_commit
from factory.hub.ids import parse_target
from train.model import create_classifier
for call in (
    lambda: resolve_commit(parse_target("ORG/NAME", "dataset")),
    lambda: create_classifier(
        "test_resnet", num_classes=2, side=32, pretrained=True, model_args={}
    ),
):
    try:
        call()
    except FactoryError as error:
        print(type(error).__name__, error)
"""


def test_a_host_that_does_not_resolve_ends_at_once(tmp_path: Path) -> None:
    """Without minutes of retries, whichever library sends the request."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": "http://no-such-host.invalid",
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    code = [python(), "-c", _UNRESOLVED]
    done = subprocess.run(code, env=environment, capture_output=True, text=True, timeout=200)
    lines = done.stdout.splitlines()
    assert lines[0] == (
        "Failure ORG/NAME: the host name no-such-host.invalid does not resolve (while looking it "
        "up); check the network, HF_ENDPOINT and the proxy settings"
    )
    assert lines[1].startswith("UserError --pretrained: weights of test_resnet could not be loaded")
    assert "again in" not in done.stderr and "Retry" not in done.stderr, done.stderr
