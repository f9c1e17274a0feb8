"""Create timm classifiers from the files of a run or a Hub model."""

from pathlib import Path
from typing import Any

from factory.common.errors import UserError
from factory.models.model_config import ModelConfig
from factory.models.model_folder import WEIGHTS
from factory.models.model_size import no_larger_than


def create_classifier(config: ModelConfig, weights: Path, run: str) -> Any:
    """Create a model and load its weights with timm.

    Args:
        config: Its checked `config.json`.
        weights: Its weights.
        run: Name of the model in messages.

    Raises:
        UserError: The files are damaged or do not fit together.
    """
    import timm
    from safetensors import SafetensorError

    try:
        with no_larger_than(weights):
            return timm.create_model(**config.timm_arguments(weights))
    except SafetensorError as error:
        raise UserError(
            f"{run}: {WEIGHTS} is damaged ({error}); copy or train the run again"
        ) from None
    except Exception as error:  # noqa: BLE001 (architectures raise anything for odd arguments)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[:2])[:300] or type(error).__name__
        raise UserError(
            f"{run}: config.json and {WEIGHTS} do not fit together ({reason})"
        ) from None


def output_names(config: ModelConfig, *, num_classes: int, run: str) -> list[str] | None:
    """Return class names in the order of outputs, or None; timm stores a list, or a dict by output.

    Raises:
        UserError: Their number is not that of the outputs.
    """
    found = config.label_names or config.pretrained_cfg.label_names
    if not found:
        return None
    keys = map(str, range(num_classes))
    names = [found.get(key) for key in keys] if isinstance(found, dict) else list(found)
    if len(found) == num_classes and None in names:
        raise UserError(
            f"{run}: label_names of config.json names other outputs than 0 to {num_classes - 1}; "
            "fix label_names"
        )
    if len(found) != num_classes:
        raise UserError(
            f"{run}: config.json has {len(found)} label_names but the model has {num_classes} "
            "outputs; fix label_names"
        )
    return [str(name) for name in names]
