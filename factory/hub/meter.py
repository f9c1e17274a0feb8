"""Count the bytes that an upload sends, and show them in a progress bar.

Plain LFS uses the HTTP client, whose requests are counted. Xet uploads from its own threads and
reports to the progress display of huggingface_hub, which is replaced by ours, because no public API
reports how much was new.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from factory.common import console
from factory.hub.client import counting_uploads

_XET_DISPLAY = "huggingface_hub.utils._xet_progress_reporting"
_XET_REPORTER = "XetUploadProgressReporter"


class Meter:
    """Bytes of one upload.

    Attributes:
        sent: Bytes of content sent, retries included, before Xet's compression; None if the
            client does not report it.
        total: Bytes of the files to upload.
    """

    def __init__(self, total: int, *, show: bool) -> None:
        self.sent: int | None = 0
        self.total = total
        self._bar = console.progress(
            total, unit="byte", description="push", show=show, in_bytes=True
        )
        self._shown = 0
        self._finished = 0

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def count_sent(self, size: int) -> None:
        """Count bytes sent."""
        if self.sent is not None:
            self.sent += size

    def show_done(self, size: int) -> None:
        """Show that `size` bytes of the current files are read, compared and sent."""
        done = min(self._finished + size, self.total)
        if done > self._shown:
            self._bar.update(done - self._shown)
            self._shown = done

    def finish(self, size: int) -> None:
        """Count files as done; a failed attempt is shown again from its start."""
        self._finished += size
        self.show_done(0)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure the uploads of the clients inside the block."""
        if not uses_xet():
            with _no_bars(), counting_uploads(self.count_sent):
                yield
            return
        display = importlib.import_module(_XET_DISPLAY)
        original = getattr(display, _XET_REPORTER, None)
        if original is None or _bars().are_progress_bars_disabled():
            self.sent = None
            yield
            return
        setattr(display, _XET_REPORTER, lambda *_, **__: _XetReporter(self))
        try:
            yield
        finally:
            setattr(display, _XET_REPORTER, original)


class _XetReporter:
    """Replacement for the display of huggingface_hub: the same two methods."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._sent = 0

    def update_progress(self, group: Any, _items: Any = None) -> None:
        """Store the totals of the upload so far."""
        sent = int(group.total_transfer_bytes_completed)
        self._meter.count_sent(max(0, sent - self._sent))
        self._sent = max(self._sent, sent)
        self._meter.show_done(int(group.total_bytes_completed))

    def close(self) -> None:
        """Do nothing: the bar belongs to the meter."""


def uses_xet() -> bool:
    """Return whether contents are uploaded through Xet, instead of plain LFS."""
    from huggingface_hub import constants

    return not constants.HF_HUB_DISABLE_XET and find_spec("hf_xet") is not None


@contextmanager
def _no_bars() -> Iterator[None]:
    """Hide the progress bars of huggingface_hub."""
    bars = _bars()
    if bars.are_progress_bars_disabled():
        yield
        return
    bars.disable_progress_bars()
    try:
        yield
    finally:
        bars.enable_progress_bars()


def _bars() -> Any:
    """Return the module that controls huggingface_hub's progress bars."""
    return importlib.import_module("huggingface_hub.utils")
