"""Resolve a directory or Hub id with the library datasets, and load the files of its rows."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError, first_line
from factory.common.row_options import choose_one
from factory.common.text import suggest
from factory.data.file_classes import require_same_classes
from factory.data.library_state import closing_csv_files, literal, quiet
from factory.data.row_bounds import require_bounded_rows

if TYPE_CHECKING:
    import datasets

# Formats whose files contain their rows. Others, such as hdf5, iceberg and lance, may point to
# files elsewhere, or have parsers of their own.
IMAGES = "imagefolder"
_IMAGE_COLUMNS = ("image", "img", "picture")
_PARQUET = "parquet"
MODULES = (_PARQUET, IMAGES, "arrow", "csv", "json", "text")

# datasets raises these for malformed descriptions: in a card, in a JSON file,
# in the metadata of a Parquet file.
MALFORMED = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError),
    *(NotImplementedError, RecursionError, TypeError),
)


def find_builder(path: str, config_name: str | None, revision: str | None = None) -> Any:
    """Resolve a dataset without reading its rows; report each failure in one line with a remedy.

    Raises:
        UserError: There is no such dataset or config, or it has no data.
        OSError: The network failed.
    """
    import datasets as hf
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError

    # Messages use the name as the user typed it.
    shown = path.removeprefix("hf://datasets/")
    try:
        with quiet(), literal(path):
            return hf.load_dataset_builder(path, config_name, revision=revision)
    except DatasetNotFoundError as error:
        hint = "check the id; a private one needs a login (hf auth login)"
        raise UserError(f"{shown}: {first_line(error)}; {hint}") from None
    except FileNotFoundError as error:
        if isinstance(error, EmptyDatasetError | DataFilesNotFoundError):
            raise UserError(
                f"{shown}: contains neither images nor files of rows (Parquet, CSV, JSON, Arrow); "
                "name the directory of a dataset, or a Hub id"
            ) from None
        # A list of all suffixes that datasets knows follows.
        words = first_line(error).partition(" with any supported extension")[0]
        raise UserError(f"{shown}: {words}; is it a dataset directory or Hub id?") from None
    except ValueError as error:
        fault = _config_fault(path, config_name, revision, error)
        raise UserError(f"{shown}: {fault}") from None
    except MALFORMED as error:
        raise UserError(
            f"{shown}: its card is invalid ({first_line(error)}); correct `configs` and "
            "`dataset_info`, or remove them"
        ) from None


def _config_fault(
    path: str, config_name: str | None, revision: str | None, error: ValueError
) -> str:
    import datasets as hf

    if config_name is None and "onfig" not in str(error):
        return first_line(error)
    try:
        with literal(path):
            known = hf.get_dataset_config_names(path, revision=revision)
    except (OSError, ValueError, *MALFORMED):
        return first_line(error)
    if config_name is None:
        return choose_one("config", known)
    return f"no config {config_name!r}; {suggest(config_name, known)}"


def module_name(builder: Any, *, shown: str) -> str:
    """Return the module of datasets behind a builder: the format's name (`parquet`, `imagefolder`).

    Raises:
        UserError: Files of this format can point to other files or addresses, or are not tables.
    """
    module = type(builder).__module__.rsplit(".", 1)[-1]
    if module not in MODULES:
        raise UserError(
            f"{shown}: its files are {module}, which is not supported; convert them to Parquet, or "
            f"use one of {', '.join(MODULES)}"
        )
    return module


def options_of(builder: Any, *, shown: str) -> dict[str, Any]:
    """Return the options that a card, or the suffix `.tsv`, sets: the separator of CSV files.

    Raises:
        UserError: The separator is a pattern, or no ASCII character: columns cannot be counted.
    """
    separator = getattr(builder.config, "sep", ",")
    if separator == ",":
        return {}
    if not (isinstance(separator, str) and len(separator) == 1 and separator.isascii()):
        raise UserError(
            f"{shown}: its card separates cells by {str(separator)[:40]!r}; expected one ASCII "
            "character"
        )
    return {"sep": separator}


def load_files(
    shown: str,
    module: str,
    *,
    data_files: Mapping[str, Sequence[str]],
    features: datasets.Features | None = None,
    **options: Any,
) -> datasets.DatasetDict:
    """Load local files, each by its own name: none is taken as a pattern.

    Without `features`, the files define columns and types. `options` are those of the module.

    Raises:
        UserError: The files cannot be read, or are not one dataset.
    """
    import datasets as hf
    from datasets.exceptions import DatasetGenerationError

    try:
        separator = options.get("sep", ",")
        require_bounded_rows(shown, module, data_files, features, separator=separator)
        listed = _listed(data_files)
        with quiet(), closing_csv_files():
            found = hf.load_dataset(module, data_files=listed, features=features, **options)
            require_same_classes(shown, module, data_files, found)
            return hf.DatasetDict({name: _with_images(rows) for name, rows in found.items()})
    except DatasetGenerationError as error:
        cause = first_line(error.__cause__ or error)
        raise UserError(
            f"{shown}: its files cannot be loaded as one dataset ({cause}); all files of a config "
            "need the same columns and types: move other files to another directory"
        ) from None
    except (OSError, ValueError, *MALFORMED) as error:
        # pyarrow raises OSError without a number for damaged files; with a number it is a system
        # error.
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise
        if isinstance(error, ValueError) and "no data" in str(error):
            raise UserError(
                f"{shown}: its files contain no rows; give another directory or config"
            ) from None
        raise UserError(
            f"{shown}: its files cannot be loaded ({first_line(error)}); replace damaged files"
        ) from None


def _with_images(rows: datasets.Dataset) -> datasets.Dataset:
    """Give encoded images their type, which other writers of Parquet than datasets do not store."""
    import datasets as hf

    for name, feature in rows.features.items():
        is_cell = isinstance(feature, dict) and sorted(feature) == ["bytes", "path"]
        is_bytes = "binary" in str(getattr(feature, "dtype", ""))
        if is_cell or (is_bytes and name.lower() in _IMAGE_COLUMNS):
            rows = rows.cast_column(name, hf.Image(decode=False))
    return rows


def _listed(data_files: Mapping[str, Sequence[str]]) -> Any:
    """Return the paths in the form that the library datasets uses after resolving patterns.

    Each has its modification time and size, which tell versions of a file apart.

    It would take `a [1].csv` as the pattern of `a 1.csv`, and pass over it where there is none.
    """
    from datasets.data_files import DataFilesDict, DataFilesList

    return DataFilesDict(
        {
            split: DataFilesList(list(paths), [_version(path) for path in paths])
            for split, paths in data_files.items()
        }
    )


def _version(path: str) -> tuple[str, str]:
    state = Path(path).stat()
    return str(state.st_mtime_ns), str(state.st_size)
