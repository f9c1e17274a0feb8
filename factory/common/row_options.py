"""Names of the options that choose rows, as the user of a command or a file writes them.

A command with two datasets has prefixes (`--real-filter`), a study has keys
(`sets.digits.real.label_column`). The functions that open datasets know neither, but their messages
name these options.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_FORM = ContextVar("form", default="--{}")


@contextmanager
def row_options(form: str) -> Iterator[None]:
    """Choose how messages of a block write a name, in place of `{}`: `--real-{}`, `sets.a.real.{}`.

    An option's hyphen precedes the name; words may follow it. A form without `{}` is the option of
    a dataset whose rows no option chooses.
    """
    before = _FORM.set(form)
    try:
        yield
    finally:
        _FORM.reset(before)


def row_option(name: str) -> str:
    """Return the full name of an option: `config`, `split`, `filter` or `image-column`, ..."""
    form = _FORM.get()
    # Keys of files have underscores.
    return form.replace("{}", name if "-{}" in form else name.replace("-", "_"))


def has_row_options() -> bool:
    """Return whether options choose rows of the dataset."""
    return "{}" in _FORM.get()


def choose_one(name: str, known: Iterable[str]) -> str:
    """Return the advice to choose one of a dataset's configs or splits (`config`, `split`)."""
    listed = ", ".join(known)
    if has_row_options():
        return f"name one of its {name}s with {row_option(name)}: {listed}"
    return (
        f"has several {name}s ({listed}); {_FORM.get()} cannot choose one: give a dataset with one "
        f"{name}"
    )
