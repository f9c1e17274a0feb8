"""Stop creating a model as soon as it is larger than its files of weights.

torch calls the hooks when a layer registers a parameter or another layer, before any value is
written. So an odd `config.json` costs neither time nor memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

_TOO_LARGE = "the architecture has more parameters than the file of weights"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_FEWEST_BYTES = 64
"""The description of a tensor in a pickle takes more."""


@dataclass(frozen=True)
class _Files:
    """Files of weights.

    Attributes:
        safetensors: Files whose headers list the tensors.
        pickles: Other files, of which only the size is known.
        spare: Number of values that a new head or other position embeddings may add.
        times: How often a parameter may be registered: when a layer is created, replaced, filled
            with its values, or shares those of another layer.
    """

    safetensors: list[Path]
    pickles: list[Path]
    spare: int = 0
    times: int = 2

    @cached_property
    def sizes(self) -> list[int]:
        """Number of values of each tensor; of a pickle, its bytes."""
        from safetensors import safe_open

        found = []
        for path in self.safetensors:
            with safe_open(path, framework="numpy") as file:
                shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
            found += [_product(shape) for shape in shapes]
        return [*found, *(path.stat().st_size for path in self.pickles)]

    @cached_property
    def largest(self) -> int:
        """Largest number of values of a tensor."""
        return max([self.spare, *self.sizes])

    @cached_property
    def total(self) -> int:
        """Number of values of all tensors."""
        return sum(self.sizes) + self.spare

    @cached_property
    def count(self) -> int:
        """Largest number of tensors."""
        tensors = sum(path.stat().st_size for path in self.pickles) // _FEWEST_BYTES
        return len(self.sizes) + tensors


@contextmanager
def no_larger_than(weights: Path, *, spare: int = 0) -> Iterator[None]:
    """Limit the creation of one model to a file of weights.

    Args:
        weights: A safetensors file.
        spare: Number of values that a new head or other position embeddings may add.

    Raises:
        ValueError: The model has a larger parameter, or more parameters, than the file.
    """
    files = _Files([weights], [], spare)
    _ = files.sizes
    with _limiting(lambda: files):
        yield


@contextmanager
def no_larger_than_folder(folder: Callable[[], Path]) -> Iterator[None]:
    """Limit the creation of all models of a folder to all its files of weights.

    Args:
        folder: Returns the folder when the first layer is created: by then its files are there.

    Raises:
        ValueError: A model has a larger parameter than the files, or all have more parameters.
    """
    known: list[_Files] = []

    def files() -> _Files:
        if not known:
            place = folder()
            pickles = [path for pattern in _PICKLES for path in place.rglob(pattern)]
            known.append(_Files([*place.rglob("*.safetensors")], pickles, times=4))
        return known[0]

    with _limiting(files):
        yield


@contextmanager
def _limiting(files: Callable[[], _Files]) -> Iterator[None]:
    from torch.nn.modules import module as registry

    seen = {"values": 0, "parameters": 0, "layers": 0}

    def parameter(_: Any, name: str, value: Any) -> None:
        if value is None:
            return
        known = files()
        seen["parameters"] += 1
        seen["values"] += value.numel()
        too_many = seen["parameters"] > known.times * known.count + 10
        if too_many or value.numel() > known.largest:
            raise ValueError(_TOO_LARGE)
        if seen["values"] > known.times * known.total + 10:
            raise ValueError(_TOO_LARGE)

    def layer(*_: Any) -> None:
        seen["layers"] += 1
        if seen["layers"] > 100 * files().count + 1000:
            raise ValueError("the architecture has more layers than the file of weights")

    handles = [
        registry.register_module_parameter_registration_hook(parameter),
        registry.register_module_module_registration_hook(layer),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _product(shape: list[int]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result
