"""Silence transformers and diffusers while they load models."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from factory.hub.client import bound_requests


@contextmanager
def quiet(*loggers: Any) -> Iterator[None]:
    """Silence libraries while they load: no bars, no advice for developers.

    Args:
        loggers: Modules `utils.logging` of transformers or diffusers.
    """
    before = [(one, one.get_verbosity(), one.is_progress_bar_enabled()) for one in loggers]
    for one in loggers:
        one.set_verbosity_error()
        one.disable_progress_bar()
    try:
        yield
    finally:
        for one, level, bar in before:
            one.set_verbosity(level)
            if bar:
                one.enable_progress_bar()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence transformers while it loads, without long retries."""
    bound_requests()
    from transformers.utils import logging

    with quiet(logging):
        yield
