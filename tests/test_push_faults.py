"""Every fault at every kind of call of a push; `make test` runs a sample, the soak all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_matrix import Case, cases, push_under_fault
from hub_sets import small_set

# One of each kind, each at a call where it differs from the others.
_SAMPLE = {
    ("xet", "commit", "lost"),
    ("xet", "commit", "412"),
    ("xet", "xorb_put", "corrupt request"),
    ("xet", "shard", "close"),
    ("xet", "create", "lost"),
    ("lfs", "commit", "429"),
    ("lfs", "commit", "corrupt answer"),
    ("lfs", "lfs_put", "reset"),
    ("lfs", "tag", "lost"),
    ("lfs", "tree", "truncated"),
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_set(tmp_path_factory.mktemp("set"))


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=str(case),
            marks=() if (case.mode, case.route, case.kind) in _SAMPLE else pytest.mark.soak,
        )
        for case in cases()
    ],
)
def test_a_fault_neither_loses_nor_duplicates_files(case: Case, out: Path, tmp_path: Path) -> None:
    push_under_fault(case, out, tmp_path)
