"""matplotlib's own style for every plot, so that plots look alike on every machine."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from factory.common.imports import without_garbage_collection


@contextmanager
def own_style(changes: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Plot and save in matplotlib's default style, with `changes` of its settings.

    A style that the user has set, in a notebook or a `matplotlibrc`, changes nothing.
    """
    with without_garbage_collection():
        import matplotlib as mpl

    # The backend is not a style, and a context does not restore it.
    defaults = {name: value for name, value in mpl.rcParamsDefault.items() if name != "backend"}
    with mpl.rc_context({**defaults, **(changes or {})}):
        yield
