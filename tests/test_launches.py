"""Builds under torch's own launcher: nodes, restarts, parts, and what is left when ranks die."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from build_parts import recipe, tree
from fault_parts import build_once, draw, finished, start, strays

from factory.builder.ranks import own_device
from factory.builder.report import Part
from factory.cli.main import main as factory_main
from factory.common.console import log
from factory.common.errors import UserError
from factory.common.launch import launcher
from train.cli import main as train_main
from train.environment import join_launch

ROOT = Path(__file__).parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
SCRIPT = str(ROOT / "tests" / "rank_build.py")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Write a recipe of 80 images in 10 shards and draw it undisturbed."""
    recipe(tmp_path, "large", images_per_class=40, classes=["cat", "dog"])
    draw([tmp_path / "large.yaml"], tmp_path / "alone")
    return tmp_path / "large.yaml"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def torchrun(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a launcher; whatever of it is left at the end is killed."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        # As docs/multi-node.md says: each restart gets a store of its own.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    process = subprocess.Popen(
        [*TORCHRUN, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        family = [process.pid, *(child.pid for child in ranks_of(process))]
        for pid in family:
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def ranks_of(launcher: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the running ranks of a launcher."""
    try:
        children = psutil.Process(launcher.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]


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
    """Both nodes' ranks are restarted, the shard in hand is drawn again, the bytes are the same."""
    out = tmp_path / "nodes"
    arguments = [*two_nodes(max_restarts=3), SCRIPT, str(large), str(out), "0.3"]
    with torchrun(*arguments) as first, torchrun(*arguments) as second:
        wait_for_shards(out, 2)
        (victim,) = [one for one in ranks_of(second) if SCRIPT in one.cmdline()]
        victim.kill()
        outputs = [one.communicate(timeout=240)[0] for one in (first, second)]
        assert (first.returncode, second.returncode) == (0, 0), "\n".join(outputs)
    assert tree(out) == tree(tmp_path / "alone")
    assert not strays(out)
    assert " kept" in outputs[0]


@pytest.mark.slow
def test_the_coordinator_is_killed(large: Path, tmp_path: Path) -> None:
    """Without a launcher to restart it, the job ends; run again, it goes on."""
    out = tmp_path / "out"
    arguments = ["--standalone", "--nproc-per-node", "2", SCRIPT, str(large), str(out), "0.3"]
    with torchrun(*arguments) as launcher:
        wait_for_shards(out, 2)
        ranks = [one for one in ranks_of(launcher) if SCRIPT in one.cmdline()]
        environments = {one.environ()["RANK"]: one for one in ranks}
        environments["0"].kill()
        output = launcher.communicate(timeout=200)[0]
        assert launcher.returncode != 0
    # The launcher writes a traceback of its own.
    assert f'File "{ROOT}/factory' not in output
    assert len(list(out.glob("data/*/train-*"))) < 10
    draw([large], out)
    assert tree(out) == tree(tmp_path / "alone")
    assert not strays(out)


@pytest.mark.slow
def test_the_whole_job_is_killed(large: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["--standalone", "--nproc-per-node", "3", SCRIPT, str(large), str(out), "0.3"]
    with torchrun(*arguments):
        wait_for_shards(out, 3)
    assert not (out / "README.md").exists(), "it was killed too late to prove anything"
    draw([large], out)
    assert tree(out) == tree(tmp_path / "alone")
    assert not strays(out)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_random_ranks_are_killed_in_one_build(tmp_path: Path) -> None:
    """25 kills of a random rank under torchrun, which restarts the group each time."""
    kills, moments = 25, random.Random(0)
    recipe(tmp_path, "large", images_per_class=160, classes=["cat", "dog"])
    large, out = tmp_path / "large.yaml", tmp_path / "out"
    draw([large], tmp_path / "alone")
    arguments = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "100"]
    arguments += ["--monitor-interval", "0.2", SCRIPT, str(large), str(out), "0.5"]
    with torchrun(*arguments) as launcher:
        for kill in range(kills):
            wait_for_shards(out, kill + 1, within_s=600)
            time.sleep(moments.uniform(0, 1.0))
            ranks = [one for one in ranks_of(launcher) if SCRIPT in one.cmdline()]
            if ranks:
                moments.choice(ranks).kill()
        output = launcher.communicate(timeout=1200)[0]
        assert launcher.returncode == 0, output
    assert tree(out) == tree(tmp_path / "alone")
    assert not strays(out)


def build_part(recipes: list[Path], out: Path, text: str) -> None:
    build_once(recipes, out, 0.0, part=Part.parse(text))


def test_parts_of_an_array_job(large: Path, tmp_path: Path) -> None:
    """Each draws its own shards; whichever ends last finishes the set."""
    out = tmp_path / "parts"
    for text in ("2/3", "3/3"):
        assert finished(start(build_part, [large], out, text)) == 0
        assert not (out / "README.md").exists()
    report = draw([large], out, part=Part(1, 3))
    assert report.is_complete
    assert tree(out) == tree(tmp_path / "alone")
    assert not strays(out)
    drawn = [int(line) for line in Path(f"{out}.drawn").read_text().split()]
    assert [*drawn, report.drawn] == [24, 24, 32]


def test_parts_at_once(large: Path, tmp_path: Path) -> None:
    out = tmp_path / "parts"
    parts = [start(build_part, [large], out, f"{number}/3") for number in (1, 2, 3)]
    assert [finished(one) for one in parts] == [0, 0, 0]
    assert tree(out) == tree(tmp_path / "alone")
    assert not strays(out)


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "1/", "-1/4"])
def test_parts_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="--part"):
        Part.parse(text)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"RANK": "", "WORLD_SIZE": ""}, None),
        ({"LOCAL_RANK": "0"}, "torchrun"),
        ({"RANK": "1", "WORLD_SIZE": "2"}, "torchrun"),
        ({"ACCELERATE_MIXED_PRECISION": "no", "RANK": "1"}, "accelerate launch"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "mpirun"),
        ({"SLURM_NTASKS": "4"}, None),
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}, "srun"),
        ({"SLURM_STEP_NUM_TASKS": "1"}, None),
    ],
)
def test_the_launcher_is_known_by_its_variables(
    variables: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
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
    """Let a test join the processes of a launch of its own."""
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
def test_what_another_launch_left_is_named(
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
def test_training_refuses_what_a_launch_asks_for_and_it_does_not_do(
    name: str, value: str, message: str, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        join_launch()


def test_a_rank_that_was_left_silences_nobody(
    alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setattr(sys, "argv", ["train", str(tmp_path), "--model", "nothing", "--out", "run"])
    with pytest.raises(UserError, match="timm has no such model"):
        train_main()
    monkeypatch.setenv("WORLD_SIZE", "")
    log("told")
    assert capsys.readouterr().err.endswith("told\n")
