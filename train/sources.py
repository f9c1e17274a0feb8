"""Open the datasets of a run, and describe them for its `config.yaml`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from factory.common.row_options import row_options
from factory.data.open import OpenedDataset, open_dataset
from factory.data.open_stream import open_stream
from factory.data.readable import only_readable
from factory.data.row_counts import class_counts
from factory.data.row_subsets import DataSource, MixedSource, take_per_class
from factory.data.sampling_record import SamplingRecord, sampling_of
from train.choices import OF_REAL_TRAIN

if TYPE_CHECKING:
    from accelerate import Accelerator

    from train.data import Labelled
    from train.run import TrainOptions


def open_all(options: TrainOptions, accelerator: Accelerator) -> list[OpenedDataset]:
    """Open the datasets of a run; real images, which options for rows do not affect, are last.

    Raises:
        UserError: As `open_dataset`.
    """
    references = [options.dataset, *options.more_datasets]
    opened = [_open(options, reference, accelerator) for reference in references]
    if options.real_train is not None:
        own = replace(
            options,
            config_name=None,
            split=None,
            row_filter=None,
            images_per_class=None,
            image_column=None,
            label_column=None,
        )
        with row_options(OF_REAL_TRAIN):
            opened.append(_open(own, options.real_train, accelerator))
    return opened


def _open(options: TrainOptions, reference: str, accelerator: Accelerator) -> OpenedDataset:
    rows: dict[str, Any] = {
        "config_name": options.config_name,
        "split": options.split,
        "row_filter": options.row_filter,
        "image_column": options.image_column,
        "label_column": options.label_column,
    }
    if options.stream:
        return _per_class(options, open_stream(reference, **rows))
    # One process per machine fills the datasets cache; the others read it.
    with accelerator.local_main_process_first():
        opened = open_dataset(
            reference, **rows, several_labels=True, skip_unreadable=options.skip_unreadable
        )
    if options.skip_unreadable:
        opened = only_readable(opened, shows=accelerator.is_main_process)
    return _per_class(options, opened)


def _per_class(options: TrainOptions, opened: OpenedDataset) -> OpenedDataset:
    if options.images_per_class is None:
        return opened
    return take_per_class(opened, count=options.images_per_class, seed=options.seed)


def data_source(
    options: TrainOptions, data: Labelled, opened: Sequence[OpenedDataset]
) -> DataSource:
    """Describe the rows of a run for its `config.yaml`."""
    first = opened[0]
    sources = _sources(options, data, opened) if len(opened) > 1 else ()
    left_out: Counter[str] = Counter()
    for one in opened:
        left_out.update(one.left_out)
    return DataSource(
        reference=" + ".join(one.reference for one in opened),
        config_name=first.config_name,
        split=first.split,
        row_filter=options.row_filter,
        images_per_class=options.images_per_class,
        image_column=first.image_column,
        label_column=first.label_column,
        several_labels=first.several_labels,
        label_names=data.label_names,
        num_images=len(data.labels),
        num_unreadable=sum(len(one.unreadable) for one in opened),
        pixels_sha256=data.sha256,
        commit=first.commit if len(opened) == 1 else None,
        class_counts=class_counts(data.labels, data.label_names),
        left_out=dict(left_out),
        label_map=None if options.label_map is None else dict(options.label_map.pairs),
        sources=sources,
        num_real_images=sum(one.num_images for one in sources if one.real),
        sampling=_sampling(opened),
    )


def _sampling(opened: Sequence[OpenedDataset]) -> SamplingRecord | None:
    """Return how the images were sampled; None if no dataset has a record."""
    found = [sampling_of(one) for one in opened]
    if len(found) == 1:
        return found[0]
    known = {number: one for number, one in enumerate(found, 1) if one is not None}
    return {
        f"{number}: {name}": own for number, one in known.items() for name, own in one.items()
    } or None


def _sources(
    options: TrainOptions, data: Labelled, opened: Sequence[OpenedDataset]
) -> tuple[MixedSource, ...]:
    last = len(opened) - 1
    return tuple(
        MixedSource(
            reference=one.reference,
            config_name=one.config_name,
            split=one.split,
            commit=one.commit,
            real=options.real_train is not None and number == last,
            num_images=size,
        )
        for number, (one, size) in enumerate(zip(opened, data.sizes, strict=True))
    )
