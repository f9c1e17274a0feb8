"""Find images that are both trained on and held out: they make the held-out accuracy too high."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from factory.common.program import command
from factory.common.text import some

_SHOWN = 3


def report_duplicates(
    digests: Sequence[bytes],
    labels: NDArray[np.int64],
    *,
    train_rows: NDArray[np.int64],
    val_rows: NDArray[np.int64],
    note: Callable[[str], None],
) -> int:
    """Warn about held-out images that are also training images, pixel by pixel.

    Returns:
        Number of such held-out images.
    """
    first = {digests[row]: row for row in train_rows[::-1].tolist()}
    pairs = [(row, first[digests[row]]) for row in val_rows.tolist() if digests[row] in first]
    if not pairs:
        return 0
    other = sum(bool(np.any(labels[one] != labels[two])) for one, two in pairs)
    shown = some([f"{one} = {two}" for one, two in pairs], _SHOWN)
    note(
        f"warning: {len(pairs)} of {len(val_rows)} held-out images are also training images (rows "
        f"{shown})"
        + (f", {other} of them with another label" if other else "")
        + "; the held-out accuracy will be too high: remove the repeats, e.g. with "
        f'{command("gate")} and --filter "not near_duplicate"'
    )
    return len(pairs)
