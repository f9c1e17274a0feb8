"""Open the datasets of a run, lock its folder, and decode the images or find their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from factory.common.imports import without_garbage_collection
from factory.common.row_images import UnreadableImage, image_header
from factory.data.row_counts import class_counts
from train.choices import log_once
from train.folder_lock import only_run
from train.options import TrainOptions, shuffle_buffer
from train.pixel_memory import choose_pixels
from train.settings import Hyperparameters

if TYPE_CHECKING:
    from accelerate import Accelerator

    from factory.data.open import OpenedDataset
    from train.data import LabelledPixels
    from train.image_files import LabelledFiles


def open_datasets(
    options: TrainOptions, values: Hyperparameters, accelerator: Accelerator
) -> tuple[list[OpenedDataset], Hyperparameters]:
    """Open the datasets; return them and the values with the size of their images."""
    with without_garbage_collection():
        import datasets  # noqa: F401 (every way of opening a dataset uses it)
    from train.data import first_cell, image_side, report_counts
    from train.mixing import check_classes
    from train.several_labels import fit_to_labels
    from train.sources import open_all
    from train.streaming import stream_line

    opened = open_all(options, accelerator)
    # Of several datasets, one may lack a class that another one has.
    allow_empty = options.allow_empty_classes or len(opened) > 1
    for one in opened:
        report_counts(one, allow_empty=allow_empty, fit=values.fit, note=log_once)
        if one.stream is not None:
            log_once(stream_line(one, shuffle_buffer(options)))
        elif one.commit is not None:
            log_once(f"{one.reference}: commit {one.commit[:8]}, read from its files in the cache")
    values = fit_to_labels(options, values, opened, note=log_once)
    check_classes(opened, options.label_map)
    first = first_cell(opened[0])
    side = image_side(opened[0], first, values.image_size)
    if size_line := size_note(options, opened[0], first, side):
        log_once(size_line)
    return opened, values.model_copy(update={"image_size": side})


def size_note(
    options: TrainOptions, opened: OpenedDataset, first: tuple[Any, str], side: int
) -> str | None:
    """Return a line if the images are trained at another size than the first one has."""
    cell, where = first
    try:
        _, width, height = image_header(cell, where=where, folder=opened.image_folder)
    except UnreadableImage:
        return None  # It is reported when it is decoded.
    if (width, height) == (side, side):
        return None
    own = f"{width} px" if width == height else f"{width}x{height} px"
    why = f"preset {options.preset}; --image-size N changes this"
    if "image_size" in options.overrides:
        why = "--image-size"
    elif options.pretrained:
        why = f"preset {options.preset} and the pretrained weights; --image-size N changes this"
    return f"{opened.reference}: images of {own} (the first), trained at {side} px ({why})"


def decode(
    options: TrainOptions,
    values: Hyperparameters,
    accelerator: Accelerator,
    until_the_end: ExitStack,
    opened: Sequence[OpenedDataset],
) -> tuple[LabelledPixels | LabelledFiles, Callable[[], None] | None]:
    """Lock the run folder and decode; return pixels and a check that the folder is the same."""
    from train.data import load_pixels, require_images
    from train.image_files import load_files, load_stream
    from train.mixing import joined

    # Only now, so that a rejected dataset leaves no empty folder behind.
    options.out.mkdir(parents=True, exist_ok=True)
    # Processes of one launch share the run; the first one locks out other launches before any of
    # them writes a file.
    check: Callable[[], None] | None = None
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            check = until_the_end.enter_context(only_run(options.out))
    if options.stream:
        return load_stream(opened[0]), check
    assert values.image_size is not None, "resolved with the data"
    way = choose_pixels(
        options.out,
        num_images=sum(len(one.dataset) for one in opened),
        side=values.image_size,
        memory=options.pixel_memory,
        accelerator=accelerator,
        note=log_once,
    )
    data: LabelledPixels | LabelledFiles
    if way == "files":
        data = load_files(opened, options.label_map, shows=accelerator.is_main_process)
    else:
        parts = [
            load_pixels(one, values=values, accelerator=accelerator, out=options.out)
            for one in opened
        ]
        data = joined(parts, opened, options.label_map)
    if len(opened) > 1 and not options.allow_empty_classes:
        shown = " and ".join(one.shown for one in opened)
        require_images(class_counts(data.labels, data.label_names), shown)
    return data, check
