"""Columns of a dataset: names, order and types; variable columns are in the middle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets
    import pyarrow

CONFIG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Pattern of config names, which become directories; no name can leave the dataset's directory."""

IMAGE = "image"
LABEL = "label"
CLASS = "class"
RECIPE = "recipe"
PROMPT = "prompt"
NEGATIVE_PROMPT = "negative_prompt"
GUIDANCE_SCALE = "guidance_scale"
NUM_INFERENCE_STEPS = "num_inference_steps"
SEED = "seed"
INDEX = "index"
ATTEMPT = "attempt"
TEMPLATE = "template"
"""Column of the row's prompt template, in datasets with a config of several prompts."""

DIFFERENCE_HASH = "difference_hash"
"""Column of `factory.gates.duplicates`: 64 bits, not a number."""

EMBEDDING_HASH = "embedding_hash"
"""Column of `factory.gates.embedding_duplicates`: 64 bits, not a number."""

_BEFORE = {
    CLASS: "string",
    RECIPE: "string",
    PROMPT: "string",
    NEGATIVE_PROMPT: "string",
}
_AFTER = {
    GUIDANCE_SCALE: "float32",
    NUM_INFERENCE_STEPS: "int32",
    SEED: "int64",
    INDEX: "int64",
    ATTEMPT: "int32",
}


def fixed_columns() -> tuple[str, ...]:
    """Return the columns of every dataset, in order; variables come before `guidance_scale`."""
    return (IMAGE, LABEL, *_BEFORE, *_AFTER)


def value_types(variable_types: Mapping[str, str]) -> dict[str, str]:
    """Return the types of the columns after `image` and `label`, in order.

    Args:
        variable_types: `string`, `int64`, `float64` or `bool`, by the variable's name.
    """
    return _BEFORE | {name: variable_types[name] for name in sorted(variable_types)} | _AFTER


def arrow_schema(labels: Sequence[str], variable_types: Mapping[str, str]) -> pyarrow.Schema:
    """Return the schema of a dataset's files; its metadata are the features that datasets reads.

    Written here, because importing datasets takes longer than checking a finished dataset.

    Args:
        labels: Class names, by label.
        variable_types: As for `value_types`.
    """
    import pyarrow

    values = value_types(variable_types)
    image = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    columns = [(IMAGE, image), (LABEL, pyarrow.int64())]
    columns += [(name, pyarrow.type_for_alias(kind)) for name, kind in values.items()]
    described: dict[str, Any] = {
        IMAGE: {"_type": "Image"},
        LABEL: {"names": list(labels), "_type": "ClassLabel"},
        **{name: {"dtype": kind, "_type": "Value"} for name, kind in values.items()},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": described}})}
    return pyarrow.schema(columns, metadata=metadata)


def features(labels: Sequence[str], variable_types: Mapping[str, str]) -> datasets.Features:
    """Return the features of a dataset; the arguments are those of `arrow_schema`."""
    from datasets import Features

    return Features.from_arrow_schema(arrow_schema(labels, variable_types))
