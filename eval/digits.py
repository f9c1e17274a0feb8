"""Write scikit-learn's handwritten digits as a dataset directory: real images, no download."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import UserError
from factory.common.whole_files import replace_file, replace_text

_NAMES = [str(digit) for digit in range(10)]
_DATA_FILE = Path("data") / "test-00000-of-00001.parquet"
# The source counts dark pixels of 4x4 blocks: 0 to 16.
_MAX_COUNT = 16

_CARD = """---
license: cc-by-4.0
pretty_name: Handwritten digits, 8x8
task_categories:
- image-classification
size_categories:
- 1K<n<10K
configs:
- config_name: default
  description: fingerprint {fingerprint}
  data_files:
  - split: test
    path: {path}
---

# Handwritten digits, 8x8

{num_images:,} real handwritten digits of 8x8 pixels, for scoring models that were trained on
synthetic images. **A test set only**: do not train on it, and do not choose models by it.

| column | type |
|---|---|
| `image` | 8x8 RGB, PNG; grey: strokes are bright on black |
| `label` | ClassLabel, names `0` to `9` |

The images are the test half of *Optical Recognition of Handwritten Digits* (E. Alpaydin, C.
Kaynak, 1998; UCI Machine Learning Repository, <https://doi.org/10.24432/C50P49>, CC BY 4.0), as
`sklearn.datasets.load_digits` has them: digits of 13 people on 32x32 black and white pixels,
of which each 4x4 block was counted. Changes: the counts 0 to 16 are scaled to grey values 0 to
255 and stored as RGB.

Written by `data-factory digits`.
"""


def write_digits(out_dir: Path) -> int:
    """Write the dataset; the bytes are reproducible with the same libraries.

    Args:
        out_dir: New or empty folder, or one written by an earlier call.

    Returns:
        Number of images.

    Raises:
        UserError: `out_dir` is a file, or contains anything else.
    """
    _check_free(out_dir)
    pixels, labels = digit_pixels()
    data_file = out_dir / _DATA_FILE
    data_file.parent.mkdir(parents=True, exist_ok=True)
    dataset = _as_dataset(pixels, labels)
    replace_file(data_file, lambda temporary: _write_parquet(dataset, temporary))
    fingerprint = hashlib.sha256(data_file.read_bytes()).hexdigest()
    card = _CARD.format(
        fingerprint=fingerprint[:16], path=_DATA_FILE.as_posix(), num_images=len(labels)
    )
    replace_text(out_dir / "README.md", card)
    return len(labels)


def digit_pixels() -> tuple[NDArray[np.uint8], list[int]]:
    """Return the images, shape (1797, 8, 8, 3), grey, and their digits."""
    from sklearn.datasets import load_digits

    found = load_digits()
    grey = np.rint(found.images * (255 / _MAX_COUNT)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3), found.target.tolist()


def _check_free(out_dir: Path) -> None:
    if out_dir.exists() and not out_dir.is_dir():
        raise UserError(f"{out_dir}: is a file; give a folder")
    if not out_dir.is_dir():
        return
    ours = {"data", "README.md"} if (out_dir / _DATA_FILE).is_file() else set()
    foreign = sorted(path.name for path in out_dir.iterdir() if path.name not in ours)
    if foreign:
        raise UserError(f"{out_dir}: is not empty (contains {foreign[0]}); name a new folder")


def _as_dataset(pixels: NDArray[np.uint8], labels: list[int]) -> Any:
    import datasets

    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=_NAMES)}
    )
    images = [{"bytes": _png(image), "path": None} for image in pixels]
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)


def _write_parquet(dataset: Any, path: Path) -> None:
    """Write without the progress bar of datasets, which is useless for a single batch."""
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        dataset.to_parquet(str(path))
    finally:
        if shown:
            datasets.enable_progress_bars()


def _png(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return buffer.getvalue()
