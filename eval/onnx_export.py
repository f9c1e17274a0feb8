"""Write a classifier as an ONNX file, and compare it with the model before the file appears."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.checkpoint import Checkpoint
from eval.classifier import Classifier
from eval.onnx_checks import INPUT, OUTPUT, parts
from eval.onnx_file import MAX_BYTES, Properties, load_onnx, require_onnx
from eval.photos import Photo
from factory.common.console import log
from factory.common.errors import Failure, UserError, first_line
from factory.common.row_images import UnreadableImage
from factory.common.whole_files import replace_file

if TYPE_CHECKING:
    import torch

LIMIT = 1e-4
"""Largest difference of a logit, relative to it if it is above 1."""
IMAGES = 100
_BATCH = 32
_NOISY = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")


@dataclass(frozen=True)
class Checked:
    """Comparison of a written file with its model.

    Attributes:
        images: Number of images.
        same: How many of them get the same most likely class.
        largest: Largest difference of a logit, as for `LIMIT`.
        num_bytes: Size of the file.
    """

    images: int
    same: int
    largest: float
    num_bytes: int


def export_onnx(
    classifier: Classifier,
    path: Path,
    *,
    photos: Sequence[Photo] | None = None,
    threshold: float | None = None,
) -> Checked:
    """Write an ONNX file that takes a batch of any number of images.

    The file appears only if onnxruntime computes the same logits from it.

    Args:
        classifier: On the CPU.
        path: The file; it is replaced.
        photos: Images for the comparison, of which at most `IMAGES` are read; default: noise.
        threshold: Stored in the file: the probability below which an answer is "none of these".

    Raises:
        UserError: A package is missing, no photo can be read, or the model is too large for a file.
        Failure: torch cannot export the model, or the file computes something else.
    """
    require_onnx("onnx", "onnxscript", "onnxruntime")
    checkpoint = classifier.checkpoint
    size = sum(one.nbytes for one in checkpoint.model.state_dict().values())
    if size > 0.95 * MAX_BYTES:
        raise UserError(
            f"{checkpoint.run}: has {size / 1e9:.1f} GB of weights; one ONNX file has room for "
            f"{MAX_BYTES / 1e9:.1f} GB"
        )
    data = _exported(checkpoint, threshold)
    checked: list[Checked] = []

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)
        checked.append(_compare(classifier, temporary, path, photos=photos))

    replace_file(path, write)
    return checked[0]


def _exported(checkpoint: Checkpoint, threshold: float | None) -> bytes:
    """Return the bytes of the file, with names and preprocessing as metadata."""
    import torch

    example = torch.zeros(2, *checkpoint.preprocessing.input_size)
    try:
        with _quietly():
            program = torch.onnx.export(
                checkpoint.model,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        if program is None:
            raise ValueError("torch returns nothing")
        proto = program.model_proto
    except Exception as error:  # noqa: BLE001 (torch raises anything for models it cannot trace)
        raise Failure(
            f"{checkpoint.run}: torch cannot export {checkpoint.facts.architecture} to ONNX "
            f"({first_line(error)})"
        ) from None
    # They contain paths of this machine.
    for one in parts(proto):
        for name in ("metadata_props", "doc_string"):
            if name in one.DESCRIPTOR.fields_by_name:
                one.ClearField(name)
    properties = Properties(
        label_names=checkpoint.label_names,
        preprocessing=checkpoint.preprocessing.model_dump(mode="json"),
        threshold=threshold,
        model=checkpoint.facts,
    )
    for key, value in properties.to_texts().items():
        proto.metadata_props.add(key=key, value=value)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the exporter's remarks about its own steps."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)


def _compare(
    classifier: Classifier, written: Path, path: Path, *, photos: Sequence[Photo] | None
) -> Checked:
    """Compare the logits of the model and of the file.

    Raises:
        UserError: No photo can be read.
        Failure: They differ by more than `LIMIT`.
    """
    import torch

    other = load_onnx(written, shown=str(path)).model
    images, same, largest = 0, 0, 0.0
    inputs = list(_pixels(classifier, photos or _noise(classifier)))
    for start in range(0, len(inputs), _BATCH):
        pixels = torch.stack(inputs[start : start + _BATCH])
        with torch.inference_mode():
            expected = classifier.checkpoint.model(pixels)
            found = other(pixels)
        difference = (found - expected).abs() / expected.abs().clamp(min=1)
        images += len(pixels)
        same += int((found.argmax(1) == expected.argmax(1)).sum())
        # Unlike Python's, this maximum keeps a NaN.
        largest = float(np.maximum(largest, difference.max().item()))
    if not images:
        raise UserError("--check: none of the images can be read; choose others")
    if not largest <= LIMIT:
        raise Failure(
            f"{path}: is not written: on {images} images its logits differ from the model's by up "
            f"to {largest:.1e}, more than {LIMIT:g}; try another version of torch or onnxruntime"
        )
    return Checked(images, same, largest, written.stat().st_size)


def _pixels(classifier: Classifier, photos: Sequence[Photo]) -> Iterator[torch.Tensor]:
    """Yield the model's input of some photos, evenly spaced; report those that cannot be read."""
    chosen = np.unique(np.linspace(0, len(photos) - 1, min(IMAGES, len(photos))).round())
    for place in chosen.astype(int).tolist():
        try:
            image = photos[place].read(classifier.transform.side)
        except UnreadableImage as fault:
            log(f"not checked: {fault}")
            continue
        yield classifier.transform.apply(image)


def _noise(classifier: Classifier) -> list[Photo]:
    from PIL import Image

    _, height, width = classifier.checkpoint.preprocessing.input_size

    def read(number: int, _: int | None) -> Any:
        values = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        return Image.fromarray(values)

    return [Photo(f"noise {number}", partial(read, number)) for number in range(IMAGES)]
