"""Pin LoRA adapters and load them into a pipeline.

diffusers loads them through peft, an optional dependency: `pip install 'data-factory[lora]'`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    names = []
    for number, adapter in enumerate(adapters):
        names.append(f"adapter_{number}")
        _load(pipeline, adapter, names[-1])
    pipeline.set_adapters(names, adapter_weights=[adapter.weight for adapter in adapters])


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
