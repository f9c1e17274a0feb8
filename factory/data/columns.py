"""Columns of a dataset: names, order and types; variable columns are in the middle."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datasets

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


def features(labels: Sequence[str], variable_types: Mapping[str, str]) -> datasets.Features:
    """Return the features of a dataset.

    Args:
        labels: Class names, by label.
        variable_types: `string`, `int64`, `float64` or `bool`, by the variable's name.
    """
    from datasets import ClassLabel, Features, Image, Value

    columns = {IMAGE: Image(), LABEL: ClassLabel(names=list(labels))}
    types = _BEFORE | {name: variable_types[name] for name in sorted(variable_types)} | _AFTER
    return Features(columns | {name: Value(kind) for name, kind in types.items()})
