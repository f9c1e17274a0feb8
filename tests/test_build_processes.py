"""`build` with real processes: any number gives the same bytes; processes that die."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import tiny_models
from build_parts import SETTINGS as SHARDS
from build_parts import recipe, shard, tree
from fault_parts import generate
from quick_python import python

from eval.report_page.generation import read_generation
from factory.builder import processes
from factory.builder.launcher import _pass_on, end_with_launcher
from factory.builder.processes import Choice, check_devices, choose_processes
from factory.cli.main import main
from factory.common.errors import Failure, UserError
from factory.common.process_messages import FOLDER, LastWords, leave
from factory.common.resources import cores
from factory.common.stop_signals import Stopped
from factory.models.embedded import EMBEDDED_STEPS
from factory.recipe.library import load_recipe
from factory.recipe.resolved import ResolvedRecipe
from factory.shards.settings import BuildSettings

ROOT = Path(__file__).parent.parent
SETTINGS = ["--batch-size", "4", "--shard-size", "8", "--quiet"]
ALONE = [*SETTINGS, "--processes", "1"]


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a recipe of 42 images for a tiny real pipeline, with random guidance."""
    folder = tmp_path_factory.mktemp("processes")
    model = tiny_models.save_stable_diffusion(folder / "sd")
    path = folder / "tiny.yaml"
    path.write_text(
        "classes: [cat, dog, ship]\nimages_per_class: 14\nprompt: a {class}\n"
        "sampling: {guidance_scale: {uniform: [1, 5]}, num_inference_steps: [1, 2]}\n"
        f"model: {{id: {model}}}\noutput: {{size: 8}}\n"
    )
    return path


@pytest.fixture(scope="module")
def one_process(recipe_file: Path) -> Path:
    """Build the recipe with a single process."""
    out = recipe_file.parent / "one"
    run([python(), "-m", "factory", "build", str(recipe_file), str(out), *ALONE])
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
def test_a_build_starts_its_processes_itself(recipe_file: Path, one_process: Path) -> None:
    out = recipe_file.parent / "by-itself"
    done = run([python(), "-m", "factory", "build", str(recipe_file), str(out), *SETTINGS])
    assert f"{out}: 42 images generated" in done.stdout
    if cores() > 1:
        assert re.match(r"\d+ processes \(\d+ .*\); --processes N changes this\n", done.stderr)
    assert "torch" not in done.stderr
    assert tree(out) == tree(one_process)


MANY = ["--images-per-class", "30"]
STARTED = 90


_START = """
import runpy, sys
sys.executable = sys.argv.pop(1)
runpy.run_module("factory", run_name="__main__", alter_sys=True)
"""


def start(
    recipe_file: Path, out: Path, *, ranks_by: str, **streams: Any
) -> tuple[Any, list[psutil.Process]]:
    """Start a build that starts two processes by a Python; return it and them."""
    words = ["build", str(recipe_file), str(out), *SETTINGS, *MANY, "--processes", "2"]
    process: Any = subprocess.Popen(
        [sys.executable, "-c", _START, ranks_by, *words], cwd=ROOT, env=environment(), **streams
    )
    while process.poll() is None and len(psutil.Process(process.pid).children()) < 2:
        time.sleep(0.01)
    ranks = psutil.Process(process.pid).children()
    assert len(ranks) == 2
    return process, ranks


def wait_for_shards(process: Any, out: Path) -> None:
    while process.poll() is None and len(list(out.glob("data/tiny/train-*"))) < 2:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()[1]


@pytest.fixture(scope="module")
def undisturbed(recipe_file: Path) -> dict[str, str]:
    """Return the files of a build that nothing has stopped."""
    out = recipe_file.parent / "undisturbed"
    run([python(), "-m", "factory", "build", str(recipe_file), str(out), *ALONE, *MANY])
    return tree(out)


def resume(recipe_file: Path, out: Path) -> dict[str, str]:
    """Run a stopped build again; return its files."""
    assert not (out / "README.md").exists(), "it was stopped too late to prove anything"
    run([python(), "-m", "factory", "build", str(recipe_file), str(out), *ALONE, *MANY])
    return tree(out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("numbers", "status"),
    # A terminal and a batch system send one each.
    [
        pytest.param((signal.SIGINT, signal.SIGTERM), 130, id="INT"),
        pytest.param((signal.SIGTERM,), 143, id="TERM", marks=pytest.mark.soak),
        # The test of a closed terminal sends a SIGHUP too.
        pytest.param((signal.SIGHUP,), 129, id="HUP", marks=pytest.mark.soak),
    ],
)
def test_a_signal_ends_all_processes_of_a_build(
    recipe_file: Path, undisturbed: dict[str, str], tmp_path: Path, numbers: Any, status: int
) -> None:
    out = tmp_path / "out"
    process, ranks = start(recipe_file, out, ranks_by=python(), stderr=subprocess.PIPE, text=True)
    wait_for_shards(process, out)
    for number in numbers:
        process.send_signal(number)
    errors = process.communicate()[1]
    assert process.returncode == status, errors
    last = errors.splitlines()[-1]
    name = numbers[0].name
    shown = f"Ctrl-C ({name})" if name == "SIGINT" else name
    assert last == f"stopped by {shown}; run the same command again to resume"
    assert errors.count("stopped by") == 1 and "Traceback" not in errors
    assert not any(rank.is_running() for rank in ranks)
    kept = re.fullmatch(r"(\d+) of 90 images are finished and kept", errors.splitlines()[-2])
    assert kept and int(kept[1]) >= 16
    assert not [path for path in out.rglob(".*") if path.is_file()]
    # Each process that has generated images has recorded them, and its time.
    generated = read_generation(out)
    assert 1 <= generated.processes <= len(ranks)
    assert generated.images == {"tiny": int(kept[1])}
    assert resume(recipe_file, out) == undisturbed
    assert read_generation(out).images == {"tiny": 90}


@pytest.mark.slow
def test_a_closed_terminal_ends_all_processes_of_a_build(recipe_file: Path, tmp_path: Path) -> None:
    """Unlike a SIGHUP alone, it also makes every message an error. The test above resumes."""
    ours, theirs = pty.openpty()
    out, streams = tmp_path / "out", dict.fromkeys(("stdin", "stdout", "stderr"), theirs)
    process, ranks = start(
        recipe_file,
        out,
        ranks_by=python(),
        **streams,
        start_new_session=True,
        # The terminal of the new session; its end is a SIGHUP.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    wait_for_shards(process, out)
    os.close(ours)
    assert process.wait(STARTED) == 129
    assert not any(rank.is_running() for rank in ranks)
    assert not [path for path in out.rglob(".*") if path.is_file()]
    assert not (out / "README.md").exists(), "it was stopped too late to prove anything"
    assert read_generation(out).images["tiny"] >= 16


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of this")
@pytest.mark.parametrize("early", [False, True], ids=["at-work", "while-they-start"])
def test_the_processes_of_a_killed_launcher_end(
    recipe_file: Path, undisturbed: dict[str, str], tmp_path: Path, early: bool
) -> None:
    out = tmp_path / "out"
    # The system tells a process of the end of its parent, and the quick Python's is a server.
    process, ranks = start(recipe_file, out, ranks_by=sys.executable, stderr=subprocess.DEVNULL)
    if not early:
        wait_for_shards(process, out)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not psutil.wait_procs(ranks, timeout=STARTED)[1]
    assert resume(recipe_file, out) == undisturbed


_LAUNCHER = """
import os, subprocess, sys, time
os.environ["DATA_FACTORY_LAUNCHER"] = str(os.getpid())
code = "from factory.builder.launcher import end_with_launcher as end; end(); print(1, flush=True)"
subprocess.run([sys.executable, "-c", code + "; import time; time.sleep(600)"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of this")
def test_a_process_ends_with_the_launcher_that_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soak kills the launcher of a build, at work and while its processes start."""
    launcher = subprocess.Popen(
        [sys.executable, "-c", _LAUNCHER], cwd=ROOT, env=environment(), stdout=subprocess.PIPE
    )
    assert launcher.stdout is not None and launcher.stdout.readline() == b"1\n"
    ranks = psutil.Process(launcher.pid).children()
    launcher.kill()
    launcher.communicate()
    assert not psutil.wait_procs(ranks, timeout=STARTED)[1]
    # A process that starts too late finds that its launcher has gone.
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(prctl=lambda *_: None))
    monkeypatch.setenv("DATA_FACTORY_LAUNCHER", str(launcher.pid))
    with pytest.raises(Stopped):
        end_with_launcher()
    monkeypatch.setenv("DATA_FACTORY_LAUNCHER", str(os.getppid()))
    end_with_launcher()


@pytest.mark.slow
def test_one_process_tells_why_a_build_of_several_fails(tmp_path: Path) -> None:
    """What a rank finds has the message and the status of a build by one process."""
    model = tiny_models.save_stable_diffusion(tmp_path / "sd")
    path, out = tmp_path / "tiny.yaml", tmp_path / "out"
    path.write_text(f"classes: [cat]\nimages_per_class: 8\nprompt: a {{class}}\nmodel: {model}\n")
    for weights in Path(model).glob("unet/*.safetensors"):
        weights.write_bytes(b"damaged")
    command = [python(), "-m", "factory", "build", str(path), str(out), *SETTINGS]
    done = run([*command, "--processes", "2"], status=2)
    assert done.stdout == ""
    assert done.stderr == run([*command, "--processes", "1"], status=2).stderr
    assert not out.exists()


def test_what_a_user_can_fix_is_found_before_processes_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import factory.builder.launcher

    monkeypatch.setattr(factory.builder.launcher, "run_in_processes", pytest.fail)
    recipe(tmp_path, "base")
    out = str(tmp_path / "new")
    for words, message in (
        (["none.yaml", out], "none.yaml"),
        ([f"{tmp_path}/base.yaml", str(tmp_path)], "is not empty and contains no manifest.json"),
    ):
        command = ["factory", "build", *words, "--processes", "2"]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(UserError, match=message):
            main()


def machine(
    monkeypatch: pytest.MonkeyPatch, *, of: int, gib: float = 100.0, model_gib: float = 1.0
) -> None:
    monkeypatch.setattr(processes, "cores", lambda: of)
    monkeypatch.setattr(processes, "free_memory", lambda: int(gib * 2**30))
    monkeypatch.setattr(processes, "weight_bytes", lambda model: int(model_gib * 2**30))
    monkeypatch.setattr(processes, "_devices", lambda wanted: ("cpu", 0))


@pytest.mark.parametrize(
    ("of", "gib", "images_per_class", "settings", "expected"),
    [
        (4, 100, 200, {}, Choice(4, "4 cores")),
        (4, 100, 200, {"threads": 2}, Choice(2, "4 cores, 2 threads each")),
        (4, 100, 8, {}, Choice(3, "3 shards to generate")),
        (4, 5, 200, {}, Choice(2, "5 GiB of free memory, 2.0 each")),
        (4, 1, 200, {}, Choice(1, "1 GiB of free memory, 2.0 each")),
        (1, 100, 200, {}, Choice(1, "1 core")),
    ],
)
def test_the_machine_and_the_work_limit_the_processes(
    of: int,
    gib: float,
    images_per_class: int,
    settings: dict[str, int],
    expected: Choice,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(monkeypatch, of=of, gib=gib)
    wanted = BuildSettings(batch_size=4, shard_size=8, **settings)
    made = recipe(tmp_path, "base", images_per_class=images_per_class)
    found = choose_processes([made], str(tmp_path / "out"), settings=wanted)
    assert found == expected


@pytest.mark.parametrize(
    ("model", "settings", "each"),
    [
        ({"height": 512, "width": 512}, {}, 2 + 4 * 0.684),
        ({"height": 512, "width": 256}, {}, 2 + 4 * 0.342),
        ({"height": 512, "width": 512}, {"batch_size": 1}, 2.684),
        ({"height": 512, "width": 512}, {"dtype": "bfloat16"}, 2 + 2 * 0.684),
        ({"id": "stable-diffusion-v1-5/stable-diffusion-v1-5"}, {}, 2 + 4 * 0.684),
        ({}, {}, 2.0),
    ],
)
def test_the_batch_counts_in_the_memory_of_a_process(
    model: dict[str, int | str],
    settings: dict[str, int | str],
    each: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(monkeypatch, of=99, gib=16.1)
    given: dict[str, Any] = {"batch_size": 4, "shard_size": 8, "dtype": "float32"} | settings
    whole: dict[str, Any] = {"id": "tests/none", "revision": "0" * 40} | model
    made = recipe(tmp_path, "base", images_per_class=2000, model=whole)
    found = choose_processes([made], str(tmp_path / "out"), settings=BuildSettings(**given))
    assert found == Choice(int(16.1 // each), f"16 GiB of free memory, {each:.1f} each")


@pytest.mark.parametrize(
    ("output", "images_per_class", "each", "waiting"),
    [
        # Four times 512 images of a MiPixel, 2 bytes per pixel.
        ({"size": 1024}, 2000, 2 + 4, 1.5),
        ({"size": [512, 1024]}, 2000, 2 + 2, 0.75),
        ({"size": 1024, "format": "jpeg"}, 2000, 2 + 1.6, 1.5),
        # Three times 300 images: the only shard is not generated while another one is written.
        ({"size": 1024}, 100, 2 + 1.76, 0.88),
    ],
)
def test_the_encoded_images_count_in_the_memory_of_a_process(
    output: dict[str, Any],
    images_per_class: int,
    each: float,
    waiting: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(monkeypatch, of=99, gib=3)
    made = recipe(tmp_path, "base", images_per_class=images_per_class, output=output)
    small = recipe(tmp_path, "base", images_per_class=images_per_class)
    keys: dict[str, Any] = {"images_per_class": images_per_class, "output": output}
    twins = [recipe(tmp_path, name, same_images_as="base", **keys) for name in ("one", "two")]
    wanted = BuildSettings(batch_size=4, shard_size=512, dtype="float32")
    for recipes, size in (
        ([made], each),
        ([small, *twins[:1]], each + waiting),
        ([small, *twins], each + 2 * waiting),
        ([made, *twins], each + 2 * waiting),
    ):
        found = choose_processes(recipes, str(tmp_path / "out"), settings=wanted)
        assert found == Choice(1, f"3 GiB of free memory, {size:.1f} each")


def test_only_configs_that_lack_shards_count_in_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A twin of a complete config does not wait for it, and that config is not generated."""
    machine(monkeypatch, of=99, gib=3)
    monkeypatch.setattr(processes, "_pixels", lambda job: 1 if job.name == "small" else 2**24)
    base = recipe(tmp_path, "base", images_per_class=8)
    twins = {
        name: recipe(tmp_path, name, same_images_as="base", images_per_class=8, output={"size": 4})
        for name in ("small", "large")
    }

    def reason(twin: str) -> str:
        return choose_processes([base, twins[twin]], str(tmp_path / "out"), settings=SHARDS).reason

    # Four times 8 images of 16 MiPixels, 2 bytes per pixel; 8 images wait, 3 bytes per pixel.
    assert reason("large") == "3 GiB of free memory, 3.4 each"
    assert reason("small") == "3 GiB of free memory, 3.0 each"
    generate([tmp_path / "base.yaml"], tmp_path / "out")
    assert reason("large") == "3 GiB of free memory, 3.0 each"
    assert reason("small") == "3 GiB of free memory, 2.0 each"


def test_only_missing_shards_and_their_time_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, of=8)
    out = tmp_path / "out"
    generate([recipe(tmp_path, "base", images_per_class=8) and tmp_path / "base.yaml"], out)
    word = recipe(tmp_path, "word", prompt="{class}", images_per_class=8)
    twin = recipe(tmp_path, "twin", images_per_class=8, output={"size": 8, "resample": "nearest"})
    grown = recipe(tmp_path, "base", images_per_class=10)

    def chosen(*recipes: ResolvedRecipe) -> Choice:
        return choose_processes(recipes, str(out), settings=SHARDS)

    assert chosen(load_recipe(tmp_path / "base.yaml", images_per_class=8)) == Choice(1, "")
    # 24 of 30 images are there, in whole shards.
    assert chosen(grown) == Choice(1, "1 shard to generate")
    same = load_recipe(tmp_path / "base.yaml", images_per_class=8)
    assert chosen(same, word) == Choice(3, "3 shards to generate")
    assert chosen(same, word, twin) == Choice(6, "6 shards to generate")
    short = load_recipe("quickstart/base-class", images_per_class=8)
    assert choose_processes([short], str(tmp_path / "new"), settings=SHARDS).reason == (
        "about 5 s of work"
    )


def test_processes_do_not_share_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_devices", lambda wanted: ("cuda", 2))
    check_devices(2, "auto")
    check_devices(None, "auto")
    with pytest.raises(UserError, match="--processes 3: this machine offers 2 GPUs"):
        check_devices(3, "auto")


def test_limits_of_containers_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from factory.common import resources as limits

    monkeypatch.setattr(limits, "_CGROUP", tmp_path)
    monkeypatch.setattr(limits, "_OWN_GROUPS", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(64))
    assert limits.cores() == 64
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert limits.cores() == 64
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert limits.cores() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert limits.cores_per_process() == 1
    (tmp_path / "memory.max").write_text("max\n")
    assert (limits.free_memory() or 0) > 2**20
    (tmp_path / "memory.max").write_text(f"{2**20}\n")
    (tmp_path / "memory.current").write_text(f"{2**19}\n")
    assert limits.free_memory() == 2**19
    # The page cache is freed for a process that needs memory.
    (tmp_path / "memory.stat").write_text(f"anon {2**17}\ninactive_file {2**18}\n")
    assert limits.free_memory() == 2**19 + 2**18


@pytest.mark.parametrize(
    ("groups", "root", "names"),
    [
        ("0::/job/step\n", "", ("memory.max", "memory.current", "inactive_file")),
        (
            "4:memory:/job/step\n1:cpu,cpuacct:/job/step\n0::/\n",
            "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_the_smallest_limit_of_the_groups_above_a_process_counts(
    groups: str,
    root: str,
    names: tuple[str, str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from factory.common import resources as limits

    monkeypatch.setattr(limits, "_CGROUP", tmp_path)
    monkeypatch.setattr(limits, "_OWN_GROUPS", tmp_path / "own")
    (tmp_path / "own").write_text(groups)
    for folder, total, used in (("", 2**30, 0), ("job", 2**20, 2**19), ("job/step", 2**21, 2**18)):
        group = tmp_path / root / folder
        group.mkdir(parents=True, exist_ok=True)
        (group / names[0]).write_text(f"{total}\n")
        (group / names[1]).write_text(f"{used}\n")
        (group / "memory.stat").write_text(f"{names[2]} {2**17}\n")
    assert (limits.memory_limit(), limits.free_memory()) == (2**20, 2**19 + 2**17)
    share = tmp_path / ("cpu" if root else "") / "job"
    share.mkdir(parents=True, exist_ok=True)
    if root:
        (share / "cpu.cfs_quota_us").write_text("100000\n")
        (share / "cpu.cfs_period_us").write_text("100000\n")
    else:
        (share / "cpu.max").write_text("100000 100000\n")
    assert limits.cores() == 1


def test_the_first_reason_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with pytest.raises(Failure, match=r"a process was ended by SIGKILL, .* --processes"):
        _pass_on(tmp_path, [-signal.SIGKILL, -signal.SIGTERM])
    assert _pass_on(tmp_path, [141]) == 141
    assert _pass_on(tmp_path, [-signal.SIGTERM]) == 143
    assert leave(LastWords(1, "stopped because rank 0 failed", follows=True))
    assert _pass_on(tmp_path, [141, 1]) == 141
    with pytest.raises(Failure, match="SIGKILL"):
        _pass_on(tmp_path, [-signal.SIGKILL, 1])
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert leave(LastWords(2, "no such model"))
    with pytest.raises(Failure, match="no such model") as raised:
        _pass_on(tmp_path, [1, 2])
    assert raised.value.exit_status == 2


@pytest.mark.slow
def test_a_rank_that_fails_ends_the_job(recipe_file: Path) -> None:
    out = recipe_file.parent / "missing"
    launcher = [python(), "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    changed = ["--batch-size", "0"]
    done = run(
        [*launcher, "--standalone", "-m", "factory", "build", str(recipe_file), str(out), *changed],
        status=1,
    )
    assert "--batch-size 0: expected 1 or more" in done.stderr
    assert not out.exists()


@pytest.mark.slow
def test_a_killed_build_resumes_to_the_same_bytes(recipe_file: Path, one_process: Path) -> None:
    out = recipe_file.parent / "killed"
    command = ["-m", "factory", "build", str(recipe_file), str(out), *ALONE]
    process = subprocess.Popen(
        [python(), *command], cwd=ROOT, env=environment(), stderr=subprocess.DEVNULL
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
    """Killed in a batch, then stopped by Ctrl-C: the bytes equal those of one build."""
    words = ["quickstart/multi-domain", "--images-per-class", "4", *ALONE]

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
    """Mount a file system of 64 kB, if permitted."""
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
def test_a_full_disk_is_reported_and_leaves_whole_shards(
    recipe_file: Path, one_process: Path, small_disk: Path, tmp_path: Path
) -> None:
    out = small_disk / "out"
    command = [python(), "-m", "factory", "build", str(recipe_file), str(out), *ALONE]
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
def test_a_paper_recipe_is_generated_by_the_embedded_generator(tmp_path: Path) -> None:
    """Size and scheduler are the embedded model's; guidance and output size are the recipe's."""
    from datasets import load_dataset

    launch = ["-m", "accelerate.commands.accelerate_cli", "launch", "--quiet", "--cpu"]
    build = ["factory", "build", "cifar10/multi-domain", str(tmp_path / "out"), "--quiet"]
    model = ["--model", "embedded", "--images-per-class", "1", "--batch-size", "5"]
    model += ["--set", "sampling.num_inference_steps=auto"]
    run([python(), *launch, "--num_processes", "1", *build, *model])
    rows = load_dataset(str(tmp_path / "out"), split="train")
    assert len(rows) == 10
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


_MANY_NAMES = """
from factory.builder.ranks import Ranks, leave
from factory.builder.start import Start

ranks, config = Ranks(device="cpu"), 60 * "c"
names = {n: [f"data/{config}/train-{n:05d}-0123456789ab.parquet"] for n in range(100_000)}
start = Start({config: [0]}, {config: names}, "plan", is_shared=False)
if ranks.is_lead:
    ranks.announce("prepared", start.to_text())
assert Start.from_text(ranks.wait_for("prepared")) == start
ranks.announce("nothing")
assert ranks.wait_for("nothing") == ""
ranks.leave_together()
leave()
"""


@pytest.mark.slow
def test_the_names_of_100000_shards_reach_every_rank(tmp_path: Path) -> None:
    """Together they are larger than what the store of a process group takes at once."""
    (tmp_path / "rank.py").write_text(_MANY_NAMES)
    launcher = [python(), "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    run([*launcher, "--standalone", str(tmp_path / "rank.py")])


@pytest.mark.slow
def test_a_resumed_build_lists_each_directory_at_start_and_end(tmp_path: Path) -> None:
    """The lead lists shards at the beginning and at the end; other ranks list nothing.

    If it loads models first, it lists the shards once more afterwards.
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
    assert lead == {"a": 2, "b": 2, "c": 2, "manifest.json": 1, "generated": 8}
    assert other == {"manifest.json": 1, "generated": 8}
