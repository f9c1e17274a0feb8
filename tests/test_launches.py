"""Builds under torch's own launcher: nodes, restarts, parts, and killed ranks."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from build_parts import recipe, tree
from fault_parts import build_once, finished, generate, start, strays
from quick_python import python

from factory.builder.ranks import own_device
from factory.builder.report import Part
from factory.cli.main import main as factory_main
from factory.common.console import log
from factory.common.errors import UserError
from factory.common.launch_environment import launcher
from train.cli import main as train_main
from train.environment import join_launch

ROOT = Path(__file__).parent.parent
SCRIPT = str(ROOT / "tests" / "rank_build.py")
# Ranks are not children of the program that asks for a launcher, but have its variables.
_LAUNCH = "TEST_LAUNCH"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Write a recipe of 80 images in 10 shards and build it undisturbed."""
    recipe(tmp_path, "large", images_per_class=40, classes=["cat", "dog"])
    generate([tmp_path / "large.yaml"], tmp_path / "alone")
    return tmp_path / "large.yaml"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def torchrun(*arguments: str) -> Iterator[Any]:
    """Run a launcher; kill its remaining processes at the end."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "PYTHON_EXEC": python(),
        # As docs/multi-node.md says: each restart gets a store of its own.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        _LAUNCH: str(time.monotonic_ns()),
    }
    process: Any = subprocess.Popen(
        [python(), "-m", "torch.distributed.run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    process.launch = environment[_LAUNCH]
    try:
        yield process
    finally:
        for pid in (process.pid, *(rank.pid for rank in ranks_of(process))):
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)
        # Until the output of the last rank has ended.
        process.communicate()


def ranks_of(launcher: Any) -> list[psutil.Process]:
    """Return the running ranks of a launcher."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error):
            words = one.cmdline()
            is_rank = SCRIPT in words and "torch.distributed.run" not in words
            if is_rank and one.environ().get(_LAUNCH) == launcher.launch:
                found.append(one)
    return found


def wait_for_shards(out: Path, count: int, *, within_s: float = 200) -> None:
    deadline = time.monotonic() + within_s
    while len(list(out.glob("data/*/train-*"))) < count:
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


def two_nodes(*, max_restarts: int) -> list[str]:
    return [
        *("--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", str(max_restarts)),
        *("--rdzv-backend", "c10d", "--rdzv-id", "build", "--local-addr", "127.0.0.1"),
        *("--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--monitor-interval", "0.2"),
    ]


@pytest.mark.slow
def test_two_nodes_and_a_rank_that_is_killed(large: Path, tmp_path: Path) -> None:
    """Both nodes restart their ranks and generate the shard in progress again: same bytes."""
    out = tmp_path / "nodes"
    arguments = [*two_nodes(max_restarts=3), SCRIPT, str(large), str(out), "0.3"]
    with torchrun(*arguments) as first, torchrun(*arguments) as second:
        wait_for_shards(out, 2)
        (victim,) = ranks_of(second)
        victim.kill()
        outputs = [one.communicate(timeout=240)[0] for one in (first, second)]
        assert (first.returncode, second.returncode) == (0, 0), "\n".join(outputs)
    assert tree(out) == tree(tmp_path / "alone")
    assert not strays(out)
    assert " kept" in outputs[0]


@pytest.mark.soak
def test_a_job_whose_coordinator_is_killed_resumes_to_the_same_bytes(
    large: Path, tmp_path: Path
) -> None:
    """Without a launcher to restart it, the job ends; the same command resumes it."""
    out = tmp_path / "out"
    arguments = ["--standalone", "--nproc-per-node", "2", SCRIPT, str(large), str(out), "0.3"]
    with torchrun(*arguments) as launcher:
        wait_for_shards(out, 2)
        ranks = ranks_of(launcher)
        environments = {one.environ()["RANK"]: one for one in ranks}
        environments["0"].kill()
        output = launcher.communicate(timeout=200)[0]
        assert launcher.returncode != 0
    # The launcher writes a traceback of its own.
    assert f'File "{ROOT}/factory' not in output
    assert len(list(out.glob("data/*/train-*"))) < 10
    generate([large], out)
    assert tree(out) == tree(tmp_path / "alone")
    assert not strays(out)


@pytest.mark.slow
def test_a_killed_job_resumes_to_the_same_bytes(large: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["--standalone", "--nproc-per-node", "3", SCRIPT, str(large), str(out), "0.3"]
    with torchrun(*arguments):
        wait_for_shards(out, 3)
    assert not (out / "README.md").exists(), "it was killed too late to prove anything"
    generate([large], out)
    assert tree(out) == tree(tmp_path / "alone")
    assert not strays(out)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_build_whose_ranks_are_killed_at_random_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """25 kills of a random rank under torchrun, which restarts the group each time."""
    kills, moments = 25, random.Random(0)
    recipe(tmp_path, "large", images_per_class=160, classes=["cat", "dog"])
    large, out = tmp_path / "large.yaml", tmp_path / "out"
    generate([large], tmp_path / "alone")
    arguments = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "100"]
    arguments += ["--monitor-interval", "0.2", SCRIPT, str(large), str(out), "0.5"]
    with torchrun(*arguments) as launcher:
        for kill in range(kills):
            wait_for_shards(out, kill + 1, within_s=600)
            time.sleep(moments.uniform(0, 1.0))
            ranks = ranks_of(launcher)
            if ranks:
                moments.choice(ranks).kill()
        output = launcher.communicate(timeout=1200)[0]
        assert launcher.returncode == 0, output
    assert tree(out) == tree(tmp_path / "alone")
    assert not strays(out)


def build_part(recipes: list[Path], out: Path, text: str) -> None:
    build_once(recipes, out, 0.0, part=Part.parse(text))


def test_parts_of_an_array_job(large: Path, tmp_path: Path) -> None:
    """Each part generates its own shards; the last one to end completes the dataset."""
    out = tmp_path / "parts"
    for text in ("2/3", "3/3"):
        assert finished(start(build_part, [large], out, text)) == 0
        assert not (out / "README.md").exists()
    report = generate([large], out, part=Part(1, 3))
    assert report.is_complete
    assert tree(out) == tree(tmp_path / "alone")
    assert not strays(out)
    generated = [int(line) for line in Path(f"{out}.generated").read_text().split()]
    assert [*generated, report.generated] == [24, 24, 32]


def test_parts_that_run_at_the_same_time_complete_the_dataset(large: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    parts = [start(build_part, [large], out, f"{number}/3") for number in (1, 2, 3)]
    assert [finished(one) for one in parts] == [0, 0, 0]
    assert tree(out) == tree(tmp_path / "alone")
    assert not strays(out)


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "1/", "-1/4"])
def test_invalid_parts_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--part"):
        Part.parse(text)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"RANK": "", "WORLD_SIZE": ""}, None),
        ({"LOCAL_RANK": "0"}, None),
        ({"WORLD_SIZE": "2"}, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"PMI_SIZE": "1", "PMI_RANK": "0"}, None),
        ({"RANK": "1", "WORLD_SIZE": "2"}, ("torchrun", 2)),
        ({"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "a"}, ("torchrun", 1)),
        ({"ACCELERATE_MIXED_PRECISION": "no"}, ("accelerate launch", 1)),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, ("mpirun", 2)),
        ({"SLURM_NTASKS": "4"}, None),
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}, ("srun", 4)),
        ({"SLURM_STEP_NUM_TASKS": "1"}, None),
    ],
)
def test_the_launcher_is_known_by_its_variables(
    variables: dict[str, str],
    expected: tuple[str, int] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "environ", {"PATH": "", **variables})
    assert launcher() == expected


def test_a_launcher_decides_on_the_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe(tmp_path, "base")
    words = ["build", str(tmp_path / "base.yaml"), str(tmp_path / "out"), "--processes", "3"]
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(sys, "argv", ["factory", *words])
    with pytest.raises(UserError, match="--processes 3: torchrun has started 2; give the number"):
        factory_main()


@pytest.fixture
def alone() -> Iterator[None]:
    """Reset accelerate's state before and after a test that joins the processes of a launch."""
    from accelerate.state import AcceleratorState, GradientState

    def reset() -> None:
        AcceleratorState._reset_state(True)
        GradientState._reset_state()

    before = dict(os.environ)
    reset()
    yield
    reset()
    # accelerate writes some of them.
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.parametrize(
    "left",
    [
        {"LOCAL_RANK": "0"},
        {"WORLD_SIZE": "2"},
        {"WORLD_SIZE": ""},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
        {"LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "abc"},
        {"OMPI_COMM_WORLD_SIZE": "2"},
        {"ACCELERATE_USE_CPU": "maybe"},
    ],
)
def test_variables_of_another_launch_are_named(
    left: dict[str, str], alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as raised:
        own_device()
    assert all(f"{name}={value}" in str(raised.value) for name, value in left.items())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "gradient accumulation over 4 steps"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "ACCELERATE_USE_DEEPSPEED=true"),
    ],
)
def test_training_refuses_unsupported_launch_options(
    name: str, value: str, message: str, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        join_launch()


def test_a_leftover_rank_variable_hides_no_log_line(
    alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setattr(sys, "argv", ["train", str(tmp_path), "--model", "nothing", "--out", "run"])
    with pytest.raises(UserError, match="timm has no such model"):
        train_main()
    monkeypatch.setenv("WORLD_SIZE", "")
    log("shown")
    assert capsys.readouterr().err.endswith("shown\n")
