"""Read the rows of an image dataset: open it, read texts and images, name rows in messages."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import UserError
from factory.common.row_images import read_image
from factory.common.row_options import row_options
from factory.data import open as open_data
from factory.data.row_filter import filter_rows
from train.generator.config import SourceConfig
from train.generator.images.captions import Facts

Images = NDArray[np.uint8]

# Joins several general words in one fact.
SEPARATOR = "|"
# Facts used in captions; the other one is the image.
_TEXTS = ("caption", "name", "general", "view", "domain")


def facts_of(row: Mapping[str, Any], columns: Mapping[str, str], features: Any) -> Facts:
    """Return the texts of a row: caption, name, general words, view, domain."""
    return {
        fact: _text(row[column], features[column])
        for fact, column in columns.items()
        if fact in _TEXTS
    }


def columns_of(config: SourceConfig) -> dict[str, str]:
    """Return the columns of a source, by their role."""
    columns = {
        "image": config.image_column,
        "caption": None if config.name_column else config.caption_column,
        "name": config.name_column,
        "general": config.general_column,
        "view": config.view_column,
        "domain": config.domain_column,
    }
    return {fact: column for fact, column in columns.items() if column}


def open_rows(config: SourceConfig) -> tuple[Any, Path | None]:
    """Open the rows of a source that match its `where` and `row_filter`.

    Returns:
        The rows, and the folder of images that their paths may point into.

    Raises:
        UserError: It cannot be opened, lacks a column of the source, or no row matches.
    """
    columns = columns_of(config)
    rows, folder = open_data.open_rows(
        config.source, config_name=config.config_name, split=config.split
    )
    missing = sorted({*columns.values(), *config.where} - set(rows.column_names))
    if missing:
        raise UserError(
            f"{config.source}: no column {', '.join(missing)}; it has "
            f"{', '.join(sorted(rows.column_names))}"
        )
    if config.where:
        table = rows.select_columns(list(config.where))[:]
        kept = [
            i
            for i in range(len(rows))
            if all(str(table[column][i]) == value for column, value in config.where.items())
        ]
        rows = rows.select(kept)
    if not len(rows):
        raise UserError(f"{config.source}: has no rows with {config.where}; change `where`")
    if config.row_filter is None:
        return rows, folder
    try:
        # It may be of the settings, of the command line, or of both.
        with row_options("row_filter or --{}"):
            return filter_rows(rows, config.row_filter), folder
    except UserError as error:
        named = f"{config.source} with {config.where}" if config.where else config.source
        raise UserError(f"{named}: {error}") from None


def read_pixels(rows: Any, row: int, config: SourceConfig, *, folder: Path | None) -> Images:
    """Read the image of a row unchanged, uint8 (height, width, 3).

    Raises:
        UserError: There is none, or it cannot be decoded.
    """
    kept = " of those that `where` and `row_filter` keep"
    some = kept if config.where or config.row_filter else ""
    where = f"{config.source}: {config.image_column}, row {row}{some}"
    image = read_image(rows[row][config.image_column], where=where, folder=folder)
    return np.asarray(image, np.uint8)


def read_texts(rows: Any, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the rows without their images, read column by column."""
    names = sorted({column for fact, column in columns.items() if fact in _TEXTS})
    table = rows.select_columns(names)[:]
    for values in zip(*(table[name] for name in names), strict=True):
        yield dict(zip(names, values, strict=True))


def _text(value: Any, feature: Any) -> str:
    if isinstance(value, list):
        return SEPARATOR.join(map(str, value))
    if hasattr(feature, "int2str") and value is not None:
        value = feature.int2str(value).replace("_", " ")
    return "" if value is None else str(value).strip()
