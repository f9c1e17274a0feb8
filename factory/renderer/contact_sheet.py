"""Make contact sheets: images in labelled rows and columns, as one image."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from factory.common.plot_text import bundled_font, in_bundled

if TYPE_CHECKING:
    from factory.common.image_arrays import ImageArray

# Pixels. Smaller images are enlarged to the minimum cell, larger ones reduced to the maximum.
_LEAST_CELL = 112
_GREATEST_CELL = 256
_GAP = 6
_TEXT = 14
_TITLE = 18
_LINE = 18
_MAX_LINES = 4
_INK = (20, 20, 20)
_PAPER = (255, 255, 255)


def contact_sheet(
    images: Sequence[Sequence[ImageArray]],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
    caption: str = "",
) -> Image.Image:
    """Arrange images in a labelled grid.

    Small images are enlarged by whole factors without smoothing, so that every pixel is visible.

    Args:
        images: Rows of images, uint8, shape (height, width, 3), all of one size.
        row_labels: One per row, on the left.
        column_labels: One per column, at the top.
        title: Title above the grid.
        caption: Smaller text below the title.
    """
    title, caption, *labels = in_bundled(
        [title, caption, *row_labels, *column_labels], what="contact sheet"
    )
    row_labels, column_labels = labels[: len(row_labels)], labels[len(row_labels) :]
    height, width = _cell_size(images[0][0])
    left = _GAP + (max(map(_text_width, row_labels)) + 2 * _GAP if row_labels else 0)
    wrapped = [_wrap(label, width) for label in column_labels]
    lines = max((len(label) for label in wrapped), default=0)
    columns = max(map(len, images))
    whole = left + columns * (width + _GAP)
    heading = [(line, _TITLE) for line in _wrap(title, whole, size=_TITLE)]
    heading += [(line, _TEXT) for line in _wrap(caption, whole)]
    top = _GAP + len(heading) * (_LINE + _GAP) + lines * _LINE + (_GAP if lines else 0)
    sheet = Image.new("RGB", (whole, top + len(images) * (height + _GAP)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (line, size) in enumerate(heading):
        draw.text((_GAP, _GAP + number * (_LINE + _GAP)), line, _INK, font=_font(size))
    for column, label in enumerate(wrapped):
        place = (left + column * (width + _GAP), top - _GAP - len(label) * _LINE)
        draw.multiline_text(place, "\n".join(label), _INK, font=_font(_TEXT))
    for row, line_of_images in enumerate(images):
        y = top + row * (height + _GAP)
        if row_labels:
            draw.text(
                (_GAP, y + height // 2), row_labels[row], _INK, font=_font(_TEXT), anchor="lm"
            )
        for column, image in enumerate(line_of_images):
            sheet.paste(_resized(image, height, width), (left + column * (width + _GAP), y))
    return sheet


def stacked(sheets: Sequence[Image.Image]) -> Image.Image:
    """Arrange contact sheets below one another."""
    width, height = max(one.width for one in sheets), sum(one.height for one in sheets)
    whole, y = Image.new("RGB", (width, height), _PAPER), 0
    for sheet in sheets:
        whole.paste(sheet, (0, y))
        y += sheet.height
    return whole


def _cell_size(image: ImageArray) -> tuple[int, int]:
    """Return height and width of a cell."""
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest > _GREATEST_CELL:
        scale = _GREATEST_CELL / longest
        return max(1, round(height * scale)), max(1, round(width * scale))
    factor = max(1, -(-_LEAST_CELL // longest))
    return height * factor, width * factor


def _resized(image: ImageArray, height: int, width: int) -> Image.Image:
    enlarged = height >= image.shape[0]
    how = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
    return Image.fromarray(image).resize((width, height), how)


def _wrap(text: str, width: int, *, size: int = _TEXT) -> list[str]:
    """Break text into a few lines that fit; removed text is marked."""
    if not text:
        return []
    letter = _font(size).getlength("n")
    return textwrap.wrap(text, max(4, int(width / letter)), max_lines=_MAX_LINES, placeholder=" …")


def _text_width(text: str) -> int:
    return int(_font(_TEXT).getlength(text)) + 1


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # It covers far more alphabets than Pillow's bundled font.
    return ImageFont.truetype(bundled_font(), size)
