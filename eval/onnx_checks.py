"""Read an ONNX file from somebody else; refuse what a classifier does not need.

The size of a file bounds neither the memory that reading it takes nor that of its tensors: two
bytes can be a node, and a tensor can declare more values than the file contains.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from factory.common.errors import UserError
from factory.common.program import command

INPUT, OUTPUT = "pixels", "logits"
MAX_STRUCTURE = 16_000_000
"""Bytes of a file besides its weights: operators, names, metadata."""
MAX_OPERATORS = 50_000
"""Models of timm have some thousands."""
MAX_CONSTANT = 1024
"""Number of values of a tensor up to which they may decide a shape."""
# Field numbers of ONNX from the model to a weight's values: graph, initializer, raw_data.
_WEIGHTS = (7, 5, 9)
_LENGTH_PREFIXED = 2
_FIXED_BYTES = {1: 8, 5: 4}
_OWN_DOMAINS = ("", "ai.onnx")
_TYPES = ("FLOAT", "DOUBLE", "FLOAT16", "INT8", "UINT8", "INT32", "INT64", "BOOL")
_VALUES = ("float_data", "double_data", "int32_data", "int64_data", "uint64_data")

OPERATORS = frozenset(
    (
        # Arithmetic of single numbers.
        *("Abs", "Add", "And", "Ceil", "Clip", "Cos", "Div", "Equal", "Erf", "Exp", "Floor"),
        *("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mod"),
        *("Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Round", "Sign", "Sin", "Sqrt", "Sub"),
        *("Sum", "Where", "Xor", "Cast", "CastLike", "Identity", "Dropout", "IsNaN", "IsInf"),
        # Activations.
        *("Celu", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "LogSoftmax", "Mish"),
        *("PRelu", "Relu", "Selu", "Sigmoid", "Softmax", "Softplus", "Softsign", "Tanh"),
        # Layers.
        *("AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul"),
        *("GlobalAveragePool", "GlobalMaxPool", "GroupNormalization", "InstanceNormalization"),
        *("LayerNormalization", "LpNormalization", "MaxPool", "RMSNormalization"),
        # Reductions.
        *("ArgMax", "ArgMin", "CumSum", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax"),
        *("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
        # Shapes.
        *("Concat", "Constant", "ConstantOfShape", "DepthToSpace", "Expand", "Flatten", "Gather"),
        *("GatherElements", "GatherND", "Pad", "Range", "Reshape", "Resize", "ScatterElements"),
        *("ScatterND", "Shape", "Size", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile"),
        *("Transpose", "Trilu", "Unsqueeze"),
    )
)
"""Operators whose results have a size that follows from the sizes of their inputs."""


def require_file(path: Path, *, shown: str) -> None:
    """Reject a path without a file.

    Raises:
        UserError: There is none.
    """
    if not path.is_file():
        raise UserError(
            f"{shown}: no such ONNX file; write it with `{command('export RUN --onnx FILE')}`"
        )


def parts(message: Any) -> Iterator[Any]:
    """Yield a protobuf message and all messages in it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for one in [value] if hasattr(value, "ListFields") else value:
                yield from parts(one)


def checked_model(data: bytes, shown: str) -> Any:
    """Return a file's message, without large weights, if everything in it is read here.

    Args:
        data: Contents of the file.
        shown: The file as the user named it.

    Raises:
        UserError: It is damaged; too large apart from its weights; or has other files, operators,
            graphs or tensors than a classifier.
    """
    import onnx

    try:
        if _structure(memoryview(data), MAX_STRUCTURE) < 0:
            raise UserError(
                f"{shown}: has more than {MAX_STRUCTURE:,} bytes besides its weights, so it is not "
                f"read; write it with `{command('export')}`"
            )
        model = onnx.load_model_from_string(data)
    except UserError:
        raise
    except Exception:  # noqa: BLE001 (protobuf is no dependency of ours)
        raise UserError(f"{shown}: is not an ONNX file, or is damaged; export it again") from None
    if len(model.graph.node) > MAX_OPERATORS:
        raise UserError(
            f"{shown}: has more than {MAX_OPERATORS:,} operators, so it is not read; write it with "
            f"`{command('export')}`"
        )
    for one in parts(model):
        if fault := _fault(one):
            raise UserError(f"{shown}: {fault}; write it with `{command('export')}`")
    for tensor in model.graph.initializer:
        if prod(tensor.dims) > MAX_CONSTANT:
            tensor.ClearField("raw_data")
    return model


def _structure(data: memoryview, left: int, path: tuple[int, ...] = _WEIGHTS) -> int:
    """Return how many bytes are left after those that are not weights; below 0: too many.

    Raises:
        IndexError, ValueError: The bytes are not a protobuf message of ONNX.
    """
    place = 0
    while place < len(data) and left >= 0:
        start = place
        key, place = _number(data, place)
        kind, size = key & 7, _FIXED_BYTES.get(key & 7, 0)
        if kind == _LENGTH_PREFIXED:
            size, place = _number(data, place)
        elif kind == 0:
            _, place = _number(data, place)
        elif not size:
            raise ValueError("groups, which ONNX does not have, would be read differently here")
        inner = data[place : place + size]
        left -= place - start
        if kind != _LENGTH_PREFIXED or key >> 3 != path[0]:
            left -= len(inner)
        elif path[1:]:
            left = _structure(inner, left, path[1:])
        place += size
    return left


def _number(data: memoryview, place: int) -> tuple[int, int]:
    """Return a number of protobuf's variable length, and the place after it."""
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128 or shift > 63:
            return value, place


def _fault(one: Any) -> str:
    """Return why a part of a model is not read; empty if it is."""
    import onnx

    if isinstance(one, onnx.TensorProto):
        return _tensor_fault(one)
    if isinstance(one, onnx.SparseTensorProto):
        return "has sparse weights, which are not read"
    if isinstance(one, onnx.AttributeProto) and (one.graphs or one.HasField("g")):
        return f"has a loop or branch ({one.name[:40]!r}), which classifiers have not"
    if isinstance(one, onnx.FunctionProto | onnx.TrainingInfoProto):
        return "has functions or training steps of its own, which are not read"
    if isinstance(one, onnx.NodeProto) and one.domain not in _OWN_DOMAINS:
        return f"has an operator that is not ONNX's own ({one.domain[:40]!r})"
    if isinstance(one, onnx.NodeProto) and one.op_type not in OPERATORS:
        return f"has the operator {one.op_type[:40]!r}, which is not read"
    return ""


def _tensor_fault(tensor: Any) -> str:
    """Return why a tensor is not read: it must contain each value that it declares."""
    from onnx import TensorProto, helper

    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        return "keeps weights in another file, which is not read"
    names = {getattr(TensorProto, name): name for name in _TYPES}
    if tensor.data_type not in names:
        return f"has a tensor of a type that is not read (number {tensor.data_type})"
    size = prod(tensor.dims)
    if tensor.HasField("raw_data"):
        item = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        stored = len(tensor.raw_data) / item
    else:
        stored = sum(len(getattr(tensor, name)) for name in _VALUES)
    if size != stored or min(tensor.dims, default=0) < 0:
        return f"has a tensor of {size:,} values ({tensor.name[:40]!r}) but contains {stored:,.0f}"
    return ""
