"""The marks of a viewer: read, changed and written at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from eval.viewer.rows import Rows
from factory.common.errors import UserError
from factory.common.local_paths import is_inside
from factory.common.options import made
from factory.data.columns import CONFIG_NAME, INDEX, RECIPE
from factory.data.marks import Mark, read_marks, write_marks

_INDEXES = 1 << 40


class Marks:
    """Marked images of a dataset, kept in a file."""

    def __init__(self, rows: Rows, path: Path, *, is_own: bool) -> None:
        """Read the file, if there is one.

        Args:
            rows: The rows.
            path: The file.
            is_own: Whether it is the dataset's own, which must be inside its directory.

        Raises:
            UserError: The file is damaged, or a link out of the dataset.
        """
        if is_own and not is_inside(path, rows.dataset.out):
            raise UserError(f"{path}: is a link out of the dataset; remove it, or give --marks")
        self._rows, self.path = rows, path
        self._lock = Lock()
        self.version = 1
        self.marks: set[Mark] = self._read()

    def _read(self) -> set[Mark]:
        return read_marks(self.path) if self.path.exists() else set()

    def change(self, rows: Sequence[int], *, marked: bool) -> int:
        """Mark or unmark images; return the number of marks.

        Raises:
            UserError: The file cannot be read or written any more, or a row's recipe has no valid
                name.
        """
        found = self._rows.at(np.asarray(rows, np.int64))
        keys = {(str(row[RECIPE]), int(row[INDEX])) for row in found}
        if odd := [name for name, _ in keys if not CONFIG_NAME.fullmatch(name)]:
            raise UserError(f"{odd[0][:100]!r} is not the name of a config; this cannot be marked")
        with self._lock:
            # Another viewer or a person may have changed the file.
            now = self._read()
            now = now | keys if marked else now - keys
            try:
                write_marks(made(self.path), now)
            except OSError as error:
                raise UserError(f"{self.path}: cannot be written ({error.strerror})") from None
            self.marks, self.version = now, self.version + 1
        return len(now)

    def is_marked(self, recipe: str, index: int) -> bool:
        """Return whether an image is marked."""
        return (recipe, index) in self.marks

    @cached_property
    def _keys(self) -> tuple[dict[str, int], NDArray[np.int64]]:
        """Numbers of the recipes, and one number for each row's recipe and index."""
        encoded = self._rows.table[RECIPE].combine_chunks().dictionary_encode()
        names = {name: number for number, name in enumerate(encoded.dictionary.to_pylist())}
        numbers = encoded.indices.fill_null(len(names)).to_numpy().astype(np.int64)
        return names, numbers * _INDEXES + self._rows.numbers(INDEX).astype(np.int64)

    def mask(self) -> NDArray[np.bool_]:
        """Return whether each row is marked."""
        names, keys = self._keys
        wanted = [
            names[name] * _INDEXES + index
            for name, index in self.marks
            if name in names and index < _INDEXES
        ]
        return np.isin(keys, np.asarray(wanted, np.int64))
