"""Combine every fault with every kind of call in a push, and check the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_parts import ORG, remote_sha256, run_factory, set_sha256
from localhub import LocalHub

COMMON = ("info", "whoami", "refs", "create", "tree", "preupload", "validate_yaml", "commit", "tag")
XET = ("xet_token", "dedup", "xorb_grant", "xorb_put", "xorb_commit", "shard")
LFS = ("lfs_batch", "lfs_put", "lfs_complete", "lfs_verify")
KINDS: dict[str, dict[str, Any]] = {
    "500": {"kind": "status", "status": 500},
    "503": {"kind": "status", "status": 503},
    "429": {"kind": "status", "status": 429, "retry_after": 1},
    "close": {"kind": "close"},
    "reset": {"kind": "reset"},
    "lost": {"kind": "reset_after"},
    "truncated": {"kind": "truncate"},
    "corrupt answer": {"kind": "flip", "side": "response"},
    "corrupt request": {"kind": "flip", "side": "request"},
}
# Answers that only a commit gives although nothing is wrong: try again.
COMMIT_ONLY: dict[str, dict[str, Any]] = {
    "409": {"kind": "status", "status": 409},
    "412": {"kind": "status", "status": 412},
}
NEEDS_BODY = ("create", "preupload", "validate_yaml", "commit", "tag", "xorb_put", "shard", *LFS)


@dataclass(frozen=True)
class Case:
    """One fault at one route, in one transfer mode."""

    mode: str
    route: str
    kind: str

    def __str__(self) -> str:
        return f"{self.mode}-{self.route}-{self.kind}".replace(" ", "-")


def cases() -> list[Case]:
    """Return the whole matrix."""
    return [
        Case(mode, route, kind)
        for mode, own in (("xet", XET), ("lfs", LFS))
        for route in (*COMMON, *own)
        for kind in (*KINDS, *(COMMIT_ONLY if route == "commit" else ()))
        if kind != "corrupt request" or route in NEEDS_BODY
    ]


def push_under_fault(case: Case, out: Path, home: Path) -> None:
    """Push a dataset with one fault; it must succeed, at the latest after a second push."""
    repo_id = f"{ORG}/matrix"
    with LocalHub(xet=case.mode == "xet") as hub:
        if case.route == "lfs_complete":
            # Small parts: every file goes up in several.
            hub.part_size = 1024
        fault = hub.fault(case.route, **(KINDS | COMMIT_ONLY)[case.kind])
        done = push(hub, home, out, repo_id)
        assert fault.hits == 1, f"the fault did not strike: {done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        if done.returncode != 0:
            # Only a request that was changed on its way may end a push: TLS rules that out.
            assert case.kind == "corrupt request", done.stderr
            last = done.stderr.strip().splitlines()[-1]
            assert last.startswith(repo_id), done.stderr
            hub.clear_faults()
            done = push(hub, home, out, repo_id)
            assert done.returncode == 0, done.stderr
        commits = hub.repos["datasets", repo_id].commits
        made = [one for one in commits.values() if one.title != "initial commit"]
        assert len(made) <= (2 if case.kind == "corrupt request" else 1)
        assert remote_sha256(hub, repo_id, "v1") == set_sha256(out, repo_id)


def push(hub: LocalHub, home: Path, out: Path, repo_id: str) -> Any:
    """Push quietly, with a tag."""
    return run_factory(hub, home, "push", out, repo_id, "--tag", "v1", "--quiet")
