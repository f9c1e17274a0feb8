"""The C library's way of handing out memory."""

import ctypes
import os
import sys

# Options of glibc's `mallopt`, their values in bytes, and their names in the environment. By
# default glibc takes every block of more than 32 MB from the system and gives it back at once.
_OPTIONS = (
    (-3, 1 << 30, "MALLOC_MMAP_THRESHOLD_", "glibc.malloc.mmap_threshold"),
    (-1, (1 << 31) - 1, "MALLOC_TRIM_THRESHOLD_", "glibc.malloc.trim_threshold"),
)


def keep_freed_memory() -> None:
    """Let this process use freed memory again, instead of returning it to the system.

    The system clears each page that it hands out, which costs a training on CPUs a fifth of its
    time if the tensors of a batch are large. Variables of the environment for the same options have
    priority. Does nothing without glibc.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    for number, value, variable, tunable in _OPTIONS:
        if set_option is not None and variable not in os.environ and tunable not in tunables:
            set_option(number, value)
