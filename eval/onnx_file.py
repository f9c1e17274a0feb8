"""Classifiers in ONNX files, with class names and preprocessing; imported only to use such a file.

A file from somebody else opens no other file, and has standard operators without loops only. Its
metadata properties, JSON where they are not plain texts:

- `format`, `format_version`: `data-factory/classifier`, 1
- `label_names`: class names in the order of the outputs
- `preprocessing`: as in a scores file; `fit` is what is done with images that are not square
- `threshold`: if one was chosen, the probability below which an answer is "none of these"
- `model`: the facts of a scores file, such as the SHA-256 of the weights
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eval.checkpoint import Checkpoint
from eval.scores_file import ModelFacts, Preprocessing
from factory.common.errors import UserError, first_line
from factory.common.outside import parse_json
from factory.common.program import NAME, command
from factory.common.score_file import Share
from factory.models.model_config import Name, PreprocessingConfig

FORMAT: Literal["data-factory/classifier"] = "data-factory/classifier"
VERSION = "1"
INPUT, OUTPUT = "pixels", "logits"
INSTALL = 'pip install "data-factory[onnx]"'
MAX_BYTES = (1 << 31) - 1
"""The limit of ONNX for a file that contains its weights."""
_MAX_PROPERTY = 16_000_000
_JSON = ("label_names", "preprocessing", "threshold", "model")
_OWN_DOMAINS = ("", "ai.onnx")


class Properties(BaseModel):
    """Metadata properties of a file, checked."""

    model_config = ConfigDict(frozen=True)

    label_names: Annotated[list[Name], Field(min_length=1)]
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


class OnnxModel(torch.nn.Module):
    """A session of onnxruntime, called as the model that was exported; it computes on the CPU."""

    def __init__(self, session: Any, *, num_classes: int, shown: str) -> None:
        super().__init__()
        self._session = session
        self._num_classes = num_classes
        self._shown = shown

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (images, classes), of normalised images (images, 3, H, W)."""
        try:
            [found] = self._session.run([OUTPUT], {INPUT: pixels.cpu().numpy()})
        except Exception as error:  # noqa: BLE001 (onnxruntime has a class for each kind)
            if "bad_alloc" in str(error) or "allocate" in str(error):
                raise MemoryError(first_line(error)) from None
            raise UserError(f"{self._shown}: cannot be computed ({first_line(error)})") from None
        if found.shape != (len(pixels), self._num_classes):
            raise UserError(
                f"{self._shown}: returns an array of shape {found.shape} for {len(pixels)} images "
                f"and {self._num_classes} classes; export the model again"
            )
        return torch.from_numpy(found)


def require_onnx(*packages: str) -> None:
    """See that packages of the extra `onnx` are installed.

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
        UserError: The file is missing, too large or damaged, was not written by `eval export`, or
            has parts that are not read.
    """
    require_onnx("onnx", "onnxruntime")
    data = _contents(path, shown)
    properties = _properties(_checked(data, shown), shown)
    try:
        preprocessing = properties.checked_preprocessing()
    except ValidationError as error:
        raise _damaged(shown, error, "preprocessing.") from None
    names = properties.label_names
    session = _session(data, shown)
    _check_ends(session, preprocessing, num_classes=len(names), shown=shown)
    return Checkpoint(
        run=shown,
        folder=path.parent,
        model=OnnxModel(session, num_classes=len(names), shown=shown),
        label_names=names,
        facts=properties.model,
        preprocessing=preprocessing,
        training=None,
        threshold=properties.threshold,
    )


def _contents(path: Path, shown: str) -> bytes:
    if not path.is_file():
        raise UserError(
            f"{shown}: no such ONNX file; write it with `{command('export RUN --onnx FILE')}`"
        )
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{shown}: is larger than {MAX_BYTES:,} bytes and is not read")
    return path.read_bytes()


def parts(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and all messages in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in [value] if hasattr(value, "ListFields") else value:
                yield from parts(one)


def _checked(data: bytes, shown: str) -> Any:
    """Return the file's message if everything in it is read here.

    Raises:
        UserError: It is damaged, or refers to other files, operators or graphs.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(data)
    except Exception:  # noqa: BLE001 (protobuf is no dependency of ours)
        raise UserError(f"{shown}: is not an ONNX file, or is damaged; export it again") from None
    for one in parts(model):
        fault = ""
        if isinstance(one, onnx.TensorProto) and (
            one.data_location == onnx.TensorProto.EXTERNAL or one.external_data
        ):
            fault = "keeps weights in another file, which is not read"
        elif isinstance(one, onnx.AttributeProto) and (one.graphs or one.HasField("g")):
            fault = f"has a loop or branch ({one.name[:40]!r}), which classifiers have not"
        elif isinstance(one, onnx.NodeProto) and one.domain not in _OWN_DOMAINS:
            fault = f"has an operator that is not ONNX's own ({one.domain[:40]!r})"
        if fault:
            raise UserError(f"{shown}: {fault}; write it with `{command('export')}`")
    return model


def _properties(model: Any, shown: str) -> Properties:
    texts = {one.key: one.value for one in model.metadata_props}
    if texts.get("format") != FORMAT or texts.get("format_version") != VERSION:
        raise UserError(
            f"{shown}: has no class names and preprocessing that {NAME} export writes, version "
            f"{VERSION}; write it with `{command('export RUN --onnx FILE')}`"
        )
    values = {}
    for name in filter(texts.__contains__, _JSON):
        if len(texts[name]) > _MAX_PROPERTY:
            raise UserError(f"{shown}: {name} is larger than {_MAX_PROPERTY:,} characters")
        values[name] = parse_json(texts[name], file=f"{shown}: {name}")
    try:
        return Properties.model_validate(values)
    except ValidationError as error:
        raise _damaged(shown, error) from None


def _damaged(shown: str, error: ValidationError, prefix: str = "") -> UserError:
    first = error.errors(include_url=False, include_input=False)[0]
    key = f"{prefix}{'.'.join(map(str, first['loc']))}"
    return UserError(f"{shown}: is damaged ({key}: {first['msg']}); export the model again")


def _session(data: bytes, shown: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Errors are raised; warnings of the library would be lines among ours.
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 (onnxruntime has a class for each kind)
        raise UserError(
            f"{shown}: onnxruntime cannot open it ({first_line(error)}); export the model again"
        ) from None


def _check_ends(
    session: Any, preprocessing: Preprocessing, *, num_classes: int, shown: str
) -> None:
    """See that input and output are those of the metadata; the first dimension is the batch."""
    wanted = [
        (INPUT, "tensor(float)", list(preprocessing.input_size)),
        (OUTPUT, "tensor(float)", [num_classes]),
    ]
    found = [(one.name, one.type, one.shape[1:]) for one in session.get_inputs()]
    found += [(one.name, one.type, one.shape[1:]) for one in session.get_outputs()]
    if found != wanted:
        raise UserError(
            f"{shown}: its input and output do not fit its metadata (expected {wanted}); export "
            "the model again"
        )
