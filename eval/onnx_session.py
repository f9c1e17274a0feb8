"""Run a checked ONNX file with onnxruntime, in a bounded amount of memory.

What a graph takes is known from its shapes (`eval.onnx_costs`). onnxruntime's own needs - buffers
of an operator, weights in another layout - come on top, and it may choose another order of the
operators. So its memory has a limit of its own.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch

from eval.onnx_checks import INPUT, OUTPUT
from eval.onnx_costs import MAX_BYTES, TooCostly, required_bytes
from eval.scores_file import Preprocessing
from factory.common.errors import UserError, first_line

_PART_BYTES = 1 << 30
"""A batch is computed in parts that need at most this much memory, if one image does not."""
_LIMIT = "Available memory of"


class OnnxModel(torch.nn.Module):
    """A session of onnxruntime, called as the model that was exported; it computes on the CPU."""

    def __init__(
        self,
        data: bytes,
        model: Any,
        *,
        preprocessing: Preprocessing,
        num_classes: int,
        shown: str,
    ) -> None:
        """Open a session.

        Args:
            data: Contents of the file.
            model: Its message, checked (`eval.onnx_checks`).
            preprocessing: From its metadata.
            num_classes: From its metadata.
            shown: The file as the user named it.

        Raises:
            UserError: It needs too much memory, its input and output do not fit its metadata, or
                onnxruntime cannot open it.
        """
        super().__init__()
        self._model = model
        self._size = tuple(preprocessing.input_size)
        self._num_classes = num_classes
        self._shown = shown
        self._allowed: dict[int, int] = {}
        self._part = max(1, _PART_BYTES // self._bytes(1))
        self._session = _session(data, shown)
        self._check_ends()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (images, classes), of normalised images (images, 3, H, W)."""
        return torch.cat([self._logits(one) for one in torch.split(pixels.cpu(), self._part)])

    def _logits(self, pixels: torch.Tensor) -> torch.Tensor:
        self._bytes(len(pixels))
        try:
            [found] = self._session.run([OUTPUT], {INPUT: pixels.numpy()})
        except Exception as error:  # noqa: BLE001 (onnxruntime has a class for each kind)
            if _LIMIT in str(error):
                raise UserError(_too_much(self._shown)) from None
            if "bad_alloc" in str(error) or "allocate" in str(error):
                raise MemoryError(first_line(error)) from None
            raise UserError(f"{self._shown}: cannot be computed ({first_line(error)})") from None
        if found.shape != (len(pixels), self._num_classes):
            raise UserError(
                f"{self._shown}: returns an array of shape {found.shape} for {len(pixels)} images "
                f"and {self._num_classes} classes; export the model again"
            )
        return torch.from_numpy(found)

    def _bytes(self, images: int) -> int:
        """Return the memory that a number of images takes.

        Raises:
            UserError: It is too much.
        """
        if images not in self._allowed:
            try:
                self._allowed[images] = required_bytes(self._model, (images, *self._size))
            except TooCostly as error:
                raise UserError(f"{self._shown}: {error}; use another model") from None
        return self._allowed[images]

    def _check_ends(self) -> None:
        """Check input and output against the metadata; the first dimension is the batch."""
        wanted = [
            (INPUT, "tensor(float)", list(self._size)),
            (OUTPUT, "tensor(float)", [self._num_classes]),
        ]
        ends = [*self._session.get_inputs(), *self._session.get_outputs()]
        if [(one.name, one.type, one.shape[1:]) for one in ends] != wanted:
            raise UserError(
                f"{self._shown}: its input and output do not fit its metadata (expected {wanted}); "
                "export the model again"
            )


def _session(data: bytes, shown: str) -> Any:
    """Open a session whose memory, apart from the file's contents, has a limit."""
    import onnxruntime as ort

    place = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    # Sessions take what is registered when they are opened, so each has memory of its own.
    limit = ort.OrtArenaCfg({"max_mem": 2 * (MAX_BYTES + len(data)), "arena_extend_strategy": 1})
    # Older versions keep the first one.
    with suppress(Exception):
        ort.create_and_register_allocator(place, limit)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.intra_op_num_threads = torch.get_num_threads()
    # Errors are raised; warnings of the library would be lines among ours.
    options.log_severity_level = 4
    try:
        # Constants would be computed while the file is opened, and outside the limit.
        return ort.InferenceSession(
            data, options, ["CPUExecutionProvider"], disabled_optimizers=["ConstantFolding"]
        )
    except Exception as error:  # noqa: BLE001 (onnxruntime has a class for each kind)
        if _LIMIT in str(error):
            raise UserError(_too_much(shown)) from None
        raise UserError(
            f"{shown}: onnxruntime cannot open it ({first_line(error)}); export the model again"
        ) from None


def _too_much(shown: str) -> str:
    return (
        f"{shown}: onnxruntime needs more than {2 * MAX_BYTES >> 30} GiB of memory besides twice "
        "the file; use another model"
    )
