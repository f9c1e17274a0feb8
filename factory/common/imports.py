"""Import large libraries faster."""

import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

_freezes = False


def freeze_imports() -> None:
    """Let `without_garbage_collection` exempt what it imports from later searches for cycles.

    Only for programs: objects of a caller that are alive at the end of the block are exempt too,
    and their cycles would never be freed.
    """
    global _freezes
    _freezes = True


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Pause the search for reference cycles in a block that imports large libraries.

    Their modules create a million objects that stay. Looking through them again and again takes a
    fifth of the time of an import; later searches, and those at the end of the program, take as
    long once more. See `freeze_imports` for these.
    """
    was_enabled, modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        # Not after a block that imported nothing: garbage in cycles would stay.
        if _freezes and len(sys.modules) > modules:
            gc.freeze()
        if was_enabled:
            gc.enable()


@contextmanager
def listing_packages_on_demand() -> Iterator[None]:
    """Let a library that lists all installed packages when it is imported do so when it reads them.

    diffusers lists them to find packages that few have. Python looks up the files of each package
    for it, which takes almost a second of CPU time for 200 packages.
    """
    from importlib import metadata

    listing = metadata.packages_distributions
    metadata.packages_distributions = lambda: _OnDemand(listing)
    try:
        yield
    finally:
        metadata.packages_distributions = listing


class _OnDemand(Mapping[str, list[str]]):
    """A mapping that is made when it is first read."""

    def __init__(self, make: Callable[[], Mapping[str, list[str]]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> Mapping[str, list[str]]:
        return self._make()

    def __getitem__(self, name: str) -> list[str]:
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)
