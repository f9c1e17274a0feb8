"""Load timm models from a folder or the Hub, with or without class names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.scores_file import Preprocessing
from factory.common.errors import UserError
from factory.hub.ids import is_model_id
from factory.models.classifier import create_classifier, output_names
from factory.models.model_config import ModelConfig
from factory.models.model_folder import fetch_model, read_model_folder


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
    model = create_classifier(config, weights, run).eval()
    return Loaded(
        folder=folder,
        commit=commit,
        config=config,
        model=model,
        label_names=output_names(config, num_classes=model.num_classes, run=run),
        preprocessing=preprocessing_of(model, run).model_copy(update={"fit": config.fit}),
    )


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
