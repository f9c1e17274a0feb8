"""Load timm models from a folder or the Hub, with or without class names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.scores_file import Preprocessing
from factory.common.errors import UserError
from factory.hub.ids import is_model_id
from factory.models.model_config import ModelConfig
from factory.models.model_folder import WEIGHTS, fetch_model, read_model_folder
from factory.models.model_size import no_larger_than


@dataclass(frozen=True)
class Loaded:
    """A loaded model, with or without class names.

    Attributes:
        folder: Folder of its files; for a Hub id, in the local cache.
        commit: Commit of a Hub model, else None.
        config: Its `config.json`, checked.
        model: The model in evaluation mode, float32, on the CPU.
        label_names: Class names in the order of the model's outputs, or None.
        preprocessing: Evaluation preprocessing that its config describes.
    """

    folder: Path
    commit: str | None
    config: ModelConfig
    model: Any
    label_names: list[str] | None
    preprocessing: Preprocessing


def load_model(run: str) -> Loaded:
    """Load a model that may lack class names, such as timm's ImageNet models on the Hub.

    Raises:
        UserError: A file is missing or damaged, the architecture is unknown, the weights do not
            fit it, `label_names` does not match the number of outputs, or the model has several
            labels per image.
        Failure: The Hub cannot be reached.
    """
    folder, commit = fetch_model(run) if is_model_id(run) else (Path(run), None)
    config, weights = read_model_folder(folder, run)
    config.require_one_label(run)
    model = _create(config, weights, run).eval()
    return Loaded(
        folder=folder,
        commit=commit,
        config=config,
        model=model,
        label_names=_label_names(config, num_classes=model.num_classes, run=run),
        preprocessing=preprocessing_of(model, run).model_copy(update={"fit": config.fit}),
    )


def _create(config: ModelConfig, weights: Path, run: str) -> Any:
    """Create the model and load the weights with timm; report each failure in one line."""
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


def _label_names(config: ModelConfig, *, num_classes: int, run: str) -> list[str] | None:
    """Return class names in the order of outputs; timm stores a list, or a dict by output."""
    found = config.label_names or config.pretrained_cfg.label_names
    if not found:
        return None
    keys = map(str, range(num_classes))
    names = [found.get(key) for key in keys] if isinstance(found, dict) else list(found)
    if len(found) != num_classes or None in names:
        raise UserError(
            f"{run}: config.json has {len(found)} label_names but the model has {num_classes} "
            "outputs; fix label_names"
        )
    return [str(name) for name in names]


def preprocessing_of(model: Any, run: str) -> Preprocessing:
    """Return timm's evaluation preprocessing of a model, by its `pretrained_cfg`.

    It uses the image size of the training. timm's larger `test_input_size`, which some weights have
    too, is not used.

    Raises:
        UserError: The model's input is not RGB.
    """
    from timm.data.config import resolve_model_data_config

    config: dict[str, Any] = resolve_model_data_config(model)
    if config["input_size"][0] != 3:
        raise UserError(
            f"{run}: the model takes {config['input_size'][0]} channels; "
            "only RGB models can be scored"
        )
    return Preprocessing(
        **{name: config[name] for name in Preprocessing.model_fields if name != "fit"}
    )
