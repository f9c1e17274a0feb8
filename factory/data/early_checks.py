"""Checks of a dataset that need its path, its card and the columns of a file only.

Commands make them before they import torch and datasets, which takes seconds; opening makes them
again. Datasets of the Hub are not looked up.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from factory.common.dataset_files import (
    check_card,
    check_config,
    check_files,
    files_in_card,
    names_files,
)
from factory.common.errors import UserError
from factory.common.local_paths import missing_directory
from factory.common.row_options import row_option
from factory.common.storage import at_home
from factory.data.column_choice import choose_split, no_column
from factory.data.image_folder import find_images
from factory.data.image_table import is_table
from factory.data.row_bounds import schema_of
from factory.data.row_filter import check_syntax
from factory.hub.ids import looks_like_hub_id

# Columns of a folder of images without metadata.
_IMAGE_FOLDER = ("image", "label")
# What `save_to_disk` of the library datasets writes.
_SAVED = ("dataset_dict.json", "state.json")


def check_rows(
    reference: str | Path,
    *,
    config_name: str | None = None,
    split: str | None = None,
    preferred_split: str = "train",
    row_filter: str | None = None,
    columns: Sequence[str | None] = (),
) -> None:
    """Reject what cannot be opened; arguments are those of `factory.data.open.open_dataset`.

    `columns` are those of images and labels, where the user names them.

    Raises:
        UserError: There is no such directory, config, split or column, or the filter cannot be
            parsed.
    """
    reference = str(reference)
    if row_filter is not None:
        check_syntax(row_filter)
    if not is_path(reference):
        return
    path = at_home(reference)
    if is_table(path):
        refuse_config_of_file(path, config_name)
    elif may_be_image_folder(path, config_name):
        _check_folder_columns(path, [*filter(None, columns)], reference)
    else:
        check_directory(path, config_name)
        if files := files_in_card(path, config_name, shown=reference):
            chosen = choose_split(files, split, reference, preferred=preferred_split)
            _check_columns(path, files[chosen], [*filter(None, columns)], reference)


def _check_folder_columns(folder: Path, columns: Sequence[str], reference: str) -> None:
    """Reject columns that only metadata or files of rows would add to the images of a folder."""
    unusual = [one for one in columns if one not in _IMAGE_FOLDER]
    if not unusual:
        return
    found = find_images(folder)
    if found.holds_images and not found.metadata:
        raise no_column(reference, unusual[0], _IMAGE_FOLDER)


def _check_columns(
    folder: Path, files: Sequence[str], columns: Sequence[str], reference: str
) -> None:
    """Reject columns that the first file lacks, if all files are rows: they have the same columns.

    Nothing is known of patterns, and a folder of images may have a `metadata.parquet`.
    """
    paths = [folder / name for name in files]
    if any(one.suffix != ".parquet" or one.stem == "metadata" for one in paths):
        return
    first = paths[0] if paths and columns else folder
    if not first.is_file():
        return
    check_files([first], folder)
    try:
        schema = schema_of(first, "parquet")
    except (OSError, ValueError):
        # Opening it says what is wrong.
        return
    for column in columns:
        if schema is not None and column not in schema.names:
            raise no_column(reference, column, schema.names)


def is_path(reference: str) -> bool:
    """Return whether a reference is a path, existing or not, rather than a Hub id."""
    if Path(reference).exists() or not looks_like_hub_id(reference):
        return True
    # `out/digits` beside a folder `out` is a mistyped path; do not query the Hub.
    return not reference.startswith("hf://") and Path(Path(reference).parts[0]).is_dir()


def is_saved(folder: Path) -> bool:
    """Return whether a folder was written by `save_to_disk` of the library datasets."""
    return any((folder / name).exists() for name in _SAVED)


def may_be_image_folder(path: Path, config_name: str | None) -> bool:
    """Return whether a directory's rows are its image files, if it has any: no card names files."""
    if config_name not in (None, "default") or not path.is_dir():
        return False
    return not is_saved(path) and not names_files(path, shown=str(path))


def check_directory(path: Path, config_name: str | None) -> list[str]:
    """Check a directory of files of rows; return the configs in its card.

    Raises:
        UserError: It does not exist, is a file, has no such config, or its card is invalid.
    """
    if not path.exists():
        raise missing_directory(
            path,
            otherwise="give a dataset directory, a CSV or Parquet file, or a Hub id "
            "(ORG/NAME[@REVISION] or hf://datasets/ORG/NAME[@REVISION])",
        )
    if path.is_file():
        raise UserError(
            f"{path}: is a file; give the dataset's directory, or a .csv, .tsv or .parquet file "
            "with the columns path and label"
        )
    if is_saved(path):
        if config_name not in (None, "default"):
            raise UserError(
                f"{path}: was saved with `save_to_disk` and has no config {config_name!r}; omit "
                f"{row_option('config')}"
            )
        return []
    check_card(path, shown=str(path))
    return check_config(path, config_name, shown=str(path))


def refuse_config_of_file(path: Path, config_name: str | None) -> None:
    """Reject the name of a config of a table, which is one file.

    Raises:
        UserError: One is named.
    """
    if config_name not in (None, "default"):
        raise UserError(
            f"{path}: is one file and has no config {config_name!r}; omit {row_option('config')}"
        )
