"""File formats and sizes of the compared images: a difference alone can separate two sides."""

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.common.row_images import image_header
from factory.data.open import OpenedDataset


def formats_of(opened: OpenedDataset, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Return the number of images per format, and the median width and height in pixels.

    Raises:
        UserError: An image is missing or of an unknown format.
    """
    numbers = opened.row_numbers or range(len(opened.dataset))
    cells = opened.dataset.select_columns([opened.image_column])
    found = [
        image_header(
            cells[row][opened.image_column],
            where=f"row {numbers[row]}",
            folder=opened.image_folder,
        )
        for row in rows.tolist()
    ]
    sizes = np.array([one[1:] for one in found])
    return {
        "formats": dict(Counter(name for name, _, _ in found).most_common()),
        "median_size": [float(side) for side in np.median(sizes, axis=0)],
    }


def differing(sides: dict[str, dict[str, Any]]) -> str | None:
    """Return a warning if the sides differ in format or size; None if they do not.

    Args:
        sides: By name, the result of `formats_of`.
    """
    facts = {name: (sorted(one["formats"]), one["median_size"]) for name, one in sides.items()}
    if all(fact == next(iter(facts.values())) for fact in facts.values()):
        return None
    texts = [
        f"{name}: {', '.join(formats)}, {width:g} x {height:g} pixels"
        for name, (formats, (width, height)) in facts.items()
    ]
    return (
        f"the images differ in format or size ({'; '.join(texts)}), which can account for a part "
        "of the gap: save all images in one format and size to rule that out"
    )
