"""Import large libraries faster."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
