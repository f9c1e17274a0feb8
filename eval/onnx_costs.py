"""The memory and arithmetic that an ONNX graph takes, known before it runs.

The shape of every value is inferred, one operator after another, for a fixed number of images. A
value without a known shape, or a graph that takes too much, is refused. Shapes are numbers here:
the few constants that decide them are computed, and nothing larger ever is.
"""

from __future__ import annotations

from math import prod
from typing import Any

from eval.onnx_checks import INPUT, MAX_CONSTANT

MAX_BYTES = 2 << 30
"""Memory of the values that exist at one time, apart from weights."""
MAX_OPERATIONS = 4e12
"""Per image. The largest models of timm whose weights fit into a file take an eighth of it."""
_CONSTANTS = frozenset(
    (
        *("Add", "Cast", "Ceil", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Expand"),
        *("Floor", "Gather", "Greater", "Identity", "Less", "Max", "Min", "Mod", "Mul", "Neg"),
        *("Range", "Reshape", "Shape", "Size", "Slice", "Split", "Sqrt", "Squeeze", "Sub"),
        *("Transpose", "Unsqueeze", "Where"),
    )
)
_BLOCK = 16
_SHAPE_ONLY = ("Shape", "Size")


class TooCostly(ValueError):
    """Raised when a graph takes too much, or when that cannot be known; its text says why."""


def required_bytes(model: Any, pixels: tuple[int, ...]) -> int:
    """Return the memory that a graph takes for input of a shape.

    This is the largest size of the values that exist at one time.

    Args:
        model: The message of an ONNX file, checked (`eval.onnx_checks`).
        pixels: Shape of the input: images x 3 x height x width.

    Raises:
        TooCostly: It takes more than `MAX_BYTES` or `MAX_OPERATIONS`, or a shape is unknown.
    """
    shapes, last = _Shapes(model, pixels), _last_uses(model)
    alive = {INPUT: shapes.num_bytes(INPUT)}
    largest, now, operations = alive[INPUT], alive[INPUT], 0.0
    for place, node in enumerate(model.graph.node):
        shapes.add(node)
        outputs = [name for name in node.output if name]
        alive |= {name: shapes.num_bytes(name) for name in outputs}
        now += sum(alive[name] for name in outputs)
        largest = max(largest, now)
        operations += _operations(node, shapes)
        where = f"at the operator {node.op_type} {outputs[:1]!r:.60}"
        if largest > MAX_BYTES:
            raise TooCostly(
                f"needs {largest / 2**30:,.1f} GiB of memory for {_images(pixels)} {where}; the "
                f"limit is {MAX_BYTES >> 30} GiB"
            )
        if operations > MAX_OPERATIONS * pixels[0]:
            raise TooCostly(
                f"needs {operations:.1g} operations for {_images(pixels)} {where}; the limit is "
                f"{MAX_OPERATIONS:.1g} per image"
            )
        now -= sum(
            alive.pop(name, 0) for name in (*node.input, *outputs) if last.get(name, place) <= place
        )
    return largest


def _images(pixels: tuple[int, ...]) -> str:
    return f"{pixels[0]} image{'' if pixels[0] == 1 else 's'}"


def _last_uses(model: Any) -> dict[str, int]:
    """Return the place of the last operator that reads each value."""
    found = {
        name: place for place, node in enumerate(model.graph.node) for name in node.input if name
    }
    end = len(model.graph.node)
    return found | {one.name: end for one in model.graph.output}


class _Shapes:
    """Types of a graph's values, and those of its constants that are small."""

    def __init__(self, model: Any, pixels: tuple[int, ...]) -> None:
        from onnx import TensorProto, helper

        own = [one.version for one in model.opset_import if one.domain in ("", "ai.onnx")]
        if len(own) != 1:
            raise TooCostly(f"names {len(own)} versions of ONNX's operators instead of one")
        self._version = own[0]
        self._types = {
            one.name: helper.make_tensor_type_proto(one.data_type, one.dims)
            for one in model.graph.initializer
        }
        self._constants = {
            one.name: one for one in model.graph.initializer if prod(one.dims) <= MAX_CONSTANT
        }
        self._stored: set[str] = set()
        self._stored_bytes = 0
        self._types[INPUT] = helper.make_tensor_type_proto(TensorProto.FLOAT, pixels)

    def of(self, name: str) -> tuple[int, ...]:
        """Return the shape of a value."""
        return tuple(one.dim_value for one in self._types[name].tensor_type.shape.dim)

    def num_bytes(self, name: str) -> int:
        """Return the size of a value."""
        from onnx import helper

        number = self._types[name].tensor_type.elem_type
        return prod(self.of(name)) * int(helper.tensor_dtype_to_np_dtype(number).itemsize)

    def add(self, node: Any) -> None:
        """Infer the types of an operator's results, and the results if they are small constants.

        Raises:
            TooCostly: A shape is not known, or the operator's inputs do not fit it.
        """
        found = self._inferred(node)
        for name in filter(None, node.output):
            if not _is_known(found.get(name)):
                raise TooCostly(
                    f"has a value of unknown size ({node.op_type} {name!r:.60}), so its memory "
                    "cannot be known"
                )
            if name in self._types:
                raise TooCostly(f"computes the value {name!r:.60} twice")
            self._types[name] = found[name]
        if node.op_type == "Conv":
            self._store(node.input[1])
        if node.op_type in _CONSTANTS:
            self._compute(node)

    def _store(self, name: str) -> None:
        """Count the weights of a convolution as onnxruntime keeps them: in blocks of channels."""
        channels = self.of(name)[0]
        blocks = -(-channels // _BLOCK)
        if name not in self._stored:
            self._stored.add(name)
            self._stored_bytes += self.num_bytes(name) * blocks * _BLOCK // max(1, channels)
        if self._stored_bytes > 2 * MAX_BYTES:
            raise TooCostly(
                f"has weights of few channels ({name!r:.60}, {channels}), which need more than "
                f"{2 * MAX_BYTES >> 30} GiB"
            )

    def _inferred(self, node: Any) -> dict[str, Any]:
        from onnx import defs, helper
        from onnx.shape_inference import infer_node_outputs

        inputs = [name for name in node.input if name]
        missing = [name for name in inputs if name not in self._types]
        if missing:
            raise TooCostly(f"reads the value {missing[0]!r:.60} before it is computed")
        try:
            found: dict[str, Any] = infer_node_outputs(
                defs.get_schema(node.op_type, self._version, ""),
                node,
                {name: self._types[name] for name in inputs},
                {name: self._constants[name] for name in inputs if name in self._constants},
                opset_imports=[helper.make_opsetid("", self._version)],
            )
        except Exception as error:  # noqa: BLE001 (onnx has a class for each kind)
            raise TooCostly(f"has a faulty operator ({node.op_type}: {error!s:.200})") from None
        return found

    def _compute(self, node: Any) -> None:
        """Compute small constants from small constants; shapes are constants."""
        import numpy as np
        from onnx import helper, numpy_helper

        outputs = [name for name in node.output if name]
        if any(prod(self.of(name)) > MAX_CONSTANT for name in outputs):
            return
        if node.op_type in _SHAPE_ONLY:
            values = {name: np.broadcast_to(np.float32(0), self.of(name)) for name in node.input}
        elif all(name in self._constants for name in node.input if name):
            values = {n: numpy_helper.to_array(self._constants[n]) for n in node.input if n}
        else:
            return
        from onnx.reference import ReferenceEvaluator

        try:
            computed = ReferenceEvaluator(node, opsets={"": self._version}).run(None, values)
        except Exception as error:  # noqa: BLE001 (numpy's errors, and onnx's own)
            raise TooCostly(f"has a faulty operator ({node.op_type}: {error!s:.200})") from None
        for name, value in zip(node.output, computed, strict=True):
            kind = helper.tensor_dtype_to_np_dtype(self._types[name].tensor_type.elem_type)
            self._constants[name] = numpy_helper.from_array(np.asarray(value, kind), name)


def _is_known(found: Any) -> bool:
    """Return whether a type is that of a tensor of numbers with a known shape."""
    from onnx import TensorProto

    if found is None or not found.HasField("tensor_type"):
        return False
    tensor = found.tensor_type
    return (
        tensor.elem_type not in (TensorProto.UNDEFINED, TensorProto.STRING)
        and tensor.HasField("shape")
        and all(one.HasField("dim_value") and one.dim_value >= 0 for one in tensor.shape.dim)
    )


def _operations(node: Any, shapes: _Shapes) -> float:
    """Return roughly how many multiplications and additions an operator takes."""
    inputs = [shapes.of(name) for name in node.input if name]
    results = sum(prod(shapes.of(name)) for name in node.output if name)
    each = 1
    if node.op_type == "MatMul":
        each = inputs[0][-1]
    elif node.op_type == "Gemm":
        each = prod(inputs[0]) // max(1, shapes.of(node.output[0])[0])
    elif node.op_type == "Conv":
        each = prod(inputs[1][1:])
    elif node.op_type == "ConvTranspose":
        return float(prod(inputs[0]) * prod(inputs[1][1:]))
    for one in node.attribute:
        if one.name == "kernel_shape" and node.op_type.endswith("Pool"):
            each = prod(one.ints)
    return float(max(results * each, *map(prod, inputs), 1))
