"""Open a dataset of the Hub to read its images while training, without downloading its files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.console import launched_as, log
from factory.common.errors import UserError, first_line
from factory.common.remote_parquet import RemoteParquet
from factory.common.text import some
from factory.data.column_choice import (
    choose_image_column,
    choose_label_column,
    choose_split,
    names_of,
    with_class_label,
)
from factory.data.file_classes import require_same
from factory.data.hub_dataset import HubDataset, find_parquet
from factory.data.image_stream import ImageStream, footer, read_columns
from factory.data.open import OpenedDataset
from factory.data.row_filter import filter_option, matching_rows
from factory.hub.download import files_at
from factory.hub.ids import HubTarget, looks_like_hub_id, parse_target
from factory.hub.ranges import read_range
from factory.hub.session import HubSession

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

# To read a column of many small row groups with few requests; labels are small.
_GROUPS_AT_ONCE = 16


def require_hub_id(reference: str) -> None:
    """Reject a dataset on this machine.

    Raises:
        UserError: It is no id of the Hub.
    """
    if not looks_like_hub_id(reference):
        raise UserError(
            f"{reference}: --stream reads datasets of the Hub (ORG/NAME); local files are read in "
            "each epoch with --pixel-memory 0"
        )


def open_stream(
    reference: str,
    *,
    config_name: str | None,
    split: str | None,
    row_filter: str | None,
    image_column: str | None,
    label_column: str | None,
) -> OpenedDataset:
    """Open a split of a Hub dataset without its images; arguments as `open_dataset`.

    Returns:
        The dataset, whose rows have labels only; `stream` has the images, by row number.

    Raises:
        UserError: As `open_dataset`; the reference is not a Hub id; files are not Parquet.
        Failure: The Hub cannot be reached.
    """
    import datasets as hf

    require_hub_id(reference)
    target = parse_target(reference, "dataset")
    found = find_parquet(target, config_name)
    if config_name is None and len(found.configs) > 1 and launched_as()[0] == 0:
        log(f"{reference}: using {found.config_name} of its configs {some(found.configs, 8)}")
    empty = hf.DatasetDict({name: hf.Dataset.from_dict({}) for name in found.paths})
    name = choose_split(empty, split, reference, preferred="train")
    files, sha256 = _files(target, found, name)
    features = _features(files, found, reference)
    no_rows = hf.Dataset.from_dict({key: [] for key in features}, features=features)
    images = choose_image_column(no_rows, image_column, reference)
    labels = choose_label_column(no_rows, label_column, reference)
    read = partial(_columns, files)
    with filter_option():
        kept = None if row_filter is None else matching_rows(row_filter, features, read)
    if kept is not None and not len(kept):
        raise UserError(f"--filter {row_filter!r}: it matches no row of {reference}")
    dataset = _labels(read([labels]), features, labels, reference)
    dataset = dataset if kept is None else dataset.select(kept)
    numbers = range(len(dataset)) if kept is None else kept.tolist()
    return OpenedDataset(
        dataset=dataset,
        image_column=images,
        label_column=labels,
        label_names=list(names_of(dataset.features[labels]) or []),
        reference=reference,
        config_name=found.config_name,
        split=name,
        commit=found.commit,
        row_filter=row_filter,
        row_numbers=tuple(numbers),
        home=Path(found.folder),
        stream=ImageStream(tuple(files), images, sha256),
    )


def _files(target: HubTarget, found: HubDataset, split: str) -> tuple[list[RemoteParquet], str]:
    session = HubSession(target, writes=False)
    known = files_at(session, found.commit)
    digest, files = hashlib.sha256(), []
    for path in found.paths[split]:
        file = known[path]
        digest.update(f"{path} {file.sha256 or file.blob_id} ".encode())
        read = partial(read_range, session, found.commit, path)
        files.append(RemoteParquet(read, file.size, shown=f"{target}: {path}"))
    return files, digest.hexdigest()


def _features(
    files: Sequence[RemoteParquet], found: HubDataset, reference: str
) -> datasets.Features:
    """Return the columns and types, which all files must share."""
    import datasets as hf

    declared = hf.Features.from_dict(found.features) if found.features else None
    for file in files:
        own = hf.Features.from_arrow_schema(footer(file).schema.to_arrow_schema())
        declared = declared or own
        if missing := [name for name in declared if name not in own]:
            raise UserError(f"{file.shown}: has no column {missing[0]!r}, which other files have")
        for name, feature in own.items():
            known = declared.get(name)
            if isinstance(feature, hf.ClassLabel) and isinstance(known, hf.ClassLabel):
                require_same(file.shown, name, feature.names, known.names)
    if declared is None:
        raise UserError(f"{reference}: its files contain no rows; give another config or split")
    return declared


def _columns(files: Sequence[RemoteParquet], names: Sequence[str]) -> pa.Table:
    """Read columns of all rows."""
    import pyarrow as pa

    return pa.concat_tables(
        read_columns(file, names, range(start, min(start + _GROUPS_AT_ONCE, count)))
        for file in files
        for count in [file.metadata.num_row_groups]
        for start in range(0, count, _GROUPS_AT_ONCE)
    )


def _labels(
    table: pa.Table, features: datasets.Features, column: str, reference: str
) -> datasets.Dataset:
    import datasets as hf
    from datasets.table import InMemoryTable, table_cast

    own = hf.Features({column: features[column]})
    try:
        rows = table_cast(table, own.arrow_schema)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{reference}: column {column!r} cannot be read ({first_line(error)})"
        ) from None
    dataset = hf.Dataset(InMemoryTable(rows), info=hf.DatasetInfo(features=own))
    return with_class_label(dataset, column, reference)
