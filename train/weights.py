"""Start a model from a checkpoint file instead of timm's download."""

from __future__ import annotations

import pickle
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from torch import Tensor, nn

from factory.common.errors import UserError, first_line

# Counters of batch norm, which old checkpoints lack and which training does not read.
_OPTIONAL = "num_batches_tracked"


def load_weights(model: nn.Module, path: Path, *, name: str) -> None:
    """Load a checkpoint into all layers but the last, which stays as it is.

    A checkpoint does not name its classes, so its last layer cannot be used.

    Args:
        model: A timm model, changed in place.
        path: Safetensors, or a state dict of timm or torch, alone or in a training checkpoint.
            Averaged weights (EMA) are preferred, as in timm.
        name: The model's name, for messages.

    Raises:
        UserError: The file cannot be read, or its tensors are not those of the model.
    """
    heads = _heads(model)
    loaded = {key: one for key, one in _adapted(model, path).items() if not key.startswith(heads)}
    own = {key: one for key, one in model.state_dict().items() if not key.startswith(heads)}
    missing = [key for key in own if key not in loaded and not key.endswith(_OPTIONAL)]
    unknown = [key for key in loaded if key not in own]
    shapes = [key for key in own if key in loaded and own[key].shape != loaded[key].shape]
    differing = [
        f"{len(keys)} {what} (first: {keys[0]})"
        for keys, what in (
            (missing, "of the model are missing in the file"),
            (unknown, "of the file are unknown"),
            (shapes, "have another shape"),
        )
        if keys
    ]
    if differing:
        raise UserError(
            f"--weights {path}: its tensors do not fit {name}: {', '.join(differing)}; give "
            "the --model, --model-arg and --image-size that the weights were trained with"
        )
    model.load_state_dict(loaded, strict=False)


def _adapted(model: nn.Module, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file under the names of a model, resized for its image size."""
    state = _read(path)
    convert: Callable[..., Any] | None = getattr(
        sys.modules[type(model).__module__], "checkpoint_filter_fn", None
    )
    if convert is None:
        return state
    try:
        found: dict[str, Tensor] = convert(state, model)
    except (KeyError, RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"--weights {path}: timm cannot convert them for {type(model).__name__} "
            f"({first_line(error)}); give the --model that the weights belong to"
        ) from None
    return found


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from timm.models import load_state_dict

    try:
        # torch warns of pickles of other protocols.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state: dict[str, Tensor] = load_state_dict(str(path), device="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, BadZipFile, SafetensorError, AttributeError) as error:
        # timm's form of torch's refusal of pickles that are more than tensors.
        if "weights_only" in str(error):
            raise UserError(_no_pickle(path)) from None
        raise UserError(f"--weights {path}: cannot be read ({first_line(error)})") from None
    # What is no pickle raises whatever its bytes lead to.
    except (pickle.UnpicklingError, LookupError, ValueError, TypeError, AssertionError):
        raise UserError(_no_pickle(path)) from None
    if not state or not all(isinstance(one, Tensor) for one in state.values()):
        raise UserError(f"--weights {path}: contains no state dict of tensors")
    return state


def _no_pickle(path: Path) -> str:
    return (
        f"--weights {path}: is no safetensors file, and no pickle of tensors alone: other pickles "
        "may run code and are not loaded; save its state dict"
    )


def _heads(model: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the last layer's tensors."""
    settings: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    names: str | Sequence[str] = settings.get("classifier") or ()
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
