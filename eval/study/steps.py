"""Run each command once; skip it when its inputs and outputs are unchanged.

A step's key is a hash of its command and of its input contents. When it is done, the key, the
hashes of its output files and its time are written to the study's ledger; a step with the same key
and files is not run again. The commands themselves resume after an interruption.
"""

import hashlib
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from factory.common import program
from factory.common.console import log
from factory.common.errors import Failure, UserError
from factory.common.stop_signals import stopping_on_signals
from factory.common.storage import at_home
from factory.common.whole_files import replace_text, sha256
from factory.data.image_table import is_table

_TAIL = 12
_running: set[subprocess.Popen[bytes]] = set()
# Names of options in the keys of ledgers, so that steps that were done under them stay done.
_FORMER = {"--suffix": "--tag", "--real-config": "--config", "--real-split": "--split"} | {
    f"--real-{name}": f"--{name}" for name in ("filter", "image-column", "label-column")
}


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: Path-like, unique in the study: `train/cifar10/base-class/resnet10t-s0`.
        command: Package and arguments: `factory ...`, `train ...` or `eval ...`.
        inputs: Hashes or names of its inputs.
        outputs: Returns its output files.
        processes: Number of processes of `factory build`; None: as it chooses.
        grows: Whether it extends existing output, so that the time of all its commands counts.
        replaces: Whether files of other inputs are removed first. `eval score` and `eval clip` keep
            such files and give the new one another name; the report would read the old one.
    """

    name: str
    command: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: Callable[[], Sequence[Path]]
    processes: int | None = None
    grows: bool = False
    replaces: bool = False

    @property
    def key(self) -> str:
        """Hash of the command and its inputs."""
        command = [_FORMER.get(word, word) for word in self.command]
        text = json.dumps([command, self.inputs])
        return hashlib.sha256(text.encode()).hexdigest()


class Ledger:
    """The record of finished steps, one file per step."""

    def __init__(self, out: Path) -> None:
        """Keep the ledger in `out`."""
        self._out = out

    def seconds(self, step: Step) -> float | None:
        """Return the time of a step over all its launches; None if it is not done."""
        found = self._read(step)
        return found["seconds"] if found and found["key"] == step.key else None

    def is_done(self, step: Step) -> bool:
        """Return whether the step was run on the same inputs and its files are unchanged."""
        found = self._read(step)
        if found is None or found["key"] != step.key or found["outputs"] is None:
            return False
        return bool(found["outputs"] == self._outputs(step))

    def run(self, step: Step) -> None:
        """Run a step's command; its output goes to a log.

        Raises:
            UserError: The command rejected its input (exit status 2); with its message.
            Failure: It failed otherwise.
        """
        path = self._out / "logs" / f"{step.name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        before = self._read(step)
        same = before is not None and before["key"] == step.key
        spent = before["seconds"] if before and (step.grows or same) else 0.0
        if step.replaces and not same:
            for old in step.outputs():
                old.unlink(missing_ok=True)
        started = time.monotonic()
        with path.open("w", encoding="utf-8") as file:
            file.write(f"$ {shown(step.command)}\n")
            file.flush()
            status = run_command(_launch(step), file)
        seconds = spent + time.monotonic() - started
        if status:
            self._write(step, seconds=seconds, outputs=None)
            raise _failed(step, path, status=status)
        outputs = self._outputs(step)
        if not outputs:
            raise Failure(f"{step.name}: wrote no output files; see {path}")
        self._write(step, seconds=seconds, outputs=outputs)

    def _outputs(self, step: Step) -> dict[str, str]:
        paths = step.outputs()
        if not paths or not all(path.is_file() for path in paths):
            return {}
        return {os.path.relpath(path, self._out): sha256(path) for path in paths}

    def _path(self, step: Step) -> Path:
        return self._out / "ledger" / f"{step.name}.json"

    def _read(self, step: Step) -> dict[str, Any] | None:
        path = self._path(step)
        if not path.is_file():
            return None
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError:
            return None
        return found

    def _write(self, step: Step, *, seconds: float, outputs: dict[str, str] | None) -> None:
        record = {
            "key": step.key,
            "command": shown(step.command),
            "seconds": round(seconds, 2),
            "outputs": outputs,
        }
        path = self._path(step)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(record, indent=2) + "\n")


def run_all(ledger: Ledger, steps: Sequence[Step], *, jobs: int = 1) -> None:
    """Run unfinished steps, several at a time; after a failure no further ones are started.

    Raises:
        UserError: A command rejected its input.
        Failure: A command failed.
    """
    waiting = [step for step in steps if not ledger.is_done(step)]
    if len(waiting) < len(steps):
        log(f"{len(steps) - len(waiting)} of {len(steps)} steps are done")

    stopped = threading.Event()

    def stop() -> None:
        stopped.set()
        for process in list(_running):
            process.terminate()

    def one(numbered: tuple[int, Step]) -> None:
        number, step = numbered
        if stopped.is_set():
            return
        log(f"[{number}/{len(waiting)}] {step.name}")
        try:
            ledger.run(step)
        except BaseException:
            stopped.set()
            raise

    with stopping_on_signals(), ThreadPoolExecutor(max_workers=jobs) as pool:
        running = [pool.submit(one, numbered) for numbered in enumerate(waiting, start=1)]
        try:
            for future in running:
                future.result()
        except BaseException:
            stop()
            raise


def run_command(command: Sequence[str], output: TextIO) -> int:
    """Run a command to its end, or until `run_all` is stopped; return its exit status."""
    with subprocess.Popen(
        command, stdout=output, stderr=subprocess.STDOUT, env=_environment()
    ) as process:
        _running.add(process)
        try:
            return process.wait()
        finally:
            _running.discard(process)


def output_of(command: Sequence[str]) -> str:
    """Run a short command that writes no files and return what it prints.

    Raises:
        UserError: It rejected its input; with its message.
    """
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True,
        text=True,
        env=_environment(),
        check=False,
    )
    if done.returncode:
        raise UserError(done.stderr.strip() or f"{shown(command)}: exit status {done.returncode}")
    return done.stdout


def shown(command: Sequence[str]) -> str:
    """Return a command as a user types it."""
    return f"{program.NAME} {line_of(command)}"


def line_of(command: Sequence[str]) -> str:
    """Return a command without the name of the program."""
    package, *words = command
    return shlex.join(words if package in ("factory", "eval") else command)


def content_of(reference: str) -> str:
    """Return an identifier of a dataset: a hash of all files of a directory, else its name.

    The images that a table names are in the directory of the table.
    """
    path = at_home(reference)
    folder = path.parent if is_table(path) else path
    if not folder.is_dir():
        return reference
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            digest.update(f"{path.relative_to(folder).as_posix()} {sha256(path)}\n".encode())
    return digest.hexdigest()


def _launch(step: Step) -> list[str]:
    builds = step.command[:2] == ("factory", "build")
    processes = ("--processes", str(step.processes)) if builds and step.processes else ()
    return [sys.executable, "-m", *step.command, *processes]


def _environment() -> dict[str, str]:
    """Return the environment of a step: one thread per process, for reproducible results."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    # Import the packages of this checkout.
    root = str(Path(__file__).resolve().parent.parent.parent)
    known = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{root}{os.pathsep}{known}" if known else root
    return environment


def _failed(step: Step, path: Path, *, status: int) -> UserError | Failure:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    # Progress bars overwrite their own line.
    printed = [line.rpartition("\r")[2] for line in lines[1:] if line.strip()]
    text = "\n".join([f"{step.name}: exit status {status}; full log in {path}", *printed[-_TAIL:]])
    return UserError(text) if status == 2 else Failure(text)
