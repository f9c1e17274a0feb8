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
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from eval.scores import Preprocessing
from factory.console import progress
from factory.devices import joining_processes, on_cpus
from factory.errors import UserError

if TYPE_CHECKING:
    import datasets
    import torch
    from accelerate import PartialState

_RANKED = 5

Transform = Callable[[Any], "torch.Tensor"]


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

    def put_back(self, order: NDArray[np.int64]) -> Predictions:
        """Return predictions made in `order` in the order of the set."""
        back = np.argsort(order)
        return Predictions(
            self.ranked[back], self.probabilities[back], [self.digests[place] for place in back]
        )


def this_process() -> PartialState:
    """Join the processes that the launcher started, if it started several.

    Raises:
        UserError: The launch's variables fit no launch.
    """
    from accelerate import PartialState

    with joining_processes():
        return PartialState(cpu=on_cpus())


def predict(
    model: torch.nn.Module,
    dataset: datasets.Dataset,
    *,
    image_column: str,
    class_order: Sequence[int],
    transform: Transform,
    batch_size: int,
    state: PartialState,
    wrap: bool = False,
    probability: Literal["softmax", "sigmoid"] = "softmax",
) -> Predictions:
    """Predict every image; each process calls this and gets the whole result.

    Args:
        model: In the mode wanted; it is moved to this process's device.
        dataset: Rows in the order wanted.
        image_column: A column of type `datasets.Image`.
        class_order: The model's outputs in the order that the result's class ids count.
        transform: Of a PIL image to the model's input, (3, height, width).
        batch_size: Images a step, on each process.
        state: This process among the others.
        wrap: Fill the last batch with the set's first images instead of repeats of its last one:
            for models whose output depends on the batch.
        probability: What makes probabilities of the model's outputs.

    Raises:
        UserError: A picture is missing or cannot be decoded.
    """
    import torch

    model = model.to(state.device)
    order = torch.as_tensor(list(class_order), device=state.device)
    mine = _batches_of(len(dataset), batch_size=batch_size, state=state)
    filler = len(dataset) if wrap else 0
    show = state.is_main_process
    bar = progress(
        sum(stop - start for start, stop in mine), unit="image", description="scoring", show=show
    )
    parts: list[tuple[NDArray[np.int64], NDArray[np.float64], list[bytes]]] = []
    rows = [_rows_of(batch, batch_size=batch_size, num_images=filler) for batch in mine]
    pictures = prepared(dataset, rows, image_column=image_column, transform=transform)
    with torch.inference_mode():
        for (start, stop), (pixels, digests) in zip(mine, pictures, strict=True):
            # Dropout, where it is on, depends on the batch and not on who scores it.
            torch.manual_seed(start)
            padded = pad(pixels, batch_size).to(state.device)
            logits = model(padded)[: stop - start].float()
            ranked = _rank(logits[:, order], probability=probability)
            parts.append((*ranked, digests[: stop - start]))
            bar.update(stop - start)
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


def _rows_of(batch: tuple[int, int], *, batch_size: int, num_images: int) -> list[int]:
    """Return a batch's rows, filled up with the set's first ones when it has `num_images`."""
    rows = list(range(*batch))
    missing = min(batch_size, num_images) - len(rows)
    return rows + list(range(max(missing, 0)))


def prepared(
    dataset: datasets.Dataset,
    batches: Sequence[list[int]],
    *,
    image_column: str,
    transform: Transform,
) -> Iterator[tuple[torch.Tensor, list[bytes]]]:
    """Yield each batch: pixels (images, 3, height, width), normalised float32, and digests.

    One batch is decoded ahead, while the model is at work on the one before.
    """
    from concurrent.futures import ThreadPoolExecutor

    from datasets import Image

    encoded = dataset.select_columns([image_column]).cast_column(image_column, Image(decode=False))

    def prepare(rows: list[int]) -> tuple[torch.Tensor, list[bytes]]:
        return _prepare_batch(encoded[rows][image_column], rows, transform=transform)

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
    items: Sequence[dict[str, Any] | None], rows: Sequence[int], *, transform: Transform
) -> tuple[torch.Tensor, list[bytes]]:
    import torch

    pixels, digests = [], []
    for row, item in zip(rows, items, strict=True):
        picture = _decode(item, row)
        size = f"{picture.width}x{picture.height} ".encode()
        digests.append(hashlib.sha256(size + picture.tobytes()).digest())
        pixels.append(transform(picture))
    return torch.stack(pixels), digests


def make_transform(preprocessing: Preprocessing) -> Transform:
    """Return timm's own evaluation transform: PIL image to normalised (3, height, width)."""
    from timm.data.transforms_factory import create_transform

    transform: Transform = create_transform(**preprocessing.model_dump(), is_training=False)
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


def pad(pixels: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Repeat the last image until the batch is full."""
    import torch

    missing = batch_size - len(pixels)
    return torch.cat([pixels, pixels[-1:].expand(missing, -1, -1, -1)]) if missing else pixels


def _rank(
    logits: torch.Tensor, *, probability: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the most likely classes and their probabilities; equal logits go by class order."""
    exact = logits.double()
    likely = exact.sigmoid() if probability == "sigmoid" else exact.softmax(dim=1)
    probabilities = likely.cpu().numpy()
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
