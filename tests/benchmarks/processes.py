"""Run commands and functions in fresh processes and measure time and memory of each."""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from . import ROOT
from .timing import Scale

_KIB = 1024


class BenchmarkFailed(Exception):
    """A measured process failed."""


@dataclass(frozen=True)
class Finished:
    """A process that has ended.

    Attributes:
        seconds: From its start to its end.
        cpu_s: CPU seconds of it and its children.
        peak_bytes: Largest resident memory of it or of one of its children.
        value: Value of the function; None for a command.
    """

    seconds: float
    cpu_s: float
    peak_bytes: int
    value: Any = None


def command(*words: str, scale: Scale) -> Finished:
    """Run `data-factory WORDS`."""
    if not scale.in_process:
        return program([sys.executable, "-m", "factory.command_line", *words])[0]
    from factory.command_line.cli import main

    def run() -> None:
        # `--help` ends the program.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            main(list(words))

    return _here(run)


def function(name: str, *arguments: Any, scale: Scale) -> Finished:
    """Run `MODULE:FUNCTION` of this package; arguments and value must be JSON values."""
    if scale.in_process:
        return _here(lambda: call(name, arguments))
    words = [sys.executable, "-m", "tests.benchmarks.processes", name, json.dumps(arguments)]
    done, out = program(words)
    value = json.loads(out.strip().splitlines()[-1])
    return Finished(done.seconds, done.cpu_s, done.peak_bytes, value)


def call(name: str, arguments: Sequence[Any]) -> Any:
    """Call a function of this package by its name."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(f".{module}", __package__), attribute)(*arguments)


def program(words: Sequence[str]) -> tuple[Finished, str]:
    """Run a program in the root of the repository; return its measurements and its output.

    Raises:
        BenchmarkFailed: With the last line of its errors.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(words, stdout=out, stderr=errors, cwd=ROOT, env=_environment())
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), errors.seek(0)
        if process.returncode:
            last = (errors.read().strip().splitlines() or ["no message"])[-1]
            raise BenchmarkFailed(f"{' '.join(words[1:4])} ended with {process.returncode}: {last}")
        done = Finished(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * _KIB)
        return done, out.read()


def _environment() -> dict[str, str]:
    """Return the environment of measured processes.

    They choose their threads themselves, and keep compiled modules, as an installed program does.
    """
    without = ("OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if name not in without}
    return kept | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}


def _here(run: Any) -> Finished:
    started, used = time.perf_counter(), time.process_time()
    value = run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
    return Finished(time.perf_counter() - started, time.process_time() - used, peak, value)


if __name__ == "__main__":
    answer = call(sys.argv[1], json.loads(sys.argv[2]))
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
