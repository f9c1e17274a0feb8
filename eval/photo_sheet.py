"""Write photos with a model's answers as one image, the most confident answer first."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from eval.answers import NONE, is_rejected
from eval.classifier import Answer
from eval.photos import Photo
from factory.common.plot_text import PlotFont, plot_font
from factory.common.redaction import cut_line
from factory.common.resources import cores_per_process
from factory.common.whole_files import replace_file

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
MOST = 400
"""Of more photos, only so many are shown: few programs open an image of thousands."""
_LONGEST = 200
# Pixels.
_CELL, _GAP, _MARGIN, _TITLE, _TEXT = 176, 20, 24, 40, 64
_BAR, _BAR_TOP, _BASELINE, _LINE = 4, 5, 27, 16
_LEAST_WIDTH = 640
_LARGE, _NORMAL, _SMALL = 16, 13, 10
_DPI = 100
_INK, _GREY, _PALE, _BACK, _SURE = "#1c2330", "#7a828f", "#e1e5eb", "#f3f4f6", "#2f6db5"


@dataclass(frozen=True)
class _Cell:
    """Content of one cell of the sheet."""

    photo: Photo
    label: str
    name: str
    probability: float
    is_rejected: bool


def write_sheet(
    answers: Sequence[Answer],
    path: Path,
    *,
    title: str,
    label_names: Sequence[str],
    threshold: float | None = None,
    skipped: int = 0,
) -> None:
    """Write the image atomically.

    Args:
        answers: At least one; sorted here. Their photos are read again. At most `MOST` are shown,
            evenly spaced by confidence; the title reports it.
        path: Its suffix is one of `FORMATS`.
        title: Title of the sheet: the model and its input.
        label_names: All classes of the model.
        threshold: See `eval.answers.is_rejected`.
        skipped: Number of images without an answer, for the title.

    Raises:
        UserError: A photo can no longer be read.
    """
    import matplotlib as mpl

    ranked = sorted(answers, key=lambda answer: -answer.confidence)
    places = np.linspace(0, len(ranked) - 1, min(MOST, len(ranked))).round().astype(int)
    shown = [ranked[place] for place in places.tolist()]
    note = f"{title}: {len(ranked):,} image{'s' * (len(ranked) > 1)}, most confident first"
    if len(shown) < len(ranked):
        note += f"; {len(shown)} are shown, evenly spaced by confidence"
    if skipped:
        note += f"; {skipped:,} cannot be read and {'is' if skipped == 1 else 'are'} left out"
    files = [answer.photo.name.rpartition("/")[2] for answer in shown]
    font = plot_font([note, *label_names, *files])
    with mpl.rc_context(font.style):
        image = _drawn(_cells(shown, label_names, font, threshold), title=font.shown(note))
    kind = FORMATS[path.suffix.lower()]
    options = {"quality": 92} if kind == "JPEG" else {}
    replace_file(path, lambda to: image.save(to, format=kind, **options))


def _cells(
    shown: Sequence[Answer], label_names: Sequence[str], font: PlotFont, threshold: float | None
) -> list[_Cell]:
    names = dict(zip(label_names, font.numbered(label_names), strict=True))
    return [
        _Cell(
            photo=answer.photo,
            label=NONE if rejected else cut_line(names[answer.classes[0][0]], _LONGEST),
            name=cut_line(font.shown(answer.photo.name.rpartition("/")[2]), _LONGEST),
            probability=answer.confidence,
            is_rejected=rejected,
        )
        for answer in shown
        for rejected in [is_rejected(answer, threshold)]
    ]


def _drawn(cells: Sequence[_Cell], *, title: str) -> Image.Image:
    # A little wider than high.
    columns = min(len(cells), math.ceil(math.sqrt(1.8 * len(cells))))
    width = max(_LEAST_WIDTH, 2 * _MARGIN + columns * (_CELL + _GAP) - _GAP)
    step = _CELL + _TEXT + _GAP
    height = 2 * _MARGIN + _TITLE + math.ceil(len(cells) / columns) * step - _GAP
    places = [
        (_MARGIN + column * (_CELL + _GAP), _MARGIN + _TITLE + row * step)
        for row, column in (divmod(number, columns) for number in range(len(cells)))
    ]
    page = Image.new("RGB", (width, height), "white")
    with ThreadPoolExecutor(cores_per_process()) as pool:
        thumbnails = pool.map(_thumbnail, (cell.photo for cell in cells))
        for cell, (x, y), thumbnail in zip(cells, places, thumbnails, strict=True):
            _draw_photo(page, thumbnail, cell, x, y)
    writing = _Writing(page)
    title = writing.fitted(title, width - 2 * _MARGIN, _LARGE)
    writing.add(title, _MARGIN, _MARGIN + _LARGE, _LARGE)
    for cell, (x, y) in zip(cells, places, strict=True):
        _write_below(writing, cell, x, y + _CELL)
    return writing.finished()


def _thumbnail(photo: Photo) -> Image.Image:
    image = photo.read(_CELL)
    scale = _CELL / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3)


def _draw_photo(page: Image.Image, thumbnail: Image.Image, cell: _Cell, x: int, y: int) -> None:
    """Paste a photo into the middle of its square, with a bar for its probability below."""
    draw = ImageDraw.Draw(page)
    draw.rectangle((x, y, x + _CELL - 1, y + _CELL - 1), _BACK)
    page.paste(thumbnail, (x + (_CELL - thumbnail.width) // 2, y + (_CELL - thumbnail.height) // 2))
    top = y + _CELL + _BAR_TOP
    draw.rectangle((x, top, x + _CELL - 1, top + _BAR - 1), _PALE)
    length = round(cell.probability * _CELL)
    if length:
        draw.rectangle(
            (x, top, x + length - 1, top + _BAR - 1), _GREY if cell.is_rejected else _SURE
        )


def _write_below(writing: _Writing, cell: _Cell, x: int, y: int) -> None:
    """Write label, probability and file name."""
    share = ">99 %" if cell.probability > 0.995 else f"{100 * cell.probability:.0f} %"
    room = _CELL - writing.width(share, _NORMAL) - 8
    first, rest = writing.split(cell.label, room, _NORMAL)
    colour = _GREY if cell.is_rejected else _INK
    baseline = y + _BASELINE
    writing.add(first, x, baseline, _NORMAL, colour)
    writing.add(share, x + _CELL, baseline, _NORMAL, colour, align="right")
    if rest:
        baseline += _LINE
        writing.add(writing.fitted(rest, _CELL, _NORMAL), x, baseline, _NORMAL, colour)
    name = writing.fitted(cell.name, _CELL, _SMALL)
    writing.add(name, x, baseline + _LINE - 1, _SMALL, _GREY)


class _Writing:
    """Writes text on an image with matplotlib, using fonts that have each character."""

    def __init__(self, page: Image.Image) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._page, self._size = page, page.size
        self._figure = Figure(figsize=(page.width / _DPI, page.height / _DPI), dpi=_DPI)
        self._canvas = FigureCanvasAgg(self._figure)
        self._renderer = self._canvas.get_renderer()
        self._figure.patch.set_alpha(0)

    def add(
        self,
        text: str,
        x: float,
        baseline: float,
        size: int,
        colour: str = _INK,
        align: str = "left",
    ) -> None:
        """Write a line; all sizes are in pixels."""
        width, height = self._size
        self._figure.text(
            x / width,
            1 - baseline / height,
            text,
            fontsize=size * 72 / _DPI,
            color=colour,
            ha=align,
            va="baseline",
        )

    def width(self, text: str, size: int) -> float:
        """Return the width of a line in pixels."""
        from matplotlib.font_manager import FontProperties

        font = FontProperties(size=size * 72 / _DPI)
        found = self._renderer.get_text_width_height_descent(text, font, ismath=False)
        return float(found[0])

    def fitted(self, text: str, room: float, size: int) -> str:
        """Return a line shortened to a width; removed text is marked."""
        if self.width(text, size) <= room:
            return text
        return f"{text[: self._fitting(text, room - self.width('…', size), size)].rstrip()}…"

    def split(self, text: str, room: float, size: int) -> tuple[str, str]:
        """Return the part of a text that fits, and the rest; short texts are split at a space."""
        if self.width(text, size) <= room:
            return text, ""
        most = max(1, self._fitting(text, room, size))
        space = text.rfind(" ", 0, most + 1)
        end = space if space > 0 else most
        return text[:end].rstrip(), text[end:].lstrip()

    def _fitting(self, text: str, room: float, size: int) -> int:
        """Return the number of characters that fit."""
        ends = range(len(text) + 1)
        return bisect_right(ends, room, key=lambda end: self.width(text[:end], size)) - 1

    def finished(self) -> Image.Image:
        """Return the image with all texts."""
        self._canvas.draw()
        pixels: Any = self._canvas.buffer_rgba()
        texts = Image.fromarray(np.asarray(pixels))
        self._page.paste(texts, mask=texts)
        return self._page
