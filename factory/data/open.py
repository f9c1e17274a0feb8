"""Open the datasets of `train` and `eval`: a directory, a table of images, or a Hub id."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.console import launched_as, log
from factory.common.dataset_files import names_files
from factory.common.errors import UserError
from factory.common.program import command
from factory.common.row_options import row_option
from factory.common.text import plural, some
from factory.data.column_choice import (
    choose_image_column,
    choose_label_column,
    choose_split,
    is_list,
    names_of,
    with_class_label,
)
from factory.data.early_checks import is_saved
from factory.data.image_folder import ImageFolder, has_images
from factory.data.loading import load_any
from factory.data.row_counts import left_out_line
from factory.data.row_filter import filter_rows

if TYPE_CHECKING:
    import datasets

    from factory.data.image_stream import ImageStream


@dataclass(frozen=True)
class OpenedDataset:
    """A dataset of labelled images and its source.

    Attributes:
        dataset: The rows.
        image_column: A column of type `Image`.
        label_column: A column of type `ClassLabel`, or of lists of them (`several_labels`).
        label_names: Class names in label order.
        reference: Dataset reference as the user typed it.
        config_name: The config that was read.
        split: The split that was read.
        has_splits: Whether the dataset names its splits. A folder of class folders has none; its
            images are the split `train` then.
        image_folder: Folder that the rows' paths may point into, of an image folder; else None.
        commit: Commit of a Hub id when it was read; None for a directory.
        row_filter: The filter applied to the rows, or None.
        left_out: Files of an image folder that were not read: their number by suffix.
        unreadable: Skipped images that cannot be read: row, file, reason.
        row_numbers: Original number of each row, for messages, if rows were removed; else None.
        home: Directory of the dataset's files, in the cache for a Hub id; None for a table.
        stream: The images, if they are not in the rows but read over the network.
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
    stream: ImageStream | None = None
    has_splits: bool = True

    @property
    def named_split(self) -> str | None:
        """The split that was read, if the dataset names its splits."""
        return self.split if self.has_splits else None

    @property
    def several_labels(self) -> bool:
        """Whether a row has a list of labels."""
        return is_list(self.dataset.features[self.label_column])

    @property
    def shown(self) -> str:
        """The source for messages: the reference, with config, split and filter."""
        parts = [self.reference, self.config_name if self.config_name != "default" else ""]
        kept = f" where {self.row_filter}" if self.row_filter else ""
        split = f", split {self.split}" if self.has_splits else ""
        return f"{' '.join(filter(None, parts))}{split}{kept}"

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
    several_labels: bool = False,
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
        several_labels: Accept a column with a list of labels per row.
        skip_unreadable: Skip images of an image folder in unsupported formats, and what
            `factory.data.left_out.refuse_lost` refuses.

    Raises:
        UserError: The dataset, config, split or column does not exist; the filter is invalid or
            matches nothing; images of an image folder have no class or an unsupported format; or
            images have no row, files no split, or class folders no images.
    """
    reference = str(reference)
    found = load_any(
        reference,
        config_name,
        labelled=True,
        skip_unreadable=skip_unreadable,
        columns=(image_column, label_column),
    )
    name = choose_split(found.splits, split, reference, preferred=preferred_split)
    dataset = undecoded(found.splits[name])
    images = choose_image_column(dataset, image_column, reference)
    labels = choose_label_column(dataset, label_column, reference)
    if not several_labels:
        _refuse_lists(dataset, labels, reference)
    dataset = with_class_label(dataset, labels, reference)
    if row_filter is not None:
        dataset = filter_rows(dataset, row_filter)
    names = names_of(dataset.features[labels]) or []
    if found.image_folder is not None:
        _refuse_several_labels(dataset.select_columns([images, labels]), names, reference)
    return OpenedDataset(
        dataset=dataset,
        image_column=images,
        label_column=labels,
        label_names=list(names),
        reference=reference,
        config_name=found.config_name,
        split=name,
        commit=found.commit,
        image_folder=found.image_folder,
        row_filter=row_filter,
        left_out=found.left_out,
        home=found.home,
        has_splits=found.has_splits,
    )


def _refuse_lists(dataset: datasets.Dataset, labels: str, reference: str) -> None:
    if is_list(dataset.features[labels]):
        raise UserError(
            f"{reference}: column {labels!r} has several labels per image, which only "
            f"{command('train')} can use; name a column with one label with "
            f"{row_option('label-column')}"
        )


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
            f"{reference}: {plural(len(several), 'image')} with several labels; the first is "
            f"{first} ({some([names[label] for label in own if label is not None])}); keep one "
            "row for each image"
        )


def _plain_path(path: str) -> str:
    """Return one spelling for all of a path: `./a.png`, `cat/../a.png`, relative or absolute."""
    plain = os.path.abspath(path)  # noqa: PTH100 (a table may have a million rows)
    # Of a linked folder, `..` is another folder than the one that its name is in.
    same = ".." not in path or os.path.realpath(plain) == os.path.realpath(path)
    return plain if same else path


def open_rows(
    reference: str, *, config_name: str | None, split: str, skip_unreadable: bool = True
) -> tuple[datasets.Dataset, Path | None]:
    """Open one split of any dataset, with any columns.

    Arguments are those of `open_dataset`, but by default what is not read is only logged.

    Returns:
        The rows, images not decoded, and the folder that their paths may point into (see
        `factory.common.row_images`).

    Raises:
        UserError: The dataset, config or split does not exist.
    """
    found = load_any(reference, config_name, labelled=False, skip_unreadable=skip_unreadable)
    name = choose_split(found.splits, split, reference, preferred=split)
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
        split: The split that was read; None if the dataset names none.
        left_out: As for `OpenedDataset`.
    """

    dataset: datasets.Dataset
    image_column: str
    image_folder: Path | None
    split: str | None
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
    found = load_any(
        reference,
        config_name,
        labelled=False,
        skip_unreadable=True,
        columns=(image_column, None),
    )
    name = choose_split(found.splits, split, reference, preferred="test")
    images = choose_image_column(found.splits[name], image_column, reference)
    rows = undecoded(found.splits[name])
    rows = rows if row_filter is None else filter_rows(rows, row_filter)
    named = name if found.has_splits else None
    return OpenedImages(rows, images, found.image_folder, named, found.left_out)


def is_dataset(found: ImageFolder) -> bool:
    """Whether a directory is a dataset with files of rows, not a folder of image files.

    Raises:
        UserError: Its card cannot be read, or it contains only archives.
    """
    folder = found.folder
    if is_saved(folder) or names_files(folder, shown=str(folder)):
        return True
    return not has_images(found, str(folder)) and found.has_data
