"""Finds the heads of cats, and of dogs, which look enough like them, and writes them as boxes.

The finder is OpenCV's, two cascades of Haar-like features for cats' faces from the front, which its
wheels ship. What it finds is checked by size, by how sure it is, by how much of the head is in the
picture; dogs by whether another detection agrees, most often that of the other cascade.
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
from train.generator.pictures.rendered import check_new, write_set
from train.generator.pictures.rows import open_rows, read_picture, read_words

log = logging.getLogger(__name__)

COLUMN = "head"
CASCADES = ("haarcascade_frontalcatface.xml", "haarcascade_frontalcatface_extended.xml")
# The cascades were made for faces of 24 pixels and more; smaller pictures are enlarged.
SEARCH_SIDE = 192
SMALLEST_FACE = 42
# A face near an edge is found only if there is something beyond.
BORDER = 0.125
# A face box holds no ears; the head's does. Its middle is higher, by parts of the face's side.
HEAD_SIDE = 1.7
HEAD_RISE = 0.1


@dataclass(frozen=True)
class Rule:
    """What counts as found.

    Attributes:
        sure: The least weight of the cascade's last stage.
        agreeing: How many detections must lie on each other, itself included.
        beyond: How much of the head's square may lie beyond the picture, in parts of its side.
    """

    sure: float
    agreeing: int
    beyond: float = 0.22


RULES: Mapping[str, Rule] = {"cat": Rule(0.3, 1), "dog": Rule(0.6, 2)}


@dataclass(frozen=True)
class Face:
    """What one cascade found: middle and side in pixels of the picture, and its weight."""

    x: float
    y: float
    side: float
    weight: float

    def agrees(self, other: Face) -> bool:
        """Tell whether another detection lies on this one."""
        side = min(self.side, other.side)
        near = max(abs(self.x - other.x), abs(self.y - other.y)) < 0.25 * side
        return near and abs(self.side - other.side) < 0.3 * side

    def head(self) -> list[float]:
        """Return the box of the head: left, top, right, bottom."""
        half, y = HEAD_SIDE * self.side / 2, self.y - HEAD_RISE * self.side
        return [round(float(one), 2) for one in (self.x - half, y - half, self.x + half, y + half)]

    def beyond(self, width: int, height: int) -> float:
        """Return how much of the head's side lies beyond the picture's nearest edge."""
        left, top, right, bottom = self.head()
        return max(0.0, -left, -top, right - width, bottom - height) / (HEAD_SIDE * self.side)


class FaceFinder:
    """OpenCV's two cascades for cats' faces."""

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
                f"OpenCV {cv2.__version__} ships no {', '.join(missing)}; versions before 5 do: "
                "pip install 'data-factory[heads]'"
            )
        self._cascades = [cv2.CascadeClassifier(str(folder / name)) for name in CASCADES]

    def find(self, picture: NDArray[np.uint8]) -> list[Face]:
        """Return all detections in a picture, uint8 (height, width, 3)."""
        height, width = picture.shape[:2]
        scale = max(1.0, SEARCH_SIDE / min(height, width))
        margin = round(BORDER * min(height, width))
        grey = self._search_image(picture, margin=margin, scale=scale)
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

    def _search_image(self, picture: NDArray[np.uint8], *, margin: int, scale: float) -> Any:
        padded = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
        size = (round(padded.shape[1] * scale), round(padded.shape[0] * scale))
        cv2 = self._cv2
        larger = cv2.resize(padded, size, interpolation=cv2.INTER_CUBIC)
        return cv2.cvtColor(larger, cv2.COLOR_RGB2GRAY)


def choose_head(
    faces: Sequence[Face], rule: Rule, *, width: int, height: int
) -> list[float] | None:
    """Return the box of the surest head that a rule lets pass, or None."""
    good = [
        face
        for face in faces
        if face.weight >= rule.sure
        and face.beyond(width, height) <= rule.beyond
        and sum(face.agrees(other) for other in faces) >= rule.agreeing
    ]
    return max(good, key=lambda face: face.weight).head() if good else None


def write_heads(source: SourceConfig, out: Path) -> None:
    """Write a set once more, with a column `head`: the box of a cat's or a dog's head, or None.

    Heads are looked for in every picture called cat or dog, paintings and cartoons too.

    Args:
        source: Which rows, and their columns of pictures, names and more general words.
        out: New folder; gets one file that `load_dataset` opens, pictures included.

    Raises:
        UserError: The set cannot be opened, a column is missing or there already, `out` holds
            something or lies in the set's own folder, a cat's or dog's picture cannot be read,
            there is none, or OpenCV is not there.
    """
    finder = FaceFinder()
    check_new(out)
    own = Path(source.source)
    if own.is_dir() and out.resolve().is_relative_to(own.resolve()):
        raise UserError(f"{out}: lies inside the set itself, {own}; give a folder elsewhere")
    rows, folder = open_rows(source)
    if COLUMN in rows.column_names:
        raise UserError(f"{source.source}: has a column {COLUMN} already")
    words = [_word_of(known) for known in read_words(source, rows)]
    if not any(words):
        raise UserError(
            f"{source.source}: no row is called {' or '.join(RULES)} in its "
            f"{' or '.join(filter(None, (source.name_column, source.general_column)))}"
        )
    heads: list[list[float] | None] = []
    for index, word in enumerate(words):
        head = None
        if word:
            picture = read_picture(rows, index, source, folder=folder)
            height, width = picture.shape[:2]
            head = choose_head(finder.find(picture), RULES[word], width=width, height=height)
        heads.append(head)
    for word in RULES:
        of_word = [head for head, one in zip(heads, words, strict=True) if one == word]
        found = sum(head is not None for head in of_word)
        log.info("%s: a head in %d of %d pictures", word, found, len(of_word))
    # Of a folder of images a dataset knows only where they are.
    write_set(embedded(_with_heads(rows, heads), where=source.source, folder=folder), out)


def _word_of(known: Sequence[str]) -> str | None:
    return next((word for word in RULES if word in known), None)


def _with_heads(rows: Any, heads: list[list[float] | None]) -> Any:
    import datasets

    feature = datasets.List(datasets.Value("float32"))
    return rows.add_column(COLUMN, heads, feature=feature)
