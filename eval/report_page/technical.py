"""Technical columns: those that vary only because the class or another variable does."""

from __future__ import annotations

from collections.abc import Sequence

from eval.report_page import text
from eval.report_page.dataset import Dataset
from factory.data.columns import LABEL, NEGATIVE_PROMPT, PROMPT
from factory.data.dependent_columns import ROWS, dependent_columns

_MOST_COLUMNS = 40


def technical_columns(dataset: Dataset) -> dict[str, set[str]]:
    """Return the technical variables of each config with files of its own."""
    return {config: _technical(dataset, config, variables(dataset)) for config in dataset.stored}


def variables(dataset: Dataset) -> list[str]:
    """Return the variables of the recipes: columns that no gate has measured."""
    manifest = dataset.manifest
    measured = {name for gate in manifest.gates.values() for name in gate.columns}
    return [name for name in manifest.variables if name not in measured][:_MOST_COLUMNS]


def hidden_columns(dataset: Dataset) -> set[str]:
    """Return the variables and prompts that vary in no config, or are technical where they do."""
    found: set[str] = set()
    shown: set[str] = set()
    names = variables(dataset)
    for config in dataset.stored:
        technical = _technical(dataset, config, names)
        # A prompt contains every variable, so that each would follow from it.
        for prompt in (PROMPT, NEGATIVE_PROMPT):
            technical |= _technical(dataset, config, [prompt])
        found |= technical
        varying = (one for one in (*names, PROMPT, NEGATIVE_PROMPT) if one not in technical)
        shown.update(name for name in varying if len(set(_values(dataset, config, name))) > 1)
    return found - shown


def _technical(dataset: Dataset, config: str, names: Sequence[str]) -> set[str]:
    columns = {name: _values(dataset, config, name) for name in names}
    return dependent_columns(columns, _values(dataset, config, LABEL))


def _values(dataset: Dataset, config: str, name: str) -> list[str]:
    table = dataset.columns(config).slice(0, ROWS)
    if name not in table.column_names:
        return [""] * table.num_rows
    # A stranger's column may have any type.
    return [text.value(one) for one in table[name].to_pylist()]
