"""Make the paper's Table 1 from scores: rows by real datasets, with the gain over the base row.

All scores of a row have the same scoring: standard, or one named departure from it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.sampling import guidance_and_steps
from eval.scores_file import Scores
from eval.scores_io import find_scores, read_scores
from eval.table_checks import check_columns, check_same_training
from eval.table_rows import OPEN, RowKey, order_rows, row_name
from factory.common.errors import UserError

DEFAULT_BASE = "base-class"


@dataclass(frozen=True)
class Cell:
    """Scores of one row on one real dataset, in per cent.

    Attributes:
        top1: Mean over the runs.
        std: Sample standard deviation over the runs, None for one run.
        low: Lower end of the 95 % Wilson interval of one run; None for several.
        high: Upper end.
        difference: Difference to the base row; None without one.
        runs: The runs, in the order given.
        train_images: Training images per run, held-out ones included (the mean of several); None if
            unknown.
        train_seconds: Mean time of training, None if unknown.
        guidance: Guidance of the training images; `not recorded` for runs of older versions, empty
            for images without a record, such as real ones.
        steps: Denoising steps, likewise.
    """

    top1: float
    std: float | None
    low: float | None
    high: float | None
    difference: float | None
    runs: list[str]
    train_images: int | None
    train_seconds: float | None
    guidance: str
    steps: str


@dataclass(frozen=True)
class Table:
    """Rows and columns of one architecture; a missing cell is absent from `cells`."""

    architecture: str
    base: str | None
    rows: list[str]
    columns: list[str]
    cells: dict[tuple[str, str], Cell]


def collect(
    paths: Sequence[Path], *, skip: Callable[[Path, UserError], None] | None = None
) -> list[Scores]:
    """Read scores files and run folders; the same weights count once per row and column.

    Raises:
        UserError: A file is missing or is not a scores file.
    """
    found: dict[tuple[str, ...], Scores] = {}
    for path in paths:
        try:
            read = [read_scores(file) for file in find_scores(path)]
        except UserError as error:
            if skip is None:
                raise
            skip(path, error)
            continue
        for scores in read:
            real = scores.real
            key = (scores.model.weights_sha256, real.fingerprint, real.name, row_name(scores))
            found.setdefault(key, scores)
    return list(found.values())


def make_tables(
    scores: Sequence[Scores],
    *,
    base: str | None = None,
    order: Sequence[str] = (),
    row_key: RowKey = "config",
    reference: str | None = None,
    reference_text: str | None = None,
) -> list[Table]:
    """Return one table for each architecture, in alphabetical order.

    Zero-shot models are in every table, as in the paper; without others they form one table.

    Args:
        scores: Scores in any order.
        base: Baseline row of the differences. Default: `base-class` if it exists.
        order: Row names to list first, in this order.
        row_key: Rows are dataset configs, over which seeds are averaged; or single runs.
        reference: Row of runs trained on real images; listed last.
        reference_text: Text shown for that row; default: its name.

    Raises:
        UserError: An unknown row name, one column with two different datasets, or one cell with
            different trainings.
    """
    check_columns(scores)
    names = {row_name(one, row_key) for one in scores}
    asked = [name for name in (*order, base, reference) if name]
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise UserError(f"no row {unknown[0]!r} in the table; its rows: {', '.join(sorted(names))}")
    trained = [one for one in scores if one.zero_shot is None]
    zero_shot = [one for one in scores if one.zero_shot is not None]
    architectures = sorted({one.model.architecture for one in trained}) or ["zero-shot"]
    return [
        _make_table(
            [*(one for one in trained if one.model.architecture == architecture), *zero_shot],
            architecture=architecture,
            base=base or DEFAULT_BASE,
            order=order,
            row_key=row_key,
            last={reference: reference_text or reference} if reference else {},
        )
        for architecture in architectures
    ]


def _make_table(
    scores: Sequence[Scores],
    *,
    architecture: str,
    base: str,
    order: Sequence[str],
    row_key: RowKey,
    last: Mapping[str, str],
) -> Table:
    grouped: dict[tuple[str, str], list[Scores]] = {}
    for one in scores:
        grouped.setdefault((row_name(one, row_key), one.real.name), []).append(one)
    rows = order_rows(sorted({row for row, _ in grouped}), base=base, order=order, last=last)

    def shown(row: str) -> str:
        trick, opened, scoring = row.partition(OPEN)
        return f"{last.get(trick, trick)}{opened}{scoring}"

    def base_of(row: str, column: str) -> list[Scores] | None:
        # Scores are only compared with a base of the same scoring.
        _, opened, scoring = row.partition(OPEN)
        return grouped.get((f"{base}{opened}{scoring}", column))

    cells = {
        (shown(row), column): _make_cell(group, row=row, base=base_of(row, column))
        for (row, column), group in grouped.items()
    }
    return Table(
        architecture=architecture,
        base=base if base in rows else None,
        rows=[shown(row) for row in rows],
        columns=sorted({column for _, column in grouped}),
        cells=cells,
    )


def _make_cell(group: Sequence[Scores], *, row: str, base: Sequence[Scores] | None) -> Cell:
    check_same_training(group, row)
    values = [100 * one.metrics.top1 for one in group]
    mean = math.fsum(values) / len(values)
    guidance, steps = guidance_and_steps(group)
    single = len(group) == 1
    std = None
    if not single:
        std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    difference = None
    if base is not None and base is not group:
        difference = mean - math.fsum(100 * one.metrics.top1 for one in base) / len(base)
    return Cell(
        top1=mean,
        std=std,
        low=100 * group[0].metrics.top1_low if single else None,
        high=100 * group[0].metrics.top1_high if single else None,
        difference=difference,
        runs=[one.run for one in group],
        train_images=_train_images(group),
        train_seconds=_mean([one.model.train_seconds for one in group]),
        guidance=guidance,
        steps=steps,
    )


def _train_images(group: Sequence[Scores]) -> int | None:
    counts = [((one.training or {}).get("data") or {}).get("num_images") for one in group]
    mean = _mean(counts)
    return None if mean is None else round(mean)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None
