"""Apply gates to a finished dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.common import console
from factory.common.dataset_files import no_dataset
from factory.common.errors import UserError
from factory.common.local_paths import require_own
from factory.data.columns import LABEL, arrow_schema, fixed_columns
from factory.gates.base import ConfigRows, Gate
from factory.gates.stage import Stage
from factory.shards.generations import Generation, newest
from factory.shards.manifest import FILE_NAME, ConfigEntry, Manifest, ShardEntry
from factory.shards.parquet import Row, Shard, read_rows, read_shard, write_shard
from factory.shards.stamp import inspect


@dataclass(frozen=True)
class GateReport:
    """Result of a pass.

    Attributes:
        out: The dataset directory.
        rows: Number of rows.
        flagged: Number of flagged rows, by column.
        columns: Columns of all gates.
        notes: Warnings.
        class_counts: Number of rows of each class.
    """

    out: Path
    rows: int
    flagged: dict[str, int]
    columns: tuple[str, ...]
    notes: tuple[str, ...] = ()
    class_counts: dict[str, int] = field(default_factory=dict)


def run_gates(out: Path, gates: Sequence[Gate], *, show_progress: bool = True) -> GateReport:
    """Add gate columns to a dataset, or update them after it grew.

    Rows measured already with the same model and thresholds keep their values.

    Raises:
        UserError: It is not a finished dataset, its files differ from its manifest, a variable has
            the name of a gate's column, or one of its folders is a link to another place.
    """
    base, manifest = _finished(out)
    entries = {gate.name: gate.entry() for gate in gates}
    changed = _with_columns(manifest, entries, out=out)
    stage = Stage.of(out, base, changed)
    passing = _Pass(stage, gates, old=manifest, new=changed)
    leaves = _leaves(manifest)
    total = sum(shard.rows for entry in leaves.values() for shard in entry.shards)
    with console.progress(total, unit="row", description="gate", show=show_progress) as bar:
        configs = dict(manifest.configs)
        for name, entry in leaves.items():
            configs[name] = passing.config(name, entry, bar=bar)
    stage.put_in_place(changed.model_copy(update={"configs": configs}))
    columns = tuple(name for entry in changed.gates.values() for name in entry.columns)
    notes = tuple(note for gate in gates for note in gate.notes())
    counts = {name: passing.labels[label] for label, name in enumerate(manifest.labels)}
    return GateReport(out, total, passing.flagged, columns, notes, counts)


def finished_manifest(out: Path) -> Manifest:
    """Return the newest manifest of a finished dataset.

    Raises:
        UserError: It is not a finished dataset.
    """
    return _finished(out)[1]


def labels_of_configs(out: Path) -> dict[str, NDArray[np.int64]]:
    """Return the labels of the images of each config with files of its own.

    Raises:
        UserError: It is not a finished dataset, or its files differ from its manifest.
    """
    leaves = _leaves(finished_manifest(out))
    return {name: _labels(out, entry.shards) for name, entry in leaves.items()}


def _labels(out: Path, shards: Iterable[ShardEntry]) -> NDArray[np.int64]:
    files = (_listed(out, shard) for shard in shards)
    rows = (row for file in files for row in read_rows(file, columns=[LABEL]))
    return np.array([row[LABEL] for row in rows], np.int64)


def _leaves(manifest: Manifest) -> dict[str, ConfigEntry]:
    return {name: entry for name, entry in manifest.configs.items() if entry.kind != "union"}


def _listed(out: Path, shard: ShardEntry) -> Path:
    """Return the path of a shard that is as the manifest lists it."""
    path = out / shard.file
    if not path.is_file() or inspect(path).sha256 != shard.sha256:
        raise UserError(
            f"{path}: differs from the file that {FILE_NAME} lists; build the dataset again, "
            "or restore the file"
        )
    return path


class _Pass:
    """Processes the shards of a dataset and stages the new ones."""

    def __init__(
        self, stage: Stage, gates: Sequence[Gate], *, old: Manifest, new: Manifest
    ) -> None:
        self._stage, self._out, self._gates = stage, stage.out, gates
        self._old = old
        self._schema = arrow_schema(new.labels, new.variables)
        self.flagged: dict[str, int] = {}
        self.labels: Counter[int] = Counter()

    def config(self, name: str, entry: ConfigEntry, *, bar: Any) -> ConfigEntry:
        """Stage a config's shards; return its new manifest entry."""
        rows = sum(shard.rows for shard in entry.shards)
        ahead = ConfigRows(rows, lambda: (self._read(shard).rows for shard in entry.shards))
        shards = []
        try:
            for gate in self._gates:
                gate.begin(name, ahead)
            for shard in entry.shards:
                shards.append(self._staged(shard))
                bar.update(shard.rows)
        except FileNotFoundError:
            # A later generation may no longer have the file; `factory tidy` removes old stages.
            raise self._stage.changed() from None
        return entry.model_copy(update={"shards": tuple(shards)})

    def _read(self, shard: ShardEntry) -> Shard:
        """Read a shard that is as the manifest lists it."""
        self._stage.require_current()
        return read_shard(_listed(self._out, shard))

    def _staged(self, shard: ShardEntry) -> ShardEntry:
        """Stage one shard; return its new manifest entry, with its current name."""
        staged = self._stage.path(shard.file)
        there = self._read(shard)
        if is_staged := staged.is_file():
            there = read_shard(staged)
        rows = there.rows
        self.labels.update(row[LABEL] for row in rows)
        for gate in self._gates:
            self._measure(gate, rows, is_staged=is_staged)
        for gate in self._gates:
            for column, kind in gate.entry().columns.items():
                if kind == "bool":
                    found = sum(bool(row[column]) for row in rows)
                    self.flagged[column] = self.flagged.get(column, 0) + found
        if not is_staged:
            write_shard(staged, rows, schema=self._schema, stamp=there.stamp)
        return shard.model_copy(update={"sha256": inspect(staged).sha256})

    def _measure(self, gate: Gate, rows: list[Row], *, is_staged: bool) -> None:
        """Fill missing values of a gate's columns."""
        columns = gate.entry().columns
        first = next(iter(columns))
        same = is_staged or self._old.gates.get(gate.name) == gate.entry()
        todo = list(rows)
        if same and not gate.remembers:
            todo = [row for row in rows if row.get(first) is None]
        for row, values in zip(todo, gate.measure(todo) if todo else (), strict=True):
            row.update(values)


def _finished(out: Path) -> tuple[Generation, Manifest]:
    require_own(out)
    base = newest(out)
    manifest = base.manifest
    if manifest is None:
        raise no_dataset(out)
    unfinished = [name for name, entry in manifest.configs.items() if not entry.complete]
    if unfinished:
        raise UserError(f"{out}: {unfinished[0]} is not finished; resume its build first")
    return base, manifest


def _with_columns(manifest: Manifest, entries: dict[str, Any], *, out: Path) -> Manifest:
    """Return the manifest with the gates' columns among its own."""
    own = {name for entry in manifest.gates.values() for name in entry.columns}
    variables = dict(manifest.variables)
    for name, entry in entries.items():
        for column in manifest.gates[name].columns if name in manifest.gates else ():
            # The current version of the gate may have fewer columns.
            variables.pop(column, None)
        for column, kind in entry.columns.items():
            taken = column in manifest.variables and column not in own
            if taken or column in fixed_columns():
                raise UserError(
                    f"{out}: has a variable {column}, which is also the name of a gate's column; "
                    "rename the variable in its recipe"
                )
            variables[column] = kind
    return manifest.model_copy(
        update={
            "variables": dict(sorted(variables.items())),
            "gates": dict(sorted({**manifest.gates, **entries}.items())),
        }
    )
