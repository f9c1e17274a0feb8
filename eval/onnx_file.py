"""Classifiers in ONNX files, with class names and preprocessing; imported only to use such a file.

Files from somebody else are checked (`eval.onnx_checks`) and take a bounded amount of memory
(`eval.onnx_session`). The metadata properties of a file, JSON where they are not plain texts:

- `format`, `format_version`: `data-factory/classifier`, 1
- `label_names`: class names in the order of the outputs
- `preprocessing`: as in a scores file; `fit` is what is done with images that are not square
- `threshold`: if one was chosen, the probability below which an answer is "none of these"
- `model`: the facts of a scores file, such as the SHA-256 of the weights
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eval.checkpoint import Checkpoint
from eval.onnx_checks import checked_model, require_file
from eval.onnx_session import OnnxModel
from eval.scores_file import ModelFacts, Preprocessing
from factory.common.errors import UserError
from factory.common.frozen import first_invalid
from factory.common.program import NAME, command
from factory.common.scores_for_cards import Share
from factory.common.untrusted_files import parse_json
from factory.models.model_config import Name, PreprocessingConfig

FORMAT: Literal["data-factory/classifier"] = "data-factory/classifier"
VERSION = "1"
INSTALL = 'pip install "data-factory[onnx]"'
MAX_BYTES = (1 << 31) - 1
"""The limit of ONNX for a file that contains its weights."""
MAX_CLASSES = 1_000_000
_JSON = ("label_names", "preprocessing", "threshold", "model")


class Properties(BaseModel):
    """Metadata properties of a file, checked."""

    model_config = ConfigDict(frozen=True)

    label_names: Annotated[list[Name], Field(min_length=1, max_length=MAX_CLASSES)]
    preprocessing: dict[str, Any]
    threshold: Share | None = None
    model: ModelFacts

    def to_texts(self) -> dict[str, str]:
        """Return the properties as ONNX stores them."""
        texts = {
            name: json.dumps(value, ensure_ascii=False)
            for name, value in self.model_dump(mode="json").items()
            if value is not None
        }
        return {"format": FORMAT, "format_version": VERSION, **texts}

    def checked_preprocessing(self) -> Preprocessing:
        """Return the preprocessing; sizes and numbers are bounded as in a model's `config.json`."""
        PreprocessingConfig.model_validate(self.preprocessing)
        return Preprocessing.model_validate(self.preprocessing)


def require_onnx(*packages: str) -> None:
    """Check that packages of the extra `onnx` are installed.

    Raises:
        UserError: One is not.
    """
    from importlib.util import find_spec

    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX files need the package {missing[0]}: {INSTALL}")


def load_onnx(path: Path, *, shown: str) -> Checkpoint:
    """Open a file that `eval export` has written.

    Args:
        path: The file.
        shown: The same as the user named it.

    Raises:
        UserError: The file is missing, too large or damaged, was not written by `eval export`, has
            parts that are not read, or needs too much memory.
    """
    require_onnx("onnx", "onnxruntime")
    data = _contents(path, shown)
    message = checked_model(data, shown)
    properties = _properties(message, shown)
    try:
        preprocessing = properties.checked_preprocessing()
    except ValidationError as error:
        raise _damaged(shown, error, "preprocessing.") from None
    names = properties.label_names
    model = OnnxModel(
        data, message, preprocessing=preprocessing, num_classes=len(names), shown=shown
    )
    return Checkpoint(
        run=shown,
        folder=path.parent,
        model=model,
        label_names=names,
        facts=properties.model,
        preprocessing=preprocessing,
        training=None,
        threshold=properties.threshold,
    )


def _contents(path: Path, shown: str) -> bytes:
    require_file(path, shown=shown)
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{shown}: is larger than {MAX_BYTES:,} bytes and is not read")
    return path.read_bytes()


def _properties(model: Any, shown: str) -> Properties:
    texts = {one.key: one.value for one in model.metadata_props}
    if texts.get("format") != FORMAT or texts.get("format_version") != VERSION:
        raise UserError(
            f"{shown}: has no class names and preprocessing that {NAME} export writes, version "
            f"{VERSION}; write it with `{command('export RUN --onnx FILE')}`"
        )
    values = {
        name: parse_json(texts[name], file=f"{shown}: {name}") for name in _JSON if name in texts
    }
    try:
        return Properties.model_validate(values)
    except ValidationError as error:
        raise _damaged(shown, error) from None


def _damaged(shown: str, error: ValidationError, prefix: str = "") -> UserError:
    found = f"{prefix}{first_invalid(error)}"
    return UserError(f"{shown}: is damaged ({found}); export the model again")
