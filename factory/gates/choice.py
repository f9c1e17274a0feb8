"""Choose the images that a classifier is least sure of, the same number of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import UserError
from factory.data.columns import INDEX, LABEL
from factory.gates.judge import ENTROPY, MARGIN
from factory.shards.manifest import Manifest

By = Literal["entropy", "margin"]
Measured = dict[str, NDArray[Any]]
"""Columns `label`, `index` and those of `factory.gates.judge`, shape (images,) each."""


@dataclass(frozen=True)
class Wanted:
    """Size and criterion of a round.

    Attributes:
        candidates: Images per class to choose from.
        keep: Images per class to choose.
        by: `entropy`: the highest entropy; `margin`: the margin closest to 0.
    """

    candidates: int
    keep: int
    by: By = "entropy"


@dataclass(frozen=True)
class ClassChoice:
    """The candidates of a class.

    Attributes:
        candidates: Their number; failed images have none.
        kept: How many were chosen.
        assigned_to_others: How many the judge assigns to another class.
        entropy: Mean entropy of all, in nats.
        kept_entropy: Mean entropy of the chosen ones.
    """

    candidates: int
    kept: int
    assigned_to_others: int
    entropy: float
    kept_entropy: float


def read_measured(out: Path, manifest: Manifest, config: str) -> Measured:
    """Return label, index and judgement of a config's rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [LABEL, INDEX, ENTROPY, MARGIN]
    shards = manifest.configs[config].shards
    table = pa.concat_tables([pq.read_table(out / one.file, columns=columns) for one in shards])
    return {name: table[name].to_numpy() for name in columns}


def choose(measured: Measured, wanted: Wanted, *, labels: Sequence[str]) -> list[int]:
    """Return the indexes of the images of each class that the judge is least sure of.

    Args:
        measured: The candidates.
        wanted: Number per class, and criterion. Equal images are taken by index.
        labels: Class names.

    Raises:
        UserError: A class has too few candidates.
    """
    sure = -measured[ENTROPY] if wanted.by == "entropy" else np.abs(measured[MARGIN])
    order = np.lexsort((measured[INDEX], sure))
    chosen: list[int] = []
    for label, name in enumerate(labels):
        own = order[measured[LABEL][order] == label]
        if len(own) < wanted.keep:
            raise UserError(
                f"class {name} has {len(own)} candidates (others failed), and --keep is "
                f"{wanted.keep}; lower it"
            )
        chosen += measured[INDEX][own[: wanted.keep]].tolist()
    return chosen


def by_class(
    measured: Measured, chosen: Sequence[int], labels: Sequence[str]
) -> dict[str, ClassChoice]:
    """Summarise the choice by class name."""
    found = {}
    is_kept = np.isin(measured[INDEX], chosen)
    for label, name in enumerate(labels):
        own = measured[LABEL] == label
        found[name] = ClassChoice(
            candidates=int(own.sum()),
            kept=int((own & is_kept).sum()),
            assigned_to_others=int((measured[MARGIN][own] < 0).sum()),
            entropy=round(float(measured[ENTROPY][own].mean()), 4),
            kept_entropy=round(float(measured[ENTROPY][own & is_kept].mean()), 4),
        )
    return found
