"""Pin LoRA adapters and load them into a pipeline.

diffusers loads them through peft, an optional dependency: `pip install 'data-factory[lora]'`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.common.devices import torch_threads
from factory.common.errors import UserError, first_line
from factory.models.adapter_files import file_revision

if TYPE_CHECKING:
    from factory.recipe.schema import Adapter

_SUFFIX = ".safetensors"


def load_adapters(pipeline: Any, adapters: Sequence[Adapter]) -> None:
    """Load adapters into a pipeline and apply them with their weights.

    Raises:
        UserError: peft is missing, the pipeline does not support adapters, or an adapter cannot be
            loaded or does not fit.
    """
    if importlib.util.find_spec("peft") is None:
        raise UserError("LoRA adapters need peft; install it: pip install 'data-factory[lora]'")
    if not hasattr(pipeline, "load_lora_weights"):
        raise UserError(
            f"{type(pipeline).__name__} does not support LoRA adapters; remove model.adapters"
        )
    names = _names(len(adapters))
    for name, adapter in zip(names, adapters, strict=True):
        _load(pipeline, adapter, name)
    pipeline.set_adapters(names, adapter_weights=[adapter.weight for adapter in adapters])


def merge_adapters(pipeline: Any, count: int) -> None:
    """Merge loaded adapters into the weights of their models, so that no layers are added.

    Args:
        pipeline: On the CPU.
        count: Number of its adapters.

    Raises:
        UserError: The adapters cannot be merged, or several would not add up as they do unmerged.
    """
    if not hasattr(pipeline, "fuse_lora"):
        raise _cannot_merge(f"{type(pipeline).__name__} has no fuse_lora")
    # By default diffusers merges only adapters of FLUX's transformer, not of its text encoder.
    parts = {name: getattr(pipeline, name) for name in pipeline.get_list_adapters()}
    configs = [one for part in parts.values() for one in part.peft_config.values()]
    if count > 1 and any(getattr(one, "use_dora", False) for one in configs):
        # DoRA scales by the norm of the weights, which the adapter merged before has changed.
        raise _cannot_merge("of several, one is a DoRA adapter")
    try:
        # The number of threads may change the last digits, and processes load with different ones.
        with torch_threads(1):
            pipeline.fuse_lora([*parts], adapter_names=_names(count), safe_fusing=True)
    except (ValueError, RuntimeError) as error:
        raise _cannot_merge(first_line(error)) from None
    from diffusers.utils import recurse_remove_peft_layers

    for part in parts.values():
        # FLUX's `unload_lora_weights` would also undo norms that came with an adapter.
        recurse_remove_peft_layers(part)


def _cannot_merge(reason: str) -> UserError:
    return UserError(
        f"--fuse-adapters: the adapters cannot be merged ({reason}); remove the option, or choose "
        "other adapters"
    )


def _names(count: int) -> list[str]:
    return [f"adapter_{number}" for number in range(count)]


def _load(pipeline: Any, adapter: Adapter, name: str) -> None:
    path = Path(adapter.id)
    local = path.is_file()
    weight_name = path.name if local else adapter.weight_name
    if weight_name is not None and not weight_name.endswith(_SUFFIX):
        # diffusers unpickles files with other extensions, even with `use_safetensors`.
        raise UserError(
            f"adapter {adapter.id}: {weight_name} is not a {_SUFFIX} file; only {_SUFFIX} is loaded"
        )
    # Recipes name the file of an adapter on this machine, and its hash; those of others may not.
    if path.is_dir() or (local and adapter.revision != file_revision(path)):
        raise UserError(
            f"adapter {adapter.id}: the file differs from the recipe's revision "
            f"({adapter.revision}); restore it, or build into another directory"
        )
    try:
        pipeline.load_lora_weights(
            str(path.parent) if local else adapter.id,
            revision=None if local else adapter.revision,
            weight_name=weight_name,
            adapter_name=name,
            use_safetensors=True,
        )
    # diffusers, peft and huggingface_hub raise these for missing, unreachable or unsuitable
    # adapters.
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise UserError(
            f"adapter {adapter.id}: cannot be loaded ({first_line(error)}); check `id`, `revision` "
            "and `weight_name`, and that the adapter was trained for this model"
        ) from None
    loaded = {one for names in pipeline.get_list_adapters().values() for one in names}
    if name not in loaded:
        raise UserError(
            f"adapter {adapter.id}: contains no weights for this model; was it trained for another?"
        )
