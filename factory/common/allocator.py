"""The C library's way of handing out memory."""

import ctypes
import os
import sys

# Options of glibc's `mallopt`. By default glibc takes every block of more than 32 MB from the
# system and gives it back at once.
_MMAP_THRESHOLD, _MMAP_MAX, _TRIM_THRESHOLD = -3, -4, -1


def keep_freed_memory() -> None:
    """Let this process use freed memory again, instead of returning it to the system.

    The system clears each page that it hands out, which costs time if the tensors of a batch are
    large. In return the process keeps its largest memory until it ends. Variables of the
    environment for the same options have priority. Does nothing without glibc.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is None:
        return
    # Older glibc refuses thresholds above 32 MB. Trimming less without the other option would be
    # slower than the default: it stops the growth of the threshold with the blocks that are freed.
    may_trim_less = (
        _is_given("mmap_threshold")
        or set_option(_MMAP_THRESHOLD, 1 << 30)
        or (not _is_given("mmap_max") and set_option(_MMAP_MAX, 0))
    )
    if may_trim_less and not _is_given("trim_threshold"):
        set_option(_TRIM_THRESHOLD, (1 << 31) - 1)


def _is_given(name: str) -> bool:
    """Return whether the environment sets an option."""
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return f"MALLOC_{name.upper()}_" in os.environ or f"glibc.malloc.{name}" in tunables
