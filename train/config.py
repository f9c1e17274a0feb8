"""The configuration of a training run: everything needed to repeat it, validated and frozen.

`RunConfig` is written to `config.yaml` of a run folder and compared when a run is resumed. Values
come from `train.presets` and `train.arguments`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError

from factory.common.errors import Fault
from factory.common.preset_options import GROUPS
from factory.common.text import cut, expected_word, suggest
from factory.data.row_subsets import DataSource
from train.settings import Augmentation, Frozen, Hyperparameters, flag

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Pixels = Literal["memory", "files", "stream"]


class Environment(Frozen):
    """Environment of the epochs of one launch; None: not recorded (earlier versions).

    Attributes:
        from_epoch: First of these epochs, from 1.
        device: Type of device, e.g. `cpu` or `cuda`.
        device_name: Its model, e.g. `NVIDIA H100`.
        precision: `float32`, or the type of mixed-precision training.
        threads: CPU threads per process.
        processes: Number of processes.
        compiled: Backend of `torch.compile`, or `no`.
        versions: Version of each library.
    """

    from_epoch: Annotated[int, Field(ge=1)] = 1
    device: str | None = None
    device_name: str | None = None
    precision: str | None = None
    threads: int | None = None
    processes: int | None = None
    compiled: str = "no"
    versions: dict[str, str] = Field(default_factory=dict)


class RunConfig(Frozen):
    """Everything needed to repeat a run.

    Attributes:
        model: timm model name.
        pretrained: Starts from pretrained weights: timm's, or those of a file.
        weights: Name of that file, or None.
        weights_sha256: Hash of that file.
        head_only: Trains the last layer only.
        teacher: Run folder or Hub id of a model whose probabilities are learnt too, or None.
        teacher_sha256: Hash of its weights.
        model_args: Further arguments of `timm.create_model`.
        preset: Base of the hyperparameters; the values below are final.
        overrides: Hyperparameters that the user gave, `augmentation` among them; None: not
            recorded (earlier versions). They do not identify a run, `hyperparameters` do.
        seed: Decides initial weights, held-out part, order and augmentation.
        mix: Share of each dataset in an epoch, in sum 1; None for every image once.
        pixels: Images are decoded once into `memory`, or in each epoch from their `files` or the
            `stream` of a Hub dataset.
        shuffle_buffer: Images of a stream that are shuffled together; None of other runs.
        data: The rows.
        hyperparameters: All values resolved; none that training needs is None.
    """

    model: str
    pretrained: bool = False
    weights: str | None = None
    weights_sha256: str | None = None
    head_only: bool = False
    teacher: str | None = None
    teacher_sha256: str | None = None
    model_args: dict[str, Any] = Field(default_factory=dict)
    preset: str
    overrides: dict[str, Any] | None = None
    seed: int = 0
    mix: tuple[float, ...] | None = None
    pixels: Pixels = "memory"
    shuffle_buffer: int | None = None
    data: DataSource
    hyperparameters: Hyperparameters


def differing_keys(one: dict[str, Any], other: dict[str, Any], *, prefix: str = "") -> list[str]:
    """Return the dotted keys that differ between two mappings, in order, with both values."""
    found: list[str] = []
    for key in [*one, *(key for key in other if key not in one)]:
        left, right = one.get(key), other.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            found += differing_keys(left, right, prefix=f"{prefix}{key}.")
        elif left != right:
            there, now = cut(str(left), 40), cut(str(right), 40)
            found.append(f"{prefix}{key} ({there} there, {now} now)")
    return found


def option_faults(error: ValidationError) -> list[Fault]:
    """Return a fault for each invalid value, with its option."""
    faults = []
    for entry in error.errors():
        if not entry["loc"]:
            # Values that contradict each other, one per line.
            lines = entry["msg"].removeprefix("Value error, ").splitlines()
            faults += [Fault(line) for line in lines]
            continue
        path = [str(part) for part in entry["loc"]]
        message = entry["msg"].removeprefix("Value error, ")
        value = entry["input"]
        if entry["type"] == "extra_forbidden":
            hint = suggest(path[-1], Augmentation.model_fields, otherwise="known")
            faults.append(Fault(f"--augment {path[1]}={value}: unknown augmentation; {hint}"))
            continue
        option = _option_of(path)
        shown = f"{value:g}" if isinstance(value, float) else f"{value}"
        if isinstance(value, str | int | float):
            option += f"{'=' if option.startswith('--augment ') else ' '}{shown}"
        faults.append(Fault(f"{option}: {_expected(entry, shown) or message}"))
    # One option may set several fields.
    return [*dict.fromkeys(faults)]


def _option_of(path: Sequence[str]) -> str:
    """Return the option that sets a field: its own, else --augment."""
    if path[0] != "augmentation":
        return flag(path[0])
    if len(path) == 1:
        return "--augment"
    augmenting = (one for group in GROUPS.values() for one in group if one.augments)
    own = [one.name for one in augmenting if path[1] in (one.fields or (one.name,))]
    return flag(own[0]) if own else f"--augment {path[1]}"


def _expected(entry: ErrorDetails, value: str) -> str:
    """Return which values a field accepts, in the words of all options; empty if unknown."""
    kind, limits = entry["type"], entry.get("ctx", {})
    if kind == "literal_error":
        return expected_word(value, re.findall(r"'([^']+)'", limits["expected"]))
    bounds = {
        "greater_than": "more than {gt:g}",
        "greater_than_equal": "{ge:g} or more",
        "less_than": "less than {lt:g}",
        "less_than_equal": "{le:g} or less",
        "finite_number": "a finite number",
    }
    numbers = {"int": "a whole number", "float": "a number"}
    wanted = bounds.get(kind) or numbers.get(kind.partition("_")[0], "")
    return f"expected {wanted.format(**limits)}" if wanted else ""
