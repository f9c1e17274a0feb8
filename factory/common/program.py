"""How this program was started, and how another of its commands is typed there.

Every command line that is printed is written by this module, so that it exists where it is printed.
Files for other machines (cards, reports, recipes) name `data-factory` instead.
"""

import shlex
import shutil
import sys
from pathlib import Path

NAME = "data-factory"
"""The console script; `NAME COMMAND ...` is what files for other machines say."""
_MODULE = "command_line"
"""Folder of the module that has all commands, `factory.command_line`."""
_PACKAGES = {
    "train": "train",
    **dict.fromkeys(
        (
            *("clip", "digits", "export", "gap", "label", "predict", "report", "score", "study"),
            *("table", "to-fiftyone", "view"),
        ),
        "eval",
    ),
}


def package_of(command: str) -> str:
    """Return the package that has a command: `factory`, `train` or `eval`."""
    return _PACKAGES.get(command, "factory")


def command(line: str) -> str:
    """Return a command line as it can be typed where this process runs.

    Args:
        line: A command's name and arguments, e.g. `score RUN --real DATASET`.
    """
    start = start_of(package_of(line.split()[0]))
    return f"{start} {line if _script() else _arguments(line)}".rstrip()


def start_of(package: str) -> str:
    """Return how the lines begin that run a package's commands, e.g. `python -m eval`."""
    return _script() or f"{_python()} {_target(package)}"


def launch(line: str, *, processes: int) -> str:
    """Return the line that runs a command in several processes, also without GPUs."""
    words = f"{_target(package_of(line.split()[0]))} {_arguments(line)}"
    if _is_beside_python("accelerate"):
        return f"accelerate launch --multi_gpu --num_processes {processes} {words}"
    return f"{_python()} -m torch.distributed.run --nproc-per-node {processes} {words}"


def module(name: str) -> str:
    """Return how a line begins that runs a module, e.g. `python -m train.generator`."""
    return f"{_python()} -m {name}"


def own_words() -> list[str]:
    """Return the words that start this program once more, without its arguments."""
    started = Path(sys.argv[0])
    is_file = started.name == NAME or started.parent.name in (_MODULE, "factory")
    known = _is_folder(started) or (is_file and started.is_file())
    return [sys.executable, *([sys.argv[0]] if known else ["-m", "factory"])]


def _arguments(line: str) -> str:
    """Return a line without the name of a command that is a package of its own."""
    name, _, rest = line.partition(" ")
    return rest if package_of(name) == name else line


def _script() -> str | None:
    """Return how the line of all commands can be typed here, or None if it cannot."""
    if _is_beside_python(NAME):
        return NAME
    started = Path(sys.argv[0])
    if started.parent.name == _MODULE and started.name == "__main__.py":
        return module(f"factory.{_MODULE}")
    if started.name != NAME or not started.is_file():
        return None
    found = shutil.which(NAME)
    is_on_path = found is not None and Path(found).samefile(started)
    return NAME if is_on_path else _typed(sys.argv[0])


def _python() -> str:
    for name in ("python", "python3"):
        if _is_beside_python(name):
            return name
    return _typed(sys.executable)


def _typed(path: str) -> str:
    """Return a path as it is typed here: relative if it is below the current directory."""
    inside = Path(path).is_relative_to(Path.cwd())
    return shlex.quote(str(Path(path).relative_to(Path.cwd())) if inside else path)


def _target(package: str) -> str:
    """Return python's arguments: `-m PACKAGE`, or the folder that this program was started as."""
    started = Path(sys.argv[0])
    return shlex.quote(str(started.with_name(package))) if _is_folder(started) else f"-m {package}"


def _is_folder(started: Path) -> bool:
    return (started / "__main__.py").is_file()


def _is_beside_python(name: str) -> bool:
    """Return whether a name is on the PATH, in the folder of this interpreter."""
    found = shutil.which(name)
    return found is not None and Path(found).parent == Path(sys.executable).parent
