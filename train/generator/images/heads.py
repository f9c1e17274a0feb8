"""Find the heads of cats, and of dogs, which look similar enough, and write them as boxes.

The detectors are OpenCV's two cascades of Haar-like features for frontal cat faces, part of its
wheels. Detections are checked by size, confidence and the part of the head inside the image; for
dogs another detection must agree, usually from the other cascade.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import UserError
from factory.common.row_images import embedded
from train.generator.config import SourceConfig
from train.generator.images.rendered import check_new, write_set
from train.generator.images.rows import open_rows, read_pixels, read_words

log = logging.getLogger(__name__)

COLUMN = "head"
CASCADES = ("haarcascade_frontalcatface.xml", "haarcascade_frontalcatface_extended.xml")
# The cascades need faces of at least 24 pixels; smaller images are enlarged.
SEARCH_SIDE = 192
SMALLEST_FACE = 42
# Faces near an edge are found only with a margin around the image.
BORDER = 0.125
# A face box has no ears; a head box has. Its centre is higher, in parts of the face's side.
HEAD_SIDE = 1.7
HEAD_RISE = 0.1


@dataclass(frozen=True)
class Rule:
    """Criteria for accepting a head.

    Attributes:
        sure: Minimum weight of the cascade's last stage.
        agreeing: Minimum number of overlapping detections, itself included.
        beyond: Maximum part of the head's side outside the image.
    """

    sure: float
    agreeing: int
    beyond: float = 0.22


RULES: Mapping[str, Rule] = {"cat": Rule(0.3, 1), "dog": Rule(0.6, 2)}


@dataclass(frozen=True)
class Face:
    """A detection of one cascade: centre and side in pixels, and its weight."""

    x: float
    y: float
    side: float
    weight: float

    def agrees(self, other: Face) -> bool:
        """Return whether another detection overlaps this one."""
        side = min(self.side, other.side)
        near = max(abs(self.x - other.x), abs(self.y - other.y)) < 0.25 * side
        return near and abs(self.side - other.side) < 0.3 * side

    def head(self) -> list[float]:
        """Return the box of the head: left, top, right, bottom."""
        half, y = HEAD_SIDE * self.side / 2, self.y - HEAD_RISE * self.side
        return [round(float(one), 2) for one in (self.x - half, y - half, self.x + half, y + half)]

    def beyond(self, width: int, height: int) -> float:
        """Return the part of the head's side outside the image."""
        left, top, right, bottom = self.head()
        return max(0.0, -left, -top, right - width, bottom - height) / (HEAD_SIDE * self.side)


class FaceFinder:
    """OpenCV's two cascades for cat faces."""

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError:
            raise UserError(
                "finding heads needs OpenCV: pip install 'data-factory[heads]'"
            ) from None
        self._cv2: Any = cv2
        folder = Path(cv2.__file__).parent / "data"
        missing = [name for name in CASCADES if not (folder / name).exists()]
        if missing:
            raise UserError(
                f"OpenCV {cv2.__version__} has no {', '.join(missing)}; use a version before 5: "
                "pip install 'data-factory[heads]'"
            )
        self._cascades = [cv2.CascadeClassifier(str(folder / name)) for name in CASCADES]

    def find(self, image: NDArray[np.uint8]) -> list[Face]:
        """Return all detections in an image, uint8 (height, width, 3)."""
        height, width = image.shape[:2]
        scale = max(1.0, SEARCH_SIDE / min(height, width))
        margin = round(BORDER * min(height, width))
        grey = self._search_image(image, margin=margin, scale=scale)
        smallest = round(SMALLEST_FACE * max(1.0, scale * min(height, width) / SEARCH_SIDE))
        faces: list[Face] = []
        for cascade in self._cascades:
            boxes, _, weights = cascade.detectMultiScale3(
                grey, 1.05, 2, minSize=(smallest, smallest), outputRejectLevels=True
            )
            faces += [
                Face(
                    (x + w / 2) / scale - margin,
                    (y + h / 2) / scale - margin,
                    w / scale,
                    float(np.ravel(weight)[0]),
                )
                for (x, y, w, h), weight in zip(boxes, weights, strict=True)
            ]
        return faces

    def _search_image(self, image: NDArray[np.uint8], *, margin: int, scale: float) -> Any:
        padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
        size = (round(padded.shape[1] * scale), round(padded.shape[0] * scale))
        cv2 = self._cv2
        larger = cv2.resize(padded, size, interpolation=cv2.INTER_CUBIC)
        return cv2.cvtColor(larger, cv2.COLOR_RGB2GRAY)


def choose_head(
    faces: Sequence[Face], rule: Rule, *, width: int, height: int
) -> list[float] | None:
    """Return the box of the most confident head that satisfies a rule, or None."""
    good = [
        face
        for face in faces
        if face.weight >= rule.sure
        and face.beyond(width, height) <= rule.beyond
        and sum(face.agrees(other) for other in faces) >= rule.agreeing
    ]
    return max(good, key=lambda face: face.weight).head() if good else None


def write_heads(source: SourceConfig, out: Path) -> None:
    """Write a copy of a dataset with a column `head`: the box of a cat's or dog's head, or None.

    Every image named cat or dog is searched, paintings and cartoons too.

    Args:
        source: The rows, and their columns of images, names and more general words.
        out: New folder; one file for `load_dataset` is written, images included.

    Raises:
        UserError: The dataset cannot be opened, a column is missing or exists already, `out` is not
            empty or is inside the dataset's folder, an image of a cat or dog cannot be read, there
            is none, or OpenCV is missing.
    """
    finder = FaceFinder()
    check_new(out)
    own = Path(source.source)
    if own.is_dir() and out.resolve().is_relative_to(own.resolve()):
        raise UserError(f"{out}: is inside the dataset {own}; name a folder elsewhere")
    rows, folder = open_rows(source)
    if COLUMN in rows.column_names:
        raise UserError(f"{source.source}: already has a column {COLUMN}; rename or remove it")
    words = [
        next((word for word in RULES if word in known), None) for known in read_words(source, rows)
    ]
    if not any(words):
        raise UserError(
            f"{source.source}: no row contains {' or '.join(RULES)} in column "
            f"{' or '.join(filter(None, (source.name_column, source.general_column)))}; choose "
            "another column with --name-column"
        )
    heads: list[list[float] | None] = []
    for index, word in enumerate(words):
        head = None
        if word:
            image = read_pixels(rows, index, source, folder=folder)
            height, width = image.shape[:2]
            head = choose_head(finder.find(image), RULES[word], width=width, height=height)
        heads.append(head)
    for word in RULES:
        of_word = [head for head, one in zip(heads, words, strict=True) if one == word]
        found = sum(head is not None for head in of_word)
        log.info("%s: a head in %d of %d images", word, found, len(of_word))
    # An image folder's dataset contains only the paths of its images.
    write_set(embedded(_with_heads(rows, heads), where=source.source, folder=folder), out)


def _with_heads(rows: Any, heads: list[list[float] | None]) -> Any:
    import datasets

    feature = datasets.List(datasets.Value("float32"))
    return rows.add_column(COLUMN, heads, feature=feature)
