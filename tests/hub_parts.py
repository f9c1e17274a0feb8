"""Shared helpers for tests of the Hub: run the unmodified clients in separate processes.

The clients read `HF_ENDPOINT` and `HF_HOME` at import, so each scenario is a new process with a new
`HF_HOME`. The loopback Hub itself runs in the test's process, so a test can order faults and read
its state directly.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

from localhub import LocalHub
from quick_python import python

from factory.card import page

ROOT = Path(__file__).parent.parent
ORG = "localorg"
# hf-xet waits 3, 9, 27, 81, 243 s between attempts; a test has no time for that.
QUICK_RETRIES = {
    "HF_XET_CLIENT_RETRY_BASE_DELAY": "50ms",
    "HF_XET_CLIENT_RETRY_MAX_DURATION": "5s",
}


def client_env(hub: LocalHub, home: Path, *, token: str | None = "", **more: str) -> dict[str, str]:
    """Return a client's environment.

    Args:
        hub: The Hub it connects to.
        home: Its `HF_HOME`: caches and login.
        token: Default: one with write permission; None is no token.
        more: Further variables.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    return {
        **inherited,
        **hub.env(home, token),
        **QUICK_RETRIES,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        **more,
    }


def run_python(
    hub: LocalHub, home: Path, code: str, *arguments: object, **env: Any
) -> subprocess.CompletedProcess[str]:
    """Run code in a client process; `env` as for `client_env`."""
    return _run([python(), "-c", code], arguments, client_env(hub, home, **env))


def run_factory(
    hub: LocalHub, home: Path, *arguments: object, module: str = "factory", **env: Any
) -> subprocess.CompletedProcess[str]:
    """Run `python -m factory ARGUMENTS` (or `train`, `eval`) as a client process."""
    return _run([python(), "-m", module], arguments, client_env(hub, home, **env))


def _run(
    command: list[str], arguments: tuple[object, ...], env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *map(str, arguments)],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def remote_sha256(hub: LocalHub, repo_id: str, revision: str = "main") -> dict[str, str]:
    """Return the SHA-256 of every file of a dataset's revision, read from the Hub's own store."""
    commit = hub.repos["datasets", repo_id].at(revision)
    return {
        path: hashlib.sha256(hub.content(blob)[1](0, blob.size)).hexdigest()
        for path, blob in sorted(commit.files.items())
        if path != ".gitattributes"
    }


def set_sha256(out: Path, repo_id: str) -> dict[str, str]:
    """Return the expected SHA-256 of every file of a dataset on the Hub."""
    contents = {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.relative_to(out).parts[0].startswith(".")
    }
    contents[page.FILE_NAME] = page.at_home(contents[page.FILE_NAME], repo_id)
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
