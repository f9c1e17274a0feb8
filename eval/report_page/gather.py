"""Gather the data of all sections of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from eval.report_page import (
    calibration,
    classes,
    confusion,
    curves,
    distributions,
    duplicates,
    headline,
    margins,
    sheets,
    shortfalls,
    space,
)
from eval.report_page import facts as fact_section
from eval.report_page.dataset import Dataset, open_report_dataset
from eval.report_page.runs import Runs, find_runs, with_rows_of_their_own
from eval.table import DEFAULT_BASE
from factory.common.console import progress
from factory.common.errors import UserError
from factory.common.local_paths import is_inside
from factory.common.text import plural
from factory.common.untrusted_files import read_yaml

if TYPE_CHECKING:
    from eval.real import RealImages

MOST_PANELS = 40
"""Of each section that shows one panel per row, so that the page stays small."""

One = TypeVar("One")


@dataclass(frozen=True)
class Report:
    """Plain data of every section, from the modules of this package."""

    title: str
    dataset: Dataset
    runs: Runs
    real: str | None
    tables: list[headline.Table]
    curves: list[curves.Curves]
    bars: list[classes.Bars]
    matrices: list[confusion.Matrix]
    reliability: list[calibration.Reliability]
    sheets: sheets.Sheets
    distributions: list[distributions.Column]
    space: space.Space | None
    duplicates: list[duplicates.Duplicates]
    lowest: margins.Lowest | None
    facts: fact_section.Facts
    shortfalls: list[shortfalls.Shortfall]


def gather(
    out: Path,
    *,
    runs: Sequence[Path] = (),
    real: RealImages | None = None,
    base: str | None = None,
    model: str | None = None,
    title: str | None = None,
    own_command: str,
) -> Report:
    """Read a dataset and its runs.

    Args:
        out: Dataset directory.
        runs: Run folders, folders of runs, or scores files.
        real: Real images, for the confused images and the t-SNE plot.
        base: Row that the others are compared with; default: `base-class`.
        model: Model of the t-SNE plot; default: the smallest run.
        title: Title of the page; default: the directory's name.
        own_command: The command line of this report.

    Raises:
        UserError: The dataset, a run or an image cannot be read.
    """
    # Mistakes in their names are reported before a bar is shown.
    dataset = open_report_dataset(out)
    scored = with_rows_of_their_own(find_runs(runs), dataset) if runs else Runs()
    with progress(6, unit="section", description="report") as bar:

        def step(found: One) -> One:
            bar.update(1)
            return found

        configs, shares = set(dataset.names), _shares(dataset)
        tables = step(headline.headline(scored, configs=configs, shares=shares, base=base))
        order = list(dict.fromkeys(line.row for table in tables for line in table.lines))
        compared = base or DEFAULT_BASE
        shown_rows = {compared, *(table.best.row for table in tables)}
        matrices = step(
            confusion.matrices(
                scored, dataset=dataset, real=real, order=order, with_images=shown_rows
            )
        )
        shown = step(sheets.contact_sheets(dataset))
        plot = step(space.space(dataset, scored, real=real, model=model))
        doubles = step(duplicates.duplicates(dataset))
        facts = step(fact_section.facts(dataset, scored, order=order, own_command=own_command))
        bars = classes.per_class(scored, order=order, base=compared)
        missing = shortfalls.shortfalls(dataset, scored, tables=tables, facts=facts, found=doubles)
        return Report(
            title=title or out.resolve().name,
            dataset=dataset,
            runs=scored,
            real=None if real is None else real.name,
            tables=tables,
            curves=curves.curves(scored, order=order),
            bars=_panels(bars),
            matrices=_panels(matrices),
            reliability=_panels(calibration.reliability(scored, order=order)),
            sheets=shown,
            distributions=distributions.distributions(dataset),
            space=plot,
            duplicates=doubles,
            lowest=margins.lowest(dataset),
            facts=facts,
            shortfalls=[*missing, *_left_out(len(bars), shown)],
        )


def _panels(found: list[One]) -> list[One]:
    return found[:MOST_PANELS]


def _left_out(panels: int, shown: sheets.Sheets) -> list[shortfalls.Shortfall]:
    found = []
    if panels > MOST_PANELS:
        fact = f"{panels - MOST_PANELS} of {panels} rows have no panel per class: too many."
        found.append(shortfalls.Shortfall("Page", fact))
    if shown.hidden:
        fact = f"No contact sheet of {plural(len(shown.hidden), 'config')}: too many."
        found.append(shortfalls.Shortfall("Page", fact))
    for sheet in shown.sheets:
        if sheet.fault:
            found.append(shortfalls.Shortfall("Images", sheet.fault))
    return found


def _shares(dataset: Dataset) -> set[str]:
    """Return the configs whose images are also those of other configs: combinations and twins."""
    combined = {name for name, one in dataset.manifest.configs.items() if one.kind != "set"}
    return combined | {name for name in dataset.names if _is_twin(dataset, name)}


def _is_twin(dataset: Dataset, name: str) -> bool:
    path = dataset.out / "recipes" / f"{name}.yaml"
    if not is_inside(path, dataset.out) or not path.is_file():
        return False
    try:
        recipe = read_yaml(path)
    except UserError:
        return False
    return isinstance(recipe, dict) and "same_images_as" in recipe
