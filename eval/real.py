"""Open the real images for scoring."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import UserError
from factory.common.row_options import row_option
from factory.common.storage import at_home
from factory.data.early_checks import check_rows
from factory.data.open import OpenedDataset, open_dataset
from factory.data.readable import only_readable
from factory.data.row_counts import class_counts


@dataclass(frozen=True)
class RealImages:
    """The real dataset, opened once for all runs.

    Attributes:
        opened: Rows, columns and class names.
        labels: Shape (images,), int64: label ids of the real dataset.
        name: Short name, for files and the table's columns.
    """

    opened: OpenedDataset
    labels: NDArray[np.int64]
    name: str

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of images per class, by name."""
        return class_counts(self.labels, self.opened.label_names)


def check_real(
    reference: str | Path,
    *,
    config_name: str | None = None,
    split: str | None = None,
    row_filter: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    name: str | None = None,
) -> None:
    """Check what `open_real` is given, as far as that needs no large library.

    Raises:
        UserError: See `factory.data.early_checks.check_rows`; or the name is invalid.
    """
    check_name(name)
    check_rows(
        reference,
        config_name=config_name,
        split=split,
        preferred_split="test",
        row_filter=row_filter,
        columns=(image_column, label_column),
    )


def check_name(name: str | None) -> None:
    """Reject a short name that is no part of a file name.

    Raises:
        UserError: It has other characters.
    """
    if name is not None and not re.fullmatch(r"[\w.-]+", name):
        raise UserError(f"--real-name {name}: use letters, digits, _, - and . only")


def open_real(
    reference: str | Path,
    *,
    config_name: str | None = None,
    split: str | None = None,
    row_filter: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    name: str | None = None,
    skip_unreadable: bool = False,
    shows: bool = True,
) -> RealImages:
    """Open real images for scoring.

    Args:
        reference: Dataset directory, CSV or Parquet file, Hub id or `hf://` path.
        config_name: Default: the dataset's default config.
        split: Default: `test` if there is one, else the only one, else `train`.
        row_filter: Keep only matching rows, see `factory.data.row_filter`.
        image_column: Default: found by its type.
        label_column: Default: found by its type.
        name: Short name; default: from reference, config, split and filter.
        skip_unreadable: Skip images that cannot be read, see `factory.data.readable`.
        shows: Whether this process reports them.

    Raises:
        UserError: See `open_dataset`; or images without a label, or an invalid name.
    """
    check_name(name)
    opened = open_dataset(
        reference,
        config_name=config_name,
        split=split,
        preferred_split="test",
        row_filter=row_filter,
        image_column=image_column,
        label_column=label_column,
        skip_unreadable=skip_unreadable,
    )
    if skip_unreadable:
        opened = only_readable(opened, shows=shows)
    return RealImages(
        opened=opened,
        labels=_known_labels(opened),
        name=name or _short_name(opened, row_filter),
    )


def _known_labels(opened: OpenedDataset) -> NDArray[np.int64]:
    """Return the label ids; every row of a real dataset must have one."""
    column = opened.dataset.select_columns([opened.label_column]).with_format(None)
    values = list(column[opened.label_column])
    if not values:
        raise UserError(f"{opened.shown}: has no images; choose others with {row_option('split')}")
    unlabelled = sum(value is None or value < 0 for value in values)
    if unlabelled:
        raise UserError(
            f"{opened.shown}: {unlabelled} of {len(values)} images have no label; use a labelled "
            f"split, or exclude them with {row_option('filter')}"
        )
    return np.asarray(values, dtype=np.int64)


def _short_name(opened: OpenedDataset, row_filter: str | None) -> str:
    """Return `<dataset>[-<config>][-<split>][-<hash of the filter>]`, valid as a file name."""
    last = opened.reference.partition("@")[0].rstrip("/").rpartition("/")[2]
    if last in ("", ".", ".."):
        last = Path(opened.reference).resolve().name
    elif at_home(opened.reference).is_file():
        last = Path(last).stem
    config = "" if opened.config_name in (None, "default", last) else opened.config_name
    wanted = hashlib.sha256(row_filter.encode()).hexdigest()[:8] if row_filter else ""
    parts = [part for part in (last, config, opened.named_split, wanted) if part]
    return re.sub(r"[^\w.-]+", "_", "-".join(parts))
