"""Names of the options that choose rows, as the user of a command or a file writes them.

A command with two datasets has prefixes (`--real-filter`), a study has keys
(`sets.digits.real.filter`). The functions that open datasets know neither, but their messages name
these options.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PREFIX = ContextVar("prefix", default="--")


@contextmanager
def row_options(prefix: str) -> Iterator[None]:
    """Choose what precedes the names in messages of a block, e.g. `--real-` or `sets.a.real.`."""
    before = _PREFIX.set(prefix)
    try:
        yield
    finally:
        _PREFIX.reset(before)


def row_option(name: str) -> str:
    """Return the full name of an option: `config`, `split`, `filter` or `image-column`, ..."""
    prefix = _PREFIX.get()
    # Keys of files have underscores.
    return prefix + (name if prefix.endswith("-") else name.replace("-", "_"))
