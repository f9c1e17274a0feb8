"""Choose the images that a classifier is least sure of, and how many of each class."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import UserError
from factory.data.columns import INDEX, LABEL
from factory.gates.judge import ENTROPY, MARGIN, WEIGHTS
from factory.shards.manifest import Manifest

By = Literal["entropy", "margin"]
Quota = Literal["equal", "deficit"]
Measured = dict[str, NDArray[Any]]
"""Columns `label`, `index` and those of `factory.gates.judge`, shape (images,) each."""


@dataclass(frozen=True)
class Wanted:
    """Size and criterion of a round.

    Attributes:
        candidates: Images per class to choose from.
        keep: Images per class to choose, on average.
        by: `entropy`: the highest entropy; `margin`: the margin closest to 0.
        quota: `equal`: the same number of each class; `deficit`: in proportion to the deficit of
            each class.
    """

    candidates: int
    keep: int
    by: By = "entropy"
    quota: Quota = "equal"


@dataclass(frozen=True)
class ClassChoice:
    """The candidates of a class.

    Attributes:
        candidates: Their number; failed images have none.
        kept: How many were chosen.
        assigned_to_others: How many the judge assigns to another class.
        deficit: 1 - recall of the judge on them; see `deficits`.
        entropy: Mean entropy of all, in nats; None if there are none.
        kept_entropy: Mean entropy of the chosen ones; None if there are none.
    """

    candidates: int
    kept: int
    assigned_to_others: int
    deficit: float
    entropy: float | None
    kept_entropy: float | None


def is_measured(out: Path, manifest: Manifest, config: str, *, weights_sha256: str) -> bool:
    """Return whether a classifier has measured all rows of a config."""
    if WEIGHTS not in manifest.variables:
        return False
    return bool((_read(out, manifest, config, [WEIGHTS])[WEIGHTS] == weights_sha256).all())


def read_measured(out: Path, manifest: Manifest, config: str) -> Measured:
    """Return label, index and judgement of a config's rows."""
    return _read(out, manifest, config, [LABEL, INDEX, ENTROPY, MARGIN])


def _read(out: Path, manifest: Manifest, config: str, columns: list[str]) -> Measured:
    import pyarrow as pa
    import pyarrow.parquet as pq

    shards = manifest.configs[config].shards
    table = pa.concat_tables([pq.read_table(out / one.file, columns=columns) for one in shards])
    return {name: table[name].to_numpy() for name in columns}


def choose(measured: Measured, wanted: Wanted, *, labels: Sequence[str]) -> list[int]:
    """Return the indexes of the images of each class that the judge is least sure of.

    Args:
        measured: The candidates.
        wanted: Numbers, and criterion. Equal images are taken by index.
        labels: Class names.

    Raises:
        UserError: There are too few candidates.
    """
    wanted_of = quotas(measured, wanted, labels=labels)
    sure = -measured[ENTROPY] if wanted.by == "entropy" else np.abs(measured[MARGIN])
    order = np.lexsort((measured[INDEX], sure))
    chosen: list[int] = []
    for label, count in enumerate(wanted_of):
        own = order[measured[LABEL][order] == label]
        chosen += measured[INDEX][own[:count]].tolist()
    return chosen


def quotas(measured: Measured, wanted: Wanted, *, labels: Sequence[str]) -> list[int]:
    """Return how many candidates of each class to choose, by label.

    Raises:
        UserError: There are too few candidates.
    """
    most, total = _counts(measured[LABEL], len(labels)), wanted.keep * len(labels)
    if wanted.quota == "deficit":
        if most.sum() < total:
            raise UserError(
                f"there are {most.sum()} candidates (others failed), and --keep {wanted.keep} "
                f"takes {total}; lower it"
            )
        return _in_proportion(total, deficits(measured, len(labels)).tolist(), most.tolist())
    for name, found in zip(labels, most.tolist(), strict=True):
        if found < wanted.keep:
            raise UserError(
                f"class {name} has {found} candidates (others failed), and --keep is "
                f"{wanted.keep}; lower it"
            )
    return [wanted.keep] * len(labels)


def deficits(measured: Measured, num_classes: int) -> NDArray[np.float64]:
    """Return 1 - recall of the judge on the candidates of each class, shape (num_classes,).

    Estimated as (errors + 1) / (candidates + 2), so that no class counts as perfect: 0 errors of 6
    candidates are weaker evidence than 0 of 600.
    """
    errors = _counts(measured[LABEL][measured[MARGIN] < 0], num_classes)
    return (errors + 1) / (_counts(measured[LABEL], num_classes) + 2)


def _counts(labels: NDArray[Any], num_classes: int) -> NDArray[np.int64]:
    return np.bincount(labels, minlength=num_classes).astype(np.int64)


def _in_proportion(total: int, weights: Sequence[float], most: Sequence[int]) -> list[int]:
    """Divide a total in proportion to weights, at most `most` each (Sainte-Lague's method).

    The next image goes to the class with the highest weight / (2 * images so far + 1).
    """
    found = [0] * len(weights)
    waiting = [(-weight, place) for place, weight in enumerate(weights) if most[place]]
    heapq.heapify(waiting)
    for _ in range(total):
        _, place = heapq.heappop(waiting)
        found[place] += 1
        if found[place] < most[place]:
            heapq.heappush(waiting, (-weights[place] / (2 * found[place] + 1), place))
    return found


def by_class(
    measured: Measured, chosen: Sequence[int], labels: Sequence[str]
) -> dict[str, ClassChoice]:
    """Summarise the choice by class name."""
    found = {}
    lacking = deficits(measured, len(labels)).tolist()
    is_kept = np.isin(measured[INDEX], chosen)
    for label, name in enumerate(labels):
        own = measured[LABEL] == label
        found[name] = ClassChoice(
            candidates=int(own.sum()),
            kept=int((own & is_kept).sum()),
            assigned_to_others=int((measured[MARGIN][own] < 0).sum()),
            deficit=round(lacking[label], 4),
            entropy=_mean(measured[ENTROPY][own]),
            kept_entropy=_mean(measured[ENTROPY][own & is_kept]),
        )
    return found


def _mean(values: NDArray[Any]) -> float | None:
    return round(float(values.mean()), 4) if len(values) else None
