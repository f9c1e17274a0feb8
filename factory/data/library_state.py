"""Change for a while how the library datasets reads: without bars, patterns or open files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from glob import has_magic
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


@contextmanager
def literal(path: str) -> Iterator[None]:
    """Let datasets take the name of a local folder as it is, although it looks like a pattern."""
    if "://" in path or not has_magic(path):
        yield
        return
    from datasets import data_files

    resolve, home = data_files.resolve_pattern, os.path.realpath(path)
    with TemporaryDirectory() as folder:
        link = Path(folder, "dataset")
        link.symlink_to(home)

        def resolved(pattern: str, base_path: str, *args: Any, **options: Any) -> list[str]:
            base = base_path.replace(home, str(link), 1)
            found = resolve(pattern, base, *args, **options)
            return [file.replace(str(link), home, 1) for file in found]

        data_files.resolve_pattern = resolved
        try:
            yield
        finally:
            data_files.resolve_pattern = resolve


class quiet:
    """Silence datasets: its bars would interleave with ours, its lines quote files as they are."""

    def __enter__(self) -> None:
        import datasets as hf

        self._enabled = hf.is_progress_bar_enabled()
        self._verbosity = hf.utils.logging.get_verbosity()
        hf.disable_progress_bars()
        hf.utils.logging.set_verbosity(hf.utils.logging.CRITICAL)

    def __exit__(self, *_: object) -> None:
        import datasets as hf

        hf.utils.logging.set_verbosity(self._verbosity)
        if self._enabled:
            hf.enable_progress_bars()


@contextmanager
def closing_csv_files() -> Iterator[None]:
    """Close every CSV file that datasets opens meanwhile, however far it reads.

    It reads the first rows of a `metadata.csv` and abandons the reader, which then holds itself and
    the open file until some later garbage collection; after an error nothing closes the file.
    """
    from datasets.utils import file_utils

    open_file = file_utils.xopen
    with ExitStack() as files:
        file_utils.xopen = lambda *args, **options: files.enter_context(open_file(*args, **options))
        try:
            yield
        finally:
            file_utils.xopen = open_file
