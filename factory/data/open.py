"""Open the datasets of `train` and `eval`: a directory, a table of images, or a Hub id.

A local directory is never passed to `load_dataset(DIR)`: datasets 5.2 caches by the card's configs
alone, so a changed folder can return its old rows. datasets only *resolves* the directory; its
files are then loaded by path, with their modification times in the cache key.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.console import launched_as, log
from factory.common.dataset_files import check_card, check_files, check_saved, names_files
from factory.common.errors import UserError, first_line
from factory.common.storage import at_home
from factory.common.text import some, suggest
from factory.data.dataset_builders import (
    IMAGES,
    MALFORMED,
    find_builder,
    load_files,
    module_name,
    quiet,
)
from factory.data.folder_rows import load_folder
from factory.data.image_folder import ImageFolder, find_images, has_images, listed_images
from factory.data.image_table import (
    PARQUET,
    PATH_COLUMNS,
    by_split,
    is_table,
    read_csv,
    with_images,
)
from factory.data.left_out import files_below, files_left_out, left_out_of, place_of, refuse_lost
from factory.data.row_counts import left_out_line
from factory.data.row_filter import filter_rows
from factory.hub.ids import looks_like_hub_id, parse_target

if TYPE_CHECKING:
    import datasets

_PREFERRED = {
    "image": ("image", "img", "picture"),
    "label": ("label", "labels", "fine_label", "class", "target"),
}
# What `save_to_disk` of the library datasets writes.
_SAVED = ("dataset_dict.json", "state.json")
_Columns = tuple[str | None, str | None]
"""Names of the column of images and of the column of labels, where the user gives them."""


@dataclass(frozen=True)
class OpenedDataset:
    """A dataset of labelled images and its source.

    Attributes:
        dataset: The rows; `label_column` is a `ClassLabel`.
        image_column: A column of type `Image`.
        label_column: A column of type `ClassLabel`.
        label_names: Class names in label order.
        reference: Dataset reference as the user typed it.
        config_name: The config that was read.
        split: The split that was read.
        image_folder: Folder that the rows' paths may point into, of an image folder; else None.
        commit: Commit of a Hub id when it was read; None for a directory.
        row_filter: The filter applied to the rows, or None.
        left_out: Files of an image folder that were not read: their number by suffix.
        unreadable: Skipped images that cannot be read: row, file, reason.
        row_numbers: Original number of each row, for messages, if rows were removed; else None.
        home: Directory of the dataset's files, in the cache for a Hub id; None for a table.
    """

    dataset: datasets.Dataset
    image_column: str
    label_column: str
    label_names: list[str]
    reference: str
    config_name: str
    split: str
    commit: str | None = None
    image_folder: Path | None = None
    row_filter: str | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    row_numbers: tuple[int, ...] | None = None
    home: Path | None = None

    @property
    def shown(self) -> str:
        """The source for messages: the reference, with config, split and filter."""
        parts = [self.reference, self.config_name if self.config_name != "default" else ""]
        kept = f" where {self.row_filter}" if self.row_filter else ""
        return f"{' '.join(filter(None, parts))}, split {self.split}{kept}"

    def keep(self, rows: Sequence[int]) -> OpenedDataset:
        """Return some of the rows; messages use their original numbers."""
        before = self.row_numbers
        numbers = tuple(int(row) if before is None else before[row] for row in rows)
        return replace(self, dataset=self.dataset.select(rows), row_numbers=numbers)


def open_dataset(
    reference: str | Path,
    *,
    config_name: str | None = None,
    split: str | None = None,
    preferred_split: str = "train",
    row_filter: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    skip_unreadable: bool = False,
) -> OpenedDataset:
    """Open one split of a dataset of labelled images.

    Args:
        reference: Directory, CSV or Parquet file (see `factory.data.image_table`), Hub id
            (`ORG/NAME` or `ORG/NAME@REVISION`), or `hf://datasets/ORG/NAME[@REVISION]`.
        config_name: Default: the dataset's default config.
        split: Default: `preferred_split`, else the only split, else `train`.
        preferred_split: Taken if the dataset has it and `split` is not given.
        row_filter: See `factory.data.row_filter.filter_rows`.
        image_column: Default: `image`, else the only column of type `Image`.
        label_column: Default: `label`, else the only column of type `ClassLabel`, else a column of
            texts or integers with a usual name.
        skip_unreadable: Skip images of an image folder in unsupported formats, and what
            `factory.data.left_out.refuse_lost` refuses.

    Raises:
        UserError: The dataset, config, split or column does not exist; the filter is invalid or
            matches nothing; images of an image folder have no class or an unsupported format; or
            images have no row, files no split, or class folders no images.
    """
    reference = str(reference)
    found = _load_any(
        reference,
        config_name,
        labelled=True,
        skip_unreadable=skip_unreadable,
        columns=(image_column, label_column),
    )
    name = _choose_split(found.splits, split, reference, preferred=preferred_split)
    dataset = found.splits[name]
    images = _image_column(dataset, image_column, reference)
    dataset = undecoded(dataset)
    labels = _label_column(dataset, label_column, reference)
    dataset = _with_class_label(dataset, labels, reference)
    if row_filter is not None:
        dataset = filter_rows(dataset, row_filter)
    names = list(dataset.features[labels].names)
    if found.image_folder is not None:
        _refuse_several_labels(dataset.select_columns([images, labels]), names, reference)
    return OpenedDataset(
        dataset=dataset,
        image_column=images,
        label_column=labels,
        label_names=names,
        reference=reference,
        config_name=found.config_name,
        split=name,
        commit=found.commit,
        image_folder=found.image_folder,
        row_filter=row_filter,
        left_out=found.left_out,
        home=found.home,
    )


def _image_folder_of(
    path: Path, config_name: str | None, *, labelled: bool, skip_unreadable: bool
) -> _Loaded | None:
    """Load a directory if it is an image folder whose files no card names.

    datasets would choose splits by words in the names of folders and files.
    """
    if config_name not in (None, "default") or not path.is_dir():
        return None
    if any((path / name).exists() for name in _SAVED) or names_files(path, shown=str(path)):
        return None
    found = find_images(path)
    if not has_images(found, str(path)) or not found.holds_images:
        return None
    splits, left_out = load_folder(
        found, labelled=labelled, skip_unreadable=skip_unreadable, shown=str(path)
    )
    return _Loaded(splits, "default", image_folder=path, left_out=left_out)


def undecoded(dataset: datasets.Dataset) -> datasets.Dataset:
    """Prevent datasets from decoding images, which would follow any path or address in a row.

    `factory.common.row_images` decodes them.
    """
    from datasets import Image

    for name, feature in dataset.features.items():
        if isinstance(feature, Image) and feature.decode:
            dataset = dataset.cast_column(name, Image(mode=feature.mode, decode=False))
    return dataset


def _refuse_several_labels(rows: datasets.Dataset, names: list[str], reference: str) -> None:
    """Reject image files that a table or metadata file lists with different labels."""
    import pyarrow as pa
    import pyarrow.compute as pc

    images, labels = rows.with_format("arrow")[:].columns
    table = pa.table({"path": pc.struct_field(images, "path"), "label": labels})
    table = table.filter(pc.is_valid(table["path"]))
    plain = pa.array(map(_plain_path, table["path"].to_pylist()), pa.string())
    table = table.set_column(0, "path", plain)
    counted = table.group_by("path").aggregate([("label", "count_distinct")])
    several = counted.filter(pc.greater(counted["label_count_distinct"], 1))["path"]
    if len(several):
        first = several[0].as_py()
        own = table.filter(pc.equal(table["path"], first))["label"].unique().to_pylist()
        raise UserError(
            f"{reference}: {len(several):,} images have several labels; the first is {first} "
            f"({some([names[label] for label in own if label is not None])}); keep one row for "
            "each image"
        )


def _plain_path(path: str) -> str:
    """Return one spelling for all of a path: `./a.png`, `cat/../a.png`, relative or absolute."""
    plain = os.path.abspath(path)  # noqa: PTH100 (a table may have a million rows)
    # Of a linked folder, `..` is another folder than the one that its name is in.
    same = ".." not in path or os.path.realpath(plain) == os.path.realpath(path)
    return plain if same else path


def _is_directory(reference: str) -> bool:
    """Return whether a reference is a directory, existing or not, rather than a Hub id."""
    if Path(reference).exists() or not looks_like_hub_id(reference):
        return True
    # `out/digits` beside a folder `out` is a mistyped path; do not query the Hub.
    return not reference.startswith("hf://") and Path(Path(reference).parts[0]).is_dir()


def open_rows(
    reference: str, *, config_name: str | None, split: str, skip_unreadable: bool = True
) -> tuple[datasets.Dataset, Path | None]:
    """Open one split of any dataset, with any columns; arguments are those of `open_dataset`.

    Returns:
        The rows, images not decoded, and the folder that their paths may point into (see
        `factory.common.row_images`).

    Raises:
        UserError: The dataset, config or split does not exist.
    """
    found = _load_any(reference, config_name, labelled=False, skip_unreadable=skip_unreadable)
    name = _choose_split(found.splits, split, reference, preferred=split)
    if found.left_out and launched_as()[0] == 0:
        log(f"{reference}: not read: {left_out_line(found.left_out)}")
    return undecoded(found.splits[name]), found.image_folder


@dataclass(frozen=True)
class OpenedImages:
    """The images of one split of any dataset, whether or not they have labels.

    Attributes:
        dataset: The rows; images are not decoded.
        image_column: A column of type `Image`.
        image_folder: As for `OpenedDataset`.
        split: The split that was read.
        left_out: As for `OpenedDataset`.
    """

    dataset: datasets.Dataset
    image_column: str
    image_folder: Path | None
    split: str
    left_out: dict[str, int]


def open_images(
    reference: str,
    *,
    config_name: str | None = None,
    split: str | None = None,
    row_filter: str | None = None,
    image_column: str | None = None,
) -> OpenedImages:
    """Open one split of a dataset for its images alone.

    Arguments and errors are those of `open_dataset`; `test` is the preferred split.
    """
    found = _load_any(
        reference,
        config_name,
        labelled=False,
        skip_unreadable=True,
        columns=(image_column, None),
    )
    name = _choose_split(found.splits, split, reference, preferred="test")
    images = _image_column(found.splits[name], image_column, reference)
    rows = undecoded(found.splits[name])
    rows = rows if row_filter is None else filter_rows(rows, row_filter)
    return OpenedImages(rows, images, found.image_folder, name, found.left_out)


def is_dataset(found: ImageFolder) -> bool:
    """Whether a directory is a dataset with files of rows, not a folder of image files.

    Raises:
        UserError: Its card cannot be read, or it contains only archives.
    """
    folder = found.folder
    if any((folder / name).exists() for name in _SAVED) or names_files(folder, shown=str(folder)):
        return True
    return not has_images(found, str(folder)) and found.has_data


@dataclass(frozen=True)
class _Loaded:
    """The splits of one config and their source."""

    splits: datasets.DatasetDict
    config_name: str
    commit: str | None = None
    image_folder: Path | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    home: Path | None = None


def _load_any(
    reference: str,
    config_name: str | None,
    *,
    labelled: bool,
    skip_unreadable: bool,
    columns: _Columns = (None, None),
) -> _Loaded:
    if not _is_directory(reference):
        return _load_hub(reference, config_name, labelled=labelled, skip_unreadable=skip_unreadable)
    path = at_home(reference)
    if is_table(path):
        return _load_table(path, config_name, columns, skip_unreadable=skip_unreadable)
    found = _image_folder_of(path, config_name, labelled=labelled, skip_unreadable=skip_unreadable)
    return found or _load_directory(path, config_name, skip_unreadable=skip_unreadable)


def _load_directory(path: Path, config_name: str | None, *, skip_unreadable: bool) -> _Loaded:
    if not path.exists():
        raise UserError(
            f"{path}: directory not found; give a dataset directory, a CSV or Parquet file, or a "
            "Hub id (ORG/NAME[@REVISION] or hf://datasets/ORG/NAME[@REVISION])"
        )
    if path.is_file():
        raise UserError(
            f"{path}: is a file; give the dataset's directory, or a .csv, .tsv or .parquet file "
            "with the columns path and label"
        )
    if any((path / name).exists() for name in _SAVED):
        return _Loaded(_load_saved(path), "default")
    check_card(path, shown=str(path))
    try:
        builder = find_builder(str(path), config_name)
    except ConnectionError as error:
        raise UserError(f"{path}: {first_line(error)}; is it a dataset directory?") from None
    files = {str(key): list(paths) for key, paths in (builder.config.data_files or {}).items()}
    # The module's name is the format's (`parquet`, `imagefolder`); it loads the files by path.
    check_files((file for listed in files.values() for file in listed), path)
    module = module_name(builder, shown=str(path))
    loaded = load_files(str(path), module, data_files=files, features=builder.config.features)
    if module != IMAGES:
        left_out = {} if names_files(path, shown=str(path)) else _lost(path, files)
        if not skip_unreadable:
            refuse_lost(left_out, shown=str(path))
        return _Loaded(loaded, builder.config.name, left_out=left_out, home=path)
    left_out = left_out_of(
        find_images(path),
        loaded.values(),
        # Of several configs, one config's files are not the whole folder.
        skip_unreadable=skip_unreadable or len(builder.builder_configs) > 1,
        shown=str(path),
    )
    return _Loaded(loaded, builder.config.name, image_folder=path, left_out=left_out)


def _lost(folder: Path, files: dict[str, list[str]]) -> dict[str, int]:
    home = place_of(f"{folder}/")
    read = [place_of(path).removeprefix(home) for paths in files.values() for path in paths]
    return files_left_out(read, files_below(folder))


def _load_table(
    path: Path, config_name: str | None, columns: _Columns, *, skip_unreadable: bool
) -> _Loaded:
    """Load a file whose rows contain images, or name image files beside it."""
    import datasets as hf

    if config_name not in (None, "default"):
        raise UserError(f"{path}: is one file and has no config {config_name!r}; omit --config")
    image_column, label_column = columns
    if path.suffix.lower() == PARQUET:
        files = {"train": [str(path)]}
        rows = load_files(str(path), "parquet", data_files=files)["train"]
    else:
        texts = {image_column or "", label_column or "", *_PREFERRED["label"], *PATH_COLUMNS}
        rows = read_csv(path, texts={name.lower() for name in texts})
    folder = None
    if not _images_of(rows):
        folder = path.parent
        rows = with_images(rows, path, column=image_column, skip_unreadable=skip_unreadable)
    return _Loaded(hf.DatasetDict(by_split(rows, path)), "default", image_folder=folder)


def _load_saved(path: Path) -> datasets.DatasetDict:
    """Load a dataset written by `Dataset.save_to_disk`."""
    import datasets as hf

    check_saved(path)
    try:
        saved = hf.load_from_disk(str(path))
    except (OSError, ValueError, *MALFORMED) as error:
        raise UserError(
            f"{path}: cannot be loaded as a dataset of `save_to_disk` ({first_line(error)}); save "
            "it again"
        ) from None
    # Its state may hide columns, or give tensors for values.
    saved.reset_format()
    return saved if isinstance(saved, hf.DatasetDict) else hf.DatasetDict(train=saved)


def _load_hub(
    reference: str, config_name: str | None, *, labelled: bool, skip_unreadable: bool
) -> _Loaded:
    """Load files of the Hub in the same way as a directory, after checking them."""
    import datasets as hf

    from factory.data.hub_dataset import fetch_dataset

    found = fetch_dataset(
        parse_target(reference, "dataset"),
        config_name,
        labelled=labelled,
        skip_unreadable=skip_unreadable,
    )
    read = [one for paths in found.paths.values() for one in paths]
    # Only image folders have paths in their rows, which may point into the folder.
    held = listed_images(Path(found.folder), {*read, *found.others})
    if found.by_folders:
        loaded, left_out = load_folder(
            held, labelled=labelled, skip_unreadable=skip_unreadable, shown=reference, unwrap=True
        )
        return _Loaded(loaded, found.config_name, found.commit, held.folder, left_out)
    features = hf.Features.from_dict(found.features) if found.features else None
    loaded = load_files(reference, found.module, data_files=found.data_files(), features=features)
    if found.module != IMAGES:
        left_out = files_left_out(read, found.others)
        if not skip_unreadable:
            refuse_lost(left_out, shown=reference)
        home = Path(found.folder)
        return _Loaded(loaded, found.config_name, found.commit, left_out=left_out, home=home)
    left_out = left_out_of(held, loaded.values(), skip_unreadable=skip_unreadable, shown=reference)
    return _Loaded(loaded, found.config_name, found.commit, held.folder, left_out)


def _choose_split(
    loaded: datasets.DatasetDict, split: str | None, reference: str, *, preferred: str
) -> str:
    known = [str(name) for name in loaded]
    if split is None:
        if preferred in known:
            return preferred
        if len(known) == 1:
            return known[0]
        if "train" in known:
            return "train"
        raise UserError(f"{reference}: name one of its splits with --split: {', '.join(known)}")
    if split not in known:
        raise UserError(f"{reference}: no split {split!r}; {suggest(split, known)}")
    return split


def _images_of(dataset: datasets.Dataset) -> list[str]:
    """Return the columns of images."""
    from datasets import Image

    return [name for name, feature in dataset.features.items() if isinstance(feature, Image)]


def _image_column(dataset: datasets.Dataset, column: str | None, reference: str) -> str:
    return _choose_column(column, _images_of(dataset), dataset, reference, kind="image")


def _label_column(dataset: datasets.Dataset, column: str | None, reference: str) -> str:
    found = [name for name, feature in dataset.features.items() if hasattr(feature, "names")]
    if column is not None or not found:
        # A text or number column is accepted if the user names it, or it has a usual name.
        plain = [
            name for name, feature in dataset.features.items() if type(feature).__name__ == "Value"
        ]
        usual = [name for name in plain if name.lower() in _PREFERRED["label"]]
        found += [column] if column in plain else usual if column is None else []
    return _choose_column(column, found, dataset, reference, kind="label")


def _choose_column(
    column: str | None, found: list[str], dataset: datasets.Dataset, reference: str, *, kind: str
) -> str:
    names: list[str] = dataset.column_names
    present = ", ".join(names)
    if column is not None:
        if column not in names:
            raise UserError(f"{reference}: no column {column!r}; {suggest(column, names)}")
        if column not in found:
            feature = dataset.features[column]
            raise UserError(f"{reference}: column {column!r} is {feature}, not a column of {kind}s")
        return column
    lower = {name.lower(): name for name in reversed(found)}
    for name in _PREFERRED[kind]:
        if name in lower:
            return lower[name]
    if len(found) == 1:
        return found[0]
    raise UserError(f"{reference}: no {kind} column among {present}; name it with --{kind}-column")


def _with_class_label(dataset: datasets.Dataset, column: str, reference: str) -> datasets.Dataset:
    """Convert the label column to a `ClassLabel`; texts are numbered in sorted order.

    Integers below 0 mean that a row has no label, as in a `ClassLabel`.
    """
    import pyarrow.compute as pc

    names = getattr(dataset.features[column], "names", None)
    if names is not None:
        highest = pc.max(dataset.data.column(column)).as_py()
        if highest is not None and highest >= len(names):
            raise UserError(
                f"{reference}: labels in {column!r} go up to {highest}, but only {len(names)} "
                "classes have names, counted from 0; correct the labels or the names"
            )
        return dataset
    dtype = str(dataset.features[column].dtype)
    if not dtype.startswith(("string", "large_string", "int", "uint", "bool")):
        raise UserError(f"{reference}: labels in {column!r} are {dtype}; expected text or integers")
    if dtype.startswith("int") and (pc.min(dataset.data.column(column)).as_py() or 0) < 0:
        known = [value if value is not None and value >= 0 else None for value in dataset[column]]
        feature = dataset.features[column]
        dataset = dataset.remove_columns(column).add_column(column, known, feature=feature)
    with quiet():
        return dataset.class_encode_column(column)
