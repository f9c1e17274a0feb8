"""`build` by real processes: any number gives the same bytes, and what happens when one dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_models
from build_parts import recipe, shard, tree
from quick_python import python

from factory.models.embedded import EMBEDDED_STEPS

ROOT = Path(__file__).parent.parent
SETTINGS = ["--batch-size", "4", "--shard-size", "8", "--quiet"]


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a recipe of 42 images that a tiny real pipeline draws, with random guidance."""
    folder = tmp_path_factory.mktemp("processes")
    model = tiny_models.save_stable_diffusion(folder / "sd")
    path = folder / "tiny.yaml"
    path.write_text(
        "classes: [cat, dog, ship]\nimages_per_class: 14\nprompt: a {class}\n"
        "sampling: {guidance_scale: {uniform: [1, 5]}, num_inference_steps: [2, 3]}\n"
        f"model: {{id: {model}}}\noutput: {{size: 8}}\n"
    )
    return path


@pytest.fixture(scope="module")
def one_process(recipe_file: Path) -> Path:
    """Build the recipe with a single process."""
    out = recipe_file.parent / "one"
    run([python(), "-m", "factory", "build", str(recipe_file), str(out), *SETTINGS])
    return out


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def run(command: list[str], *, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment())
    assert done.returncode == status, done.stdout + done.stderr
    return done


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.soak)])
def test_several_processes_give_the_bytes_of_one(
    recipe_file: Path, one_process: Path, processes: int
) -> None:
    out = recipe_file.parent / f"by-{processes}"
    launcher = [python(), "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    done = run(
        [*launcher, "--standalone", "-m", "factory", "build", str(recipe_file), str(out), *SETTINGS]
    )
    assert f"{out}: 42 images generated" in done.stdout
    assert tree(out) == tree(one_process)


@pytest.mark.slow
def test_a_bad_option_ends_every_rank_with_status_1(recipe_file: Path) -> None:
    out = recipe_file.parent / "missing"
    launcher = [python(), "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    changed = ["--batch-size", "0"]
    done = run(
        [*launcher, "--standalone", "-m", "factory", "build", str(recipe_file), str(out), *changed],
        status=1,
    )
    assert "batch_size is 0; give 1 or more" in done.stderr
    assert not out.exists()


@pytest.mark.slow
def test_a_killed_build_resumes_to_the_same_bytes(recipe_file: Path, one_process: Path) -> None:
    out = recipe_file.parent / "killed"
    command = ["-m", "factory", "build", str(recipe_file), str(out), *SETTINGS]
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL
    )
    try:
        while process.poll() is None and not list(out.glob("data/tiny/train-*")):
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert list(out.glob("data/tiny/train-*"))
    assert not (out / "README.md").exists(), "it was killed too late to prove anything"
    run([python(), *command])
    assert tree(out) == tree(one_process)


@pytest.mark.soak
def test_an_embedded_build_resumes_after_a_kill_and_after_ctrl_c(tmp_path: Path) -> None:
    """Killed in a batch, then asked to stop by Ctrl-C: the bytes are those of one build."""
    words = ["quickstart/multi-domain", "--images-per-class", "4", *SETTINGS]

    def command(out: Path) -> list[str]:
        return [python(), "-m", "factory", "build", words[0], str(out), *words[1:]]

    out = tmp_path / "disturbed"
    for number, shards, status in ((signal.SIGKILL, 1, -9), (signal.SIGINT, 2, 130)):
        process = subprocess.Popen(
            command(out), cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True
        )
        while process.poll() is None and len(list(out.glob("data/*/train-*"))) < shards:
            time.sleep(0.01)
        process.send_signal(number)
        errors = process.communicate()[1]
        assert process.returncode == status, errors
    assert errors.splitlines()[-1].endswith("run the same command again to resume")
    assert not (out / "README.md").exists(), "it was stopped too late to prove anything"
    run(command(out))
    run(command(tmp_path / "undisturbed"))
    assert tree(out) == tree(tmp_path / "undisturbed")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 64 kB, where that is allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_ends_a_build_with_whole_shards(
    recipe_file: Path, one_process: Path, small_disk: Path, tmp_path: Path
) -> None:
    out = small_disk / "out"
    command = [python(), "-m", "factory", "build", str(recipe_file), str(out), *SETTINGS]
    done = run(command, status=1)
    assert "the disk is full; free some space, then run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
    whole = tree(one_process)
    left = {name: digest for name, digest in tree(out).items() if name.startswith("data/")}
    assert left.items() <= whole.items()
    assert not [path for path in out.rglob(".*") if path.is_file()]
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    run(command)
    assert tree(out) == whole


@pytest.mark.slow
def test_the_embedded_generator_builds_a_paper_recipe(tmp_path: Path) -> None:
    """Size and scheduler are the embedded model's; guidance and output size are the recipe's."""
    from datasets import load_dataset

    launch = ["-m", "accelerate.commands.accelerate_cli", "launch", "--quiet", "--cpu"]
    build = ["factory", "build", "cifar10/multi-domain", str(tmp_path / "out"), "--quiet"]
    model = ["--model", "embedded", "--images-per-class", "2", "--batch-size", "4"]
    model += ["--set", "sampling.num_inference_steps=auto"]
    run([python(), *launch, "--num_processes", "1", *build, *model])
    rows = load_dataset(str(tmp_path / "out"), split="train")
    assert len(rows) == 20
    assert set(rows["num_inference_steps"]) == {EMBEDDED_STEPS}
    assert set(rows["guidance_scale"]) == {7.5}
    assert rows[0]["image"].size == (32, 32)
    assert len(set(rows["domain"])) > 3


def test_a_launch_on_cpus_refuses_other_devices() -> None:
    code = "from factory.builder.ranks import own_device; print(own_device()); own_device('cuda')"
    result = subprocess.run(
        [python(), "-c", code],
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
    )
    assert result.stdout == "cpu\n"
    assert (
        "cuda was requested, but the launch is on CPUs (accelerate launch --cpu)" in result.stderr
    )


@pytest.mark.slow
def test_a_resumed_build_lists_each_directory_at_start_and_end(tmp_path: Path) -> None:
    """The lead lists shards at the beginning and at the end; other ranks list nothing.

    Where it loads models first, it lists them once more afterwards.
    """
    folder, out = tmp_path / "recipes", tmp_path / "out"
    folder.mkdir()
    for name in ("a", "b", "c"):
        recipe(folder, name, prompt=f"{name} {{class}}")
    count = [str(ROOT / "tests/count_looks.py"), str(folder), str(out)]
    run([python(), *count, str(tmp_path / "first")])
    shard(out, "b").unlink()
    launcher = [python(), "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    run([*launcher, "--standalone", *count, str(tmp_path / "resumed")])
    lead, other = (json.loads((tmp_path / f"resumed-{rank}.json").read_text()) for rank in (0, 1))
    assert lead == {"a": 2, "b": 2, "c": 2, "manifest.json": 1, "drawn": 8}
    assert other == {"manifest.json": 1, "drawn": 8}
