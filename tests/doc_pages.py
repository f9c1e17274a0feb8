"""Code blocks of the documentation, and a shell that runs them as a user would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import quick_python
from markdown_it import MarkdownIt

ROOT = Path(__file__).parent.parent
PAGES = (
    *("README.md", "CONTRIBUTING.md", "factory/embedded/README.md", "train/generator/README.md"),
    # The other cards come from the same template.
    "dataset_cards/cifar10.md",
)
SHELL = ("", "bash", "sh")
_DATA = ("yaml", "text", "json", "bibtex")
# Imported once, by the server that forks every command of a page.
_LIBRARIES = (*quick_python.HUB_LIBRARIES, "doc_small")
_SCRIPTS = {
    "data-factory": '-m factory.command_line "$@"',
    "python": '"$@"',
    "torchrun": '-m torch.distributed.run "$@"',
    "accelerate": '-m accelerate.commands.accelerate_cli "$@"',
    "pip": f'"{ROOT}/tests/doc_pip.py" "$@"',
    "prepare": f'"{ROOT}/tests/doc_data.py" "$@"',
}
# A launcher of a cluster runs its command here; `make` shows that its target exists.
_OWN = {
    "srun": 'exec "$@"',
    "scontrol": "echo localhost",
    "make": f'exec {shutil.which("make")} --dry-run --directory "{ROOT}" "$@"',
}
_SLURM = {
    **{"SLURM_JOB_NODELIST": "localhost", "SLURM_NNODES": "1", "SLURM_JOB_ID": "1"},
    **{"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "1"},
}


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes:
        page: Path of the page, relative to the repository.
        line: Line of its first line, from 1.
        language: Of the fence; empty for an indented block.
        text: Its content.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """Return all pages with documentation."""
    return [*PAGES, *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]


def blocks(page: str) -> list[Block]:
    """Return the code blocks of a page in order, without directives of the site."""
    tokens = MarkdownIt("commonmark").parse((ROOT / page).read_text(encoding="utf-8"))
    found = []
    for token in tokens:
        if token.type in ("fence", "code_block") and not token.info.startswith("{"):
            assert token.map is not None
            line = token.map[0] + (2 if token.type == "fence" else 1)
            found.append(Block(page, line, token.info.strip(), token.content))
    return found


def is_run(block: Block) -> bool:
    """Return whether a block is shell or Python, not data."""
    assert block.language in (*SHELL, *_DATA, "python"), f"{block}: unknown {block.language}"
    return block.language not in _DATA


class Shell:
    """A folder in which the blocks of a page run one after the other."""

    def __init__(self, folder: Path, programs: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self._environment = {**environment, "PATH": f"{programs}:{os.environ['PATH']}", **_SLURM}
        (folder / ".venv/bin").mkdir(parents=True, exist_ok=True)
        (folder / ".venv/bin/activate").touch()
        for name in ("recipes", "eval", "factory"):
            (folder / name).symlink_to(ROOT / name)
        (folder / "docs/images").mkdir(parents=True)
        (folder / "docs/study.yaml").symlink_to(ROOT / "docs/study.yaml")

    def run(self, block: Block, *, status: int = 0) -> None:
        """Run a block; another exit status than `status` of one of its commands is an error."""
        script = self.folder / ".block.py"
        if block.language == "python":
            script.write_text(block.text, encoding="utf-8")
        text = f"python {script.name}" if block.language == "python" else block.text
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=280,
        )
        output = f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        assert "is now called" not in done.stderr, f"{block}: an old spelling\n{output}"
        assert done.returncode == status, f"{block} ended with {done.returncode}:\n{text}\n{output}"


def make_programs(folder: Path, environment: dict[str, str]) -> Path:
    """Write the programs that blocks call into a folder, forks of one server of their own."""
    server = folder / "server"
    server.mkdir(parents=True)
    (server / "owner").write_text(str(os.getpid()))
    python = quick_python.start(server, environment, _LIBRARIES, quick_python.python())
    # Its server has read whether the Hub may be asked.
    choice = f'[ -n "$HF_HUB_OFFLINE" ] && exec "{quick_python.python()}"'
    programs = folder / "programs"
    programs.mkdir()
    own = {name: f'{choice} {words}\nexec "{python}" {words}' for name, words in _SCRIPTS.items()}
    for name, line in {**own, **_OWN}.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    return programs


def commands(text: str) -> list[str]:
    """Return the project's own commands in a shell text, each on one line."""
    joined = re.sub(r"\\\n\s*", " ", text)
    # The last quotation mark may be that of a text around the command.
    found = [one.strip() for one in re.findall(_COMMAND, joined)]
    return [one.removesuffix('"') if one.count('"') % 2 else one for one in found]


_COMMAND = re.compile(
    r"(?:data-factory|(?<=-m )(?:factory|train\.generator|train|eval)|(?<=\d )factory)"
    r" [^#|;&\n]*"
)
