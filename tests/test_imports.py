"""What importing large libraries costs, then and later."""

import subprocess
import sys
from importlib import metadata

import pytest

from factory.common.imports import listing_packages_on_demand

CODE = """
import gc
from factory.common.entry import run_main
from factory.common.imports import without_garbage_collection
def main():
    for _ in range(2):
        with without_garbage_collection():
            import plistlib
            assert not gc.isenabled()
        print(gc.get_freeze_count())
    assert gc.isenabled()
"""


def exempt_objects(start: str) -> list[int]:
    """Return the number of exempt objects after a block that imported something, and after one
    that did not.
    """
    words = [sys.executable, "-c", CODE + start]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    return [int(word) for word in done.stdout.split()]


def test_a_program_exempts_what_it_imported_and_nothing_made_later() -> None:
    first, second = exempt_objects("run_main(main)")
    assert first > 1000
    assert second == first


def test_objects_of_a_caller_in_python_stay_in_the_search() -> None:
    assert exempt_objects("main()") == [0, 0]


def test_packages_are_listed_when_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def listing() -> dict[str, list[str]]:
        calls.append("listed")
        return {"PIL": ["pillow"]}

    monkeypatch.setattr(metadata, "packages_distributions", listing)
    with listing_packages_on_demand():
        found = metadata.packages_distributions()
    assert metadata.packages_distributions is listing
    assert calls == []
    assert (found == {"PIL": ["pillow"]}, found["PIL"], "torch" in found) == (
        True,
        ["pillow"],
        False,
    )
    assert calls == ["listed"]
