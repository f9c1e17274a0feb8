"""Folders of labelled images: a subfolder per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from . import parts


def make(folder: Path, images: int, *, side: int, suffix: str) -> Path:
    """Write so many images, as `.png` or `.jpg`; a class has a colour of its own."""
    ready = parts.ready_images(side)
    for number in range(images):
        label = number % len(parts.CLASSES)
        place = folder / parts.CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        tinted = ready[number % len(ready)] // 2
        tinted[..., label % 3] += np.uint8(8 * label)
        Image.fromarray(tinted).save(place / f"{number:06d}{suffix}")
    return folder
