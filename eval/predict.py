"""Runs a model over all images of a set, on one process or many, with one result.

Bytes depend on how images are batched (and on threads), so a batch is the same run of rows
whatever the number of processes: processes share whole batches, and the last batch is padded to
full size.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eval.scores import Preprocessing
from factory.console import progress
from factory.errors import UserError

if TYPE_CHECKING:
    import datasets
    import torch
    from accelerate import PartialState

_RANKED = 5


@dataclass(frozen=True)
class Predictions:
    """What a model said of each image, in the set's order.

    Attributes:
        ranked: Shape (images, min(5, classes)), int64: class ids, the most likely first.
        probabilities: Same shape, float64: their softmax probabilities.
        digests: sha256 of each decoded picture.
    """

    ranked: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    digests: list[bytes]


def this_process() -> PartialState:
    """Join the processes that the launcher started, if it started several.

    Without `cpu=True`, accelerate takes each of several processes on a machine without an
    accelerator for the only one.
    """
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()
    return PartialState(cpu=on_cpu)


def predict(
    model: torch.nn.Module,
    dataset: datasets.Dataset,
    *,
    image_column: str,
    class_order: Sequence[int],
    preprocessing: Preprocessing,
    batch_size: int,
    state: PartialState,
) -> Predictions:
    """Predict every image; each process calls this and gets the whole result.

    Args:
        model: In evaluation mode; it is moved to this process's device.
        dataset: Rows in the order wanted.
        image_column: A column of type `datasets.Image`.
        class_order: The model's outputs in the order that the result's class ids count.
        preprocessing: Of the model's config.
        batch_size: Images a step, on each process.
        state: This process among the others.

    Raises:
        UserError: A picture is missing or cannot be decoded.
    """
    import torch

    model = model.to(state.device)
    order = torch.as_tensor(list(class_order), device=state.device)
    mine = _batches_of(len(dataset), batch_size=batch_size, state=state)
    show = state.is_main_process
    bar = progress(
        sum(stop - start for start, stop in mine), unit="image", description="scoring", show=show
    )
    parts: list[tuple[NDArray[np.int64], NDArray[np.float64], list[bytes]]] = []
    pictures = _prepared(dataset, mine, image_column=image_column, preprocessing=preprocessing)
    with torch.inference_mode():
        for pixels, digests in pictures:
            padded = _pad(pixels, batch_size).to(state.device)
            logits = model(padded)[: len(digests)].float()
            parts.append((*_rank(logits[:, order]), digests))
            bar.update(len(digests))
    bar.close()
    return _gathered(parts, state)


def _batches_of(num_images: int, *, batch_size: int, state: PartialState) -> list[tuple[int, int]]:
    """Return this process's share of the batches, a contiguous run, as (start, stop) rows."""
    starts = list(range(0, num_images, batch_size))
    low, high = (
        len(starts) * rank // state.num_processes
        for rank in (state.process_index, state.process_index + 1)
    )
    return [(start, min(start + batch_size, num_images)) for start in starts[low:high]]


def _prepared(
    dataset: datasets.Dataset,
    batches: Sequence[tuple[int, int]],
    *,
    image_column: str,
    preprocessing: Preprocessing,
) -> Iterator[tuple[torch.Tensor, list[bytes]]]:
    """Yield each batch: pixels (images, 3, height, width), normalised float32, and digests.

    One batch is decoded ahead, while the model is at work on the one before.
    """
    from concurrent.futures import ThreadPoolExecutor

    from datasets import Image

    transform = make_transform(preprocessing)
    encoded = dataset.select_columns([image_column]).cast_column(image_column, Image(decode=False))

    def prepare(rows: tuple[int, int]) -> tuple[torch.Tensor, list[bytes]]:
        items = encoded[slice(*rows)][image_column]
        return _prepare_batch(items, first=rows[0], transform=transform)

    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = None
        for rows in batches:
            following = pool.submit(prepare, rows)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def _prepare_batch(
    items: Sequence[dict[str, Any] | None], *, first: int, transform: Callable[[Any], torch.Tensor]
) -> tuple[torch.Tensor, list[bytes]]:
    import torch

    pixels, digests = [], []
    for row, item in enumerate(items, start=first):
        picture = _decode(item, row)
        size = f"{picture.width}x{picture.height} ".encode()
        digests.append(hashlib.sha256(size + picture.tobytes()).digest())
        pixels.append(transform(picture))
    return torch.stack(pixels), digests


def make_transform(preprocessing: Preprocessing) -> Callable[[Any], torch.Tensor]:
    """Return timm's own evaluation transform: PIL image to normalised (3, height, width)."""
    from timm.data.transforms_factory import create_transform

    transform: Callable[[Any], torch.Tensor] = create_transform(
        **preprocessing.model_dump(), is_training=False
    )
    return transform


def _decode(item: dict[str, Any] | None, row: int) -> Any:
    from PIL import Image

    if item is None:
        raise UserError(f"row {row}: the picture is missing (null); filter such rows out")
    source = io.BytesIO(item["bytes"]) if item.get("bytes") is not None else item["path"]
    try:
        with Image.open(source) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"row {row}: the picture cannot be decoded ({error})") from None


def _pad(pixels: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Repeat the last image until the batch is full."""
    import torch

    missing = batch_size - len(pixels)
    return torch.cat([pixels, pixels[-1:].expand(missing, -1, -1, -1)]) if missing else pixels


def _rank(logits: torch.Tensor) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the most likely classes and their probabilities; equal logits go by class order."""
    probabilities = logits.double().softmax(dim=1).cpu().numpy()
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :_RANKED]
    return ranked, np.take_along_axis(probabilities, ranked, axis=1)


def _gathered(
    parts: list[tuple[NDArray[np.int64], NDArray[np.float64], list[bytes]]], state: PartialState
) -> Predictions:
    """Join all processes' batches; shares are contiguous, so rank order is the set's order."""
    from accelerate.utils import gather_object

    if state.num_processes > 1:
        parts = gather_object(parts)
    return Predictions(
        ranked=np.concatenate([ranked for ranked, _, _ in parts]),
        probabilities=np.concatenate([probabilities for _, probabilities, _ in parts]),
        digests=[digest for _, _, digests in parts for digest in digests],
    )
