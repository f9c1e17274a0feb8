"""Plot a card in a process of its own while a build loads its model and generates images.

Plots depend on the recipes alone, and take a second at the end of a build otherwise.
"""

import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread

from factory.card.plots import Named, Ridges, draw
from factory.card.spreads import spreads
from factory.common.resources import cores_per_process
from factory.recipe.resolved import ResolvedRecipe

# The child imports what this process would. PYTHONPATH would also change what runs at its start.
_CODE = "import sys; sys.path[:] = {path}; from factory.card import plot_process as p; p.main()"
_PNG_BEGINS, _PNG_ENDS = b"\x89PNG", b"IEND\xaeB`\x82"
# Plots take seconds. A process that was suspended must not stop the build.
_MOST_S = 10.0

_Key = tuple[tuple[str, str, int], ...]
_running: dict[_Key, "_Process"] = {}


class _Process:
    """A process that plots; a thread takes the result, so it ends as soon as it is done."""

    def __init__(self, found: tuple[Ridges, Named]) -> None:
        """Start it.

        Raises:
            OSError: The system starts no process.
            RuntimeError: It starts no thread.
        """
        self._plots: bytes | None = None
        self._thread = Thread(target=self._take, args=(pickle.dumps(found),), daemon=True)
        code = _CODE.format(path=[str(folder) for folder in sys.path])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            self._thread.start()
        except BaseException:
            self.end()
            raise

    def _take(self, found: bytes) -> None:
        plots, said = self._process.communicate(found)
        # Its warnings are not shown; plotting again in this process prints them.
        is_png = plots.startswith(_PNG_BEGINS) and plots.endswith(_PNG_ENDS)
        if self._process.returncode == 0 and not said and is_png:
            self._plots = plots

    def result(self) -> bytes | None:
        """Return the plots when they are done; None if the process failed or had a warning."""
        self._thread.join(_MOST_S)
        return self._plots

    def end(self) -> None:
        """End the process if it still runs."""
        self._process.kill()
        # Not the thread: a process that the killed one has started may keep the pipes open.
        self._process.wait()


@contextmanager
def plotting_ahead(recipes: Sequence[ResolvedRecipe]) -> Iterator[None]:
    """Plot recipes in another process, for `plot_distributions` in this block.

    Nothing happens where this process has one core, or the system starts no other process.
    """
    found = spreads(recipes) if cores_per_process() > 1 else ([], [])
    process = None
    # A Python inside another program has no path of its own.
    if any(found) and sys.executable:
        with suppress(OSError, RuntimeError):
            process = _Process(found)
    if process is None:
        yield
        return
    key = _key(recipes)
    _running[key] = process
    try:
        yield
    finally:
        _running.pop(key, None)
        process.end()


def plot_distributions(recipes: Sequence[ResolvedRecipe]) -> bytes | None:
    """Plot the varied settings of a dataset.

    Args:
        recipes: The configs with images of their own, in the card's order.

    Returns:
        A PNG, or None where nothing is varied.
    """
    process = _running.get(_key(recipes))
    if process is not None and (plots := process.result()) is not None:
        return plots
    found = spreads(recipes)
    return draw(*found) if any(found) else None


def _key(recipes: Sequence[ResolvedRecipe]) -> _Key:
    """Return everything that the plots of recipes depend on."""
    return tuple((one.name, one.fingerprint, one.num_images) for one in recipes)
