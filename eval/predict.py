"""Run a model over all images of a dataset, on one or several processes, with identical results.

Results depend on how images are batched (and on threads), so batches are the same runs of rows for
any number of processes: processes share whole batches, and the last batch is padded to full size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from eval.fit import Transform
from factory.common.console import progress
from factory.common.devices import reporting_lack_of_memory
from factory.common.errors import UserError
from factory.common.resources import cores_per_process
from factory.common.row_images import read_hashed
from factory.data.open import OpenedDataset
from factory.data.readable import listing_unreadable

if TYPE_CHECKING:
    from concurrent.futures import Future

    import torch
    from accelerate import PartialState

_RANKED = 5

_CHUNK = 8


@dataclass(frozen=True)
class Predictions:
    """Predictions for each image, in the dataset's order.

    Attributes:
        ranked: Shape (images, min(5, classes)), int64: class ids, the most likely first.
        probabilities: Same shape, float64: their softmax probabilities.
        digests: SHA-256 of each decoded image.
    """

    ranked: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    digests: list[bytes]

    def put_back(self, order: NDArray[np.int64]) -> Predictions:
        """Return predictions made in `order` in the dataset's order."""
        back = np.argsort(order)
        return Predictions(
            self.ranked[back], self.probabilities[back], [self.digests[place] for place in back]
        )


def predict(
    model: torch.nn.Module,
    opened: OpenedDataset,
    *,
    class_order: Sequence[int],
    transform: Transform,
    batch_size: int,
    state: PartialState,
    wrap: bool = False,
    probability: Literal["softmax", "sigmoid"] = "softmax",
) -> Predictions:
    """Predict every image; each process calls this and gets the full result.

    Args:
        model: Model in the desired mode; it is moved to this process's device.
        opened: Rows in the desired order.
        class_order: Model output of each class id in the result.
        transform: Function from a PIL image to the model's input, (3, height, width).
        batch_size: Images per step and process.
        state: This process among the others.
        wrap: Fill the last batch with the dataset's first images instead of repeats of its last
            one: for models whose output depends on the batch.
        probability: Function from the model's outputs to probabilities.

    Raises:
        UserError: An image is missing or cannot be decoded.
        Failure: There is not enough memory for a batch.
    """
    import torch

    model = model.to(state.device)
    order = torch.as_tensor(list(class_order), device=state.device)
    num_images = len(opened.dataset)
    mine = _batches_of(num_images, batch_size=batch_size, state=state)
    filler = num_images if wrap else 0
    show = state.is_main_process
    bar = progress(
        sum(stop - start for start, stop in mine), unit="image", description="scoring", show=show
    )
    parts: list[tuple[NDArray[np.int64], NDArray[np.float64], list[bytes]]] = []
    rows = [_rows_of(batch, batch_size=batch_size, num_images=filler) for batch in mine]
    images = prepared(opened, rows, transform=transform)
    smaller = f"give a --batch-size below {batch_size}"
    with torch.inference_mode(), reporting_lack_of_memory(smaller):
        for (start, stop), (pixels, digests) in zip(mine, images, strict=True):
            # Dropout, if active, depends on the batch and not on the process.
            torch.manual_seed(start)
            padded = pad(pixels, batch_size).to(state.device)
            logits = model(padded)[: stop - start].float()
            ranked = rank(logits[:, order], probability=probability)
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
    """Return a batch's rows, filled up with the dataset's first ones if it has enough."""
    rows = list(range(*batch))
    missing = min(batch_size, num_images) - len(rows)
    return rows + list(range(max(missing, 0)))


def prepared(
    opened: OpenedDataset, batches: Sequence[list[int]], *, transform: Transform
) -> Iterator[tuple[torch.Tensor, list[bytes]]]:
    """Yield each batch: pixels (images, 3, height, width), normalised float32, and digests.

    All cores decode. The next batch is decoded while the model processes the current one.
    """
    from concurrent.futures import ThreadPoolExecutor

    from datasets import Image

    column, numbers = opened.image_column, opened.row_numbers or range(len(opened.dataset))
    encoded = opened.dataset.select_columns([column]).cast_column(column, Image(decode=False))

    def prepare(rows: Sequence[int]) -> list[tuple[torch.Tensor, bytes]]:
        found = []
        for row, item in zip(rows, encoded[rows][column], strict=True):
            image, digest = read_hashed(
                item,
                where=f"row {numbers[row]}",
                folder=opened.image_folder,
                side=transform.side,
            )
            found.append((transform.apply(image), digest))
        return found

    pool = ThreadPoolExecutor(max_workers=cores_per_process())
    try:
        waiting = None
        for rows in batches:
            parts = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
            following = [pool.submit(prepare, part) for part in parts]
            if waiting is not None:
                yield _joined(waiting, opened)
            waiting = following
        if waiting is not None:
            yield _joined(waiting, opened)
    finally:
        pool.shutdown(cancel_futures=True)


def _joined(
    parts: Sequence[Future[list[tuple[torch.Tensor, bytes]]]], opened: OpenedDataset
) -> tuple[torch.Tensor, list[bytes]]:
    import torch

    with listing_unreadable(opened):
        pixels, digests = zip(*(one for part in parts for one in part.result()), strict=True)
    return torch.stack(pixels), list(digests)


def pad(pixels: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Repeat the last image until the batch is full."""
    import torch

    missing = batch_size - len(pixels)
    return torch.cat([pixels, pixels[-1:].expand(missing, -1, -1, -1)]) if missing else pixels


def rank(
    logits: torch.Tensor, *, probability: str = "softmax", count: int = _RANKED
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the most likely classes and their probabilities; ties are in class order.

    Computed in NumPy, because Apple's MPS devices have no float64.

    Raises:
        UserError: As `finite`.
    """
    from scipy.special import expit, softmax

    exact = finite(logits.cpu().numpy().astype(np.float64))
    probabilities = expit(exact) if probability == "sigmoid" else softmax(exact, axis=1)
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
    return ranked, np.take_along_axis(probabilities, ranked, axis=1)


def finite(outputs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a model's outputs.

    Raises:
        UserError: Some are not numbers: their order would mean nothing.
    """
    if not np.isfinite(outputs).all():
        raise UserError(
            "the model's outputs are not finite (NaN or infinity): its weights are damaged, or its "
            "training failed; train it again"
        )
    return outputs


def _gathered(
    parts: list[tuple[NDArray[np.int64], NDArray[np.float64], list[bytes]]], state: PartialState
) -> Predictions:
    """Join all processes' batches; shares are contiguous, so rank order is the dataset's order."""
    from accelerate.utils import gather_object

    if state.num_processes > 1:
        parts = gather_object(parts)
    return Predictions(
        ranked=np.concatenate([ranked for ranked, _, _ in parts]),
        probabilities=np.concatenate([probabilities for _, probabilities, _ in parts]),
        digests=[digest for _, _, digests in parts for digest in digests],
    )
