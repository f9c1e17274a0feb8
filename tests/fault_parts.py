"""Shared helpers for fault tests: builds in processes that can be killed at any point.

Processes are forked from a server that has imported everything, so each one costs milliseconds. A
fault point is the n-th change to the file system by a build; the fault comes before or after it.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import quick_plots  # noqa: F401 (its plot is that of the tests' process)
from build_parts import SETTINGS, FakeRenderer

from factory.builder.build import BuildOptions, build
from factory.common import storage
from factory.common.local_paths import COSTS
from factory.common.storage import open_path
from factory.recipe.library import load_recipe
from factory.shards.generations import FOLDER

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["fault_parts", "torch.distributed", "datasets", "accelerate"])


class Slow(FakeRenderer):
    """Takes a fixed time per batch."""

    seconds = 0.0

    def render(self, rows: Sequence[Any], *, batch_size: int) -> Any:
        time.sleep(Slow.seconds)
        return super().render(rows, batch_size=batch_size)


def start(target: Callable[..., None], *args: Any) -> Any:
    """Start a process; the caller joins or kills it."""
    process = CONTEXT.Process(target=_run_in, args=(dict(os.environ), target, args))
    process.start()
    return process


def _run_in(environment: dict[str, str], target: Callable[..., None], args: Sequence[Any]) -> None:
    """Set the test's environment; the server has the one of its own start."""
    os.environ.clear()
    os.environ.update(environment)
    target(*args)


def finished(process: Any, *, within_s: float = 120) -> int:
    """Wait for a process and return its exit code."""
    process.join(within_s)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError("it hangs")
    return int(process.exitcode)


def generate(
    recipes: Sequence[Path], out: str | Path, *, batch_s: float = 0.0, **options: Any
) -> Any:
    """Build in this process."""
    Slow.seconds = batch_s
    return build(
        [load_recipe(path) for path in recipes],
        out,
        settings=SETTINGS,
        options=BuildOptions(show_progress=False, **options),
        renderer_factory=Slow,
    )


def build_once(
    recipes: Sequence[Path],
    out: str | Path,
    batch_s: float = 0.0,
    counts: Path | None = None,
    **options: Any,
) -> None:
    """Build in a separate process; append its number of generated images to `<out>.generated`."""
    report = generate(recipes, out, batch_s=batch_s, **options)
    with (counts or Path(f"{out}.generated")).open("a") as file:
        file.write(f"{report.generated}\n")


def build_and_die(recipes: Sequence[Path], out: Path, event: int, after: bool) -> None:
    """Build, and end by SIGKILL before or after the n-th change to the file system."""
    on_change(out, sending({event}, signal.SIGKILL), after=after)
    generate(recipes, out)


def sleeps(process: Any) -> bool:
    """Whether a process is suspended, or has ended."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] in ("T", "Z")


def sending(events: Collection[int], number: signal.Signals) -> Callable[[str], None]:
    """Return a function that sends this process a signal at some of its calls, counted from 1."""
    numbers = itertools.count(1)

    def send(name: str) -> None:
        if next(numbers) in events:
            os.kill(os.getpid(), number)

    return send


def on_change(
    out: str | Path,
    report: Callable[[str], None],
    *,
    after: bool,
    change: Callable[[Any, str, Any], None] = setattr,
) -> None:
    """Call `report` at every call that changes a file below `out`, a directory or URL.

    At a URL it is also called when files are listed.

    Args:
        out: The directory or URL.
        report: Gets the name of the call and its path.
        after: Whether to report when a call has ended, instead of before it.
        change: Sets attributes.
    """

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            mine = isinstance(args[0], int) or str(args[0]).startswith(str(out))
            if mine and not after:
                report(f"{name} {args[0]}")
            result = call(*args, **kwargs)
            if mine and after:
                report(f"{name} {args[0]}")
            return result

        return wrapper

    if "://" in str(out):
        url_path = type(open_path(out))
        for name in ("unlink", "iterdir"):
            change(url_path, name, watched(name, getattr(url_path, name)))
        change(storage, "_put", watched("put", storage._put))
        return
    for name in ("rename", "replace", "hardlink_to", "unlink", "mkdir", "rmdir"):
        change(Path, name, watched(name, getattr(Path, name)))
    change(os, "fsync", watched("fsync", os.fsync))


@contextmanager
def watching(out: str | Path, report: Callable[[str], None]) -> Iterator[None]:
    """Call `report` before every change to a file below `out`; see `on_change`."""
    with pytest.MonkeyPatch.context() as patch:
        on_change(out, report, after=False, change=patch.setattr)
        yield


def run_command(recipes: Sequence[Path], out: Path, batch_s: float, errors: Path) -> None:
    """Run `factory build` as the command line does, errors and exit status included."""
    from factory.cli.main import main
    from factory.common.entry import run_main
    from factory.renderer.pool import Renderers

    Slow.seconds = batch_s
    Renderers._make = lambda self, recipe, dtype: Slow(recipe)  # type: ignore[method-assign]
    sys.stderr = errors.open("w")
    words = ["--quiet", "--threads", "1", "--batch-size", "4", "--shard-size", "8"]
    words += ["--dtype", "float32"]
    run_main(lambda: main(["build", str(recipes[0]), str(out), *words]))


def strays(out: Path) -> list[str]:
    """Return files that do not belong to a dataset, and empty folders."""
    return [
        path.relative_to(out).as_posix()
        for path in out.rglob("*")
        if (path.name.startswith(".") and path.name not in (FOLDER, COSTS))
        or (path.is_dir() and not any(path.iterdir()))
    ]
