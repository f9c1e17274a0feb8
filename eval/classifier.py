"""Classify photos with a trained model, for `eval predict` and for Python code."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from eval.checkpoint import Checkpoint, is_onnx, load_checkpoint
from eval.fit import Transform, make_transform, with_fit
from eval.photos import Photo, file_photo
from eval.predict import pad, rank
from factory.common.console import progress
from factory.common.devices import find_device, reporting_lack_of_memory
from factory.common.errors import UserError
from factory.common.image_bytes import ImageFault, opened_image
from factory.common.resources import cores_per_process
from factory.common.row_images import UnreadableImage
from factory.common.storage import at_home
from factory.data.pixels import Fit

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

BATCH_SIZE = 256
_AHEAD = 32
_OPENING = Lock()


@dataclass(frozen=True)
class Answer:
    """A model's answer for one photo.

    Attributes:
        photo: The photo.
        classes: Names of the most likely classes with their probabilities, the most likely first.
    """

    photo: Photo
    classes: list[tuple[str, float]]

    @property
    def confidence(self) -> float:
        """Probability of the most likely class."""
        return self.classes[0][1]


@dataclass(frozen=True)
class Classifier:
    """A model with its evaluation preprocessing; see `load_classifier`.

    Attributes:
        checkpoint: The model and its facts.
        transform: Function from a PIL image to the model's input.
        device: Device of the model.
    """

    checkpoint: Checkpoint
    transform: Transform
    device: torch.device

    def __call__(
        self, images: Any, *, top_k: int = 5, batch_size: int | None = None
    ) -> list[list[dict[str, Any]]]:
        """Classify images.

        Args:
            images: A path, a PIL image, or a list of these.
            top_k: Number of classes per image; fewer if the model has fewer.
            batch_size: Images per batch; default: 256, or the number of images if that is less.

        Returns:
            A list per image, even for a single image: `{"label": ..., "score": ...}` per class, the
            most likely first, as in the image-classification pipelines of transformers.

        Raises:
            UserError: An image cannot be read.
            Failure: A batch does not fit into memory.
            TypeError: An argument is neither a path nor an image.
        """
        many = isinstance(images, list | tuple)
        photos = [_photo(image, place) for place, image in enumerate(images if many else [images])]
        answers, faults = self.classify(photos, top_k=top_k, batch_size=batch_size)
        if faults:
            raise faults[0][1]
        return [
            [{"label": name, "score": score} for name, score in answer.classes]
            for answer in answers
        ]

    def classify(
        self,
        photos: Sequence[Photo],
        *,
        top_k: int = 5,
        batch_size: int | None = None,
        shows: bool = False,
    ) -> tuple[list[Answer], list[tuple[Photo, UnreadableImage]]]:
        """Classify photos and skip unreadable ones.

        The last digits of float32 depend on the batch size. So batches contain readable images
        only, and the last one is padded, as in `eval score`.

        Returns:
            Answers in the order of the photos, and the skipped photos with their errors.

        Raises:
            Failure: A batch does not fit into memory.
        """
        if top_k < 1:
            raise UserError(f"top_k {top_k}: expected 1 or more")
        size = batch_size or max(1, min(BATCH_SIZE, len(photos)))
        answers: list[Answer] = []
        faults: list[tuple[Photo, UnreadableImage]] = []
        waiting: list[tuple[Photo, torch.Tensor]] = []
        bar = progress(len(photos), unit="image", description="predicting", show=shows)
        with bar, _full_float32(), reporting_lack_of_memory(f"give a batch size below {size}"):
            for photo, pixels in self._decoded(photos, ahead=size + _AHEAD):
                bar.update()
                if isinstance(pixels, UnreadableImage):
                    faults.append((photo, pixels))
                    continue
                waiting.append((photo, pixels))
                if len(waiting) == size:
                    answers += self._answers(waiting, top_k=top_k, size=size)
                    waiting = []
            if waiting:
                answers += self._answers(waiting, top_k=top_k, size=size)
        return answers, faults

    def _answers(
        self, batch: list[tuple[Photo, torch.Tensor]], *, top_k: int, size: int
    ) -> list[Answer]:
        import torch

        photos, pixels = zip(*batch, strict=True)
        with torch.inference_mode():
            padded = pad(torch.stack(pixels), size).to(self.device)
            logits = self.checkpoint.model(padded)[: len(photos)].float()
        names = self.checkpoint.label_names
        ranked, probabilities = rank(logits, count=top_k)
        return [
            Answer(photo, [(names[one], score) for one, score in zip(ids, scores, strict=True)])
            for photo, ids, scores in zip(
                photos, ranked.tolist(), probabilities.tolist(), strict=True
            )
        ]

    def _decoded(
        self, photos: Sequence[Photo], *, ahead: int
    ) -> Iterator[tuple[Photo, torch.Tensor | UnreadableImage]]:
        """Yield each photo's pixels in order; all cores decode, at most `ahead` in advance."""

        def read(photo: Photo) -> torch.Tensor | UnreadableImage:
            try:
                return self.transform.apply(photo.read(self.transform.side))
            except UnreadableImage as fault:
                return fault

        pool = ThreadPoolExecutor(max_workers=cores_per_process())
        waiting: deque[tuple[Photo, Future[torch.Tensor | UnreadableImage]]] = deque()
        try:
            for photo in photos:
                waiting.append((photo, pool.submit(read, photo)))
                if len(waiting) > ahead:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for first, future in waiting:
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def load_classifier(run: str | Path, *, fit: Fit | None = None, device: str = "auto") -> Classifier:
    """Load a trained model that can be called with images.

    Args:
        run: A run folder, a model of the Hub (`[hf-hub:]ORG/NAME[@REVISION]`), or a file of
            `eval export`.
        fit: Treatment of images that are not square: `crop`, `pad` or `squash`; default: crop, or
            pad if the model was trained with borders.
        device: `auto`, `cpu`, `cuda`, ...; ONNX files are computed on the CPU.

    Returns:
        The model; see `Classifier.__call__`. It gives the same probabilities as `eval score`.

    Raises:
        UserError: The model or the device does not exist, or the model's files do not fit together.
        Failure: The Hub cannot be reached.
    """
    path = at_home(run)
    if is_onnx(str(run)):
        if device not in ("auto", "cpu"):
            raise UserError(f"device {device}: ONNX files are computed on the CPU; use cpu")
        from eval.onnx_file import load_onnx

        chosen, checkpoint = find_device("cpu"), load_onnx(path, shown=str(run))
    else:
        chosen, checkpoint = find_device(device), load_checkpoint(str(path))
    checkpoint = replace(checkpoint, preprocessing=with_fit(checkpoint.preprocessing, fit))
    checkpoint.model.to(chosen)
    return Classifier(checkpoint, make_transform(checkpoint.preprocessing), chosen)


def _photo(image: Any, place: int) -> Photo:
    from PIL.Image import Image as PillowImage

    if isinstance(image, str | Path):
        return file_photo(at_home(image), name=str(image))
    if isinstance(image, PillowImage):
        return Photo(f"image {place}", lambda side: _seen(image, place))
    raise TypeError(f"image {place} is {type(image).__name__}, not a path or a PIL image")


def _seen(image: Image, place: int) -> Image:
    try:
        # Threads would disturb each other where one image is given twice.
        with _OPENING:
            return opened_image(image)
    except ImageFault as fault:
        raise UnreadableImage(f"image {place}: {fault}") from None


@contextmanager
def _full_float32() -> Iterator[None]:
    """Keep TensorFloat-32 off while a model runs: GPUs would round convolutions to 10 bits."""
    import torch

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
