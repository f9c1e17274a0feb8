"""Distributions of guidance and of every variable, by config."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from eval.report_page import text
from eval.report_page.dataset import Dataset
from eval.report_page.duplicates import IDENTIFIERS
from eval.report_page.technical import technical_columns
from factory.data.columns import GUIDANCE_SCALE, NUM_INFERENCE_STEPS, TEMPLATE

_BINS, _VALUES = 24, 12
_MOST_COLUMNS = 40


@dataclass(frozen=True)
class Block:
    """One bar: a value, or a range of values; `low` and `high` only for ranges."""

    name: str
    count: int
    share: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Distribution:
    """Values of one column in one config.

    Attributes:
        blocks: Bars, in order of the values or of their frequency.
        numeric: Whether the bars are ranges of numbers.
        rest: Number of rows with rarer values, without a bar.
        ends: Lowest and highest value, as text.
    """

    config: str
    blocks: list[Block]
    numeric: bool
    rest: int
    ends: tuple[str, str] | None = None


@dataclass(frozen=True)
class Column:
    """One column in all configs where it varies.

    Attributes:
        constant: Its value in each config where it does not vary.
        measured: Whether a gate measured it.
    """

    name: str
    configs: list[Distribution]
    constant: dict[str, str]
    measured: bool = False


def distributions(dataset: Dataset) -> list[Column]:
    """Return guidance, steps, variables and gate columns; not technical ones and identifiers."""
    manifest = dataset.manifest
    technical = technical_columns(dataset)
    names = [GUIDANCE_SCALE, NUM_INFERENCE_STEPS, *manifest.variables, TEMPLATE]
    unique = [one for one in dict.fromkeys(names) if one not in IDENTIFIERS][:_MOST_COLUMNS]
    found = [
        _column(dataset, name, [one for one in dataset.stored if name not in technical[one]])
        for name in unique
    ]
    measured = {name for gate in manifest.gates.values() for name in gate.columns}
    return [
        replace(one, measured=one.name in measured) for one in found if one.configs or one.constant
    ]


def _column(dataset: Dataset, name: str, shown: Sequence[str]) -> Column:
    values = {config: dataset.values(config, name) for config in shown}
    known = {
        config: [_plain(one) for one in some if one is not None] for config, some in values.items()
    }
    numbers = [one for some in known.values() for one in some if _is_number(one)]
    numeric = bool(numbers) and len(numbers) == sum(map(len, known.values()))
    edges = np.linspace(min(numbers), max(numbers), _BINS + 1) if numeric else None
    configs, constant = [], {}
    for config, some in known.items():
        if len(set(some)) > 1:
            configs.append(_numbers(config, some, edges) if numeric else _texts(config, some))
        elif some:
            constant[config] = text.value(some[0])
    return Column(name, configs, constant)


def _plain(value: Any) -> Any:
    return value if _is_number(value) else text.value(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)


def _numbers(config: str, values: Sequence[float], edges: Any) -> Distribution:
    counts, _ = np.histogram(values, bins=edges)
    most = max(int(counts.max()), 1)
    blocks = [
        Block(
            f"{text.number(float(low))} to {text.number(float(high))}",
            *(int(count), int(count) / most, float(low), float(high)),
        )
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
    ]
    ends = text.number(float(edges[0])), text.number(float(edges[-1]))
    return Distribution(config, blocks, numeric=True, rest=0, ends=ends)


def _texts(config: str, values: Sequence[Any]) -> Distribution:
    counts = Counter(text.value(one) for one in values).most_common()
    most = counts[0][1]
    blocks = [Block(name, count, count / most) for name, count in counts[:_VALUES]]
    rest = sum(count for _, count in counts[_VALUES:])
    return Distribution(config, blocks, numeric=False, rest=rest)
