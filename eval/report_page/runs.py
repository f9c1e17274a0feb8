"""Find the runs of a report: their scores, predictions, metrics and settings."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.checkpoint import METRICS
from eval.report_page.command_words import mapping
from eval.sampling import NOT_RECORDED, is_recorded
from eval.scores_file import Scores
from eval.scores_io import read_scores
from eval.table_checks import several_names
from eval.table_rows import row_name
from factory.common.dataset_files import check_files
from factory.common.errors import Fault, UserError
from factory.common.local_paths import is_inside
from factory.common.parquet_bounds import require_bounded_file
from factory.common.program import command
from factory.common.text import some
from factory.common.untrusted_files import read_text

if TYPE_CHECKING:
    import pyarrow as pa

    from eval.report_page.dataset import Dataset

_MAX_EPOCHS, _MAX_BYTES = 10_000, 16_000_000
_MAX_FILES = 20_000


@dataclass(frozen=True)
class Run:
    """Scores of one run on one real dataset.

    Attributes:
        file: The scores file.
        scores: Its content.
        row: Name of its row in the headline table: the config that it was trained on.
    """

    file: Path
    scores: Scores
    row: str

    @property
    def folder(self) -> Path:
        """Folder of the scores file: of a run, if it was scored in place."""
        return self.file.parent

    @property
    def data(self) -> dict[str, Any]:
        """The training data, as the run's settings describe it."""
        return mapping((self.scores.training or {}).get("data"))

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Parts of the training data."""
        found = self.data.get("sources")
        listed = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        return listed or [self.data]

    @property
    def source(self) -> str:
        """References of the training data; every image seed of a dataset has its own."""
        return ", ".join(str(one.get("reference", "")) for one in self.sources)

    @property
    def pixels(self) -> str:
        """Hash of the training images, empty if unknown."""
        return str(self.data.get("pixels_sha256") or "")

    @property
    def seed(self) -> int:
        """Seed of the training."""
        found = (self.scores.training or {}).get("seed", 0)
        return found if isinstance(found, int) else 0

    @cached_property
    def predictions(self) -> pa.Table | None:
        """Columns `row`, `label`, `predicted`, `correct`, `probability`; None without the file."""
        path = self.file.with_name(f"{self.file.stem.replace('scores', 'predictions', 1)}.parquet")
        readable = path.is_file() and is_inside(path, self.folder)
        return _read_predictions(path, self.scores) if readable else None


@dataclass(frozen=True)
class Runs:
    """All runs of a report.

    Attributes:
        scored: One per scores file.
        unscored: Folders of runs without scores.
        notes: Files that were left out, and why.
    """

    scored: list[Run] = field(default_factory=list)
    unscored: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def reals(self) -> list[str]:
        """Names of the real datasets."""
        return sorted({run.scores.real.name for run in self.scored})

    @property
    def architectures(self) -> list[str]:
        """Names of the models."""
        return sorted({run.scores.model.architecture for run in self.scored})


def require_paths(paths: Sequence[Path]) -> None:
    """Reject paths of runs that do not exist.

    Raises:
        UserError: One does not.
    """
    for path in paths:
        if not path.exists():
            raise UserError(f"--runs {path}: not found; name a run folder, or a folder of runs")


def find_runs(paths: Sequence[Path]) -> Runs:
    """Read the scores in some files and folders; folders are searched to the bottom.

    Scores of the same weights on the same images count once for each name of these images. If a
    dataset was generated again and models trained on it again, only runs on the images of the
    newest scores count.

    Raises:
        UserError: A path does not exist, or no scores were found.
    """
    require_paths(paths)
    found = Runs()
    for path in paths:
        for file in _score_files(path):
            try:
                if file != path:
                    check_files([file], file.parent)
                scores = read_scores(file)
            except UserError as error:
                found.notes.append(f"Left out: {error}")
                continue
            found.scored.append(Run(file, scores, row_name(scores)))
        found.unscored.extend(_unscored(path))
    if not found.scored:
        shown = ", ".join(map(str, paths))
        raise UserError(
            [
                *(Fault(note) for note in found.notes[:5]),
                Fault(
                    f"--runs {shown}: contains no scores that can be read; score a run first: "
                    f"`{command('score RUN --real DATASET')}`"
                ),
            ]
        )
    kept, notes = _newest(_once(found.scored))
    names = several_names(run.scores for run in kept)
    return Runs(kept, found.unscored, [*found.notes, *notes, *names])


def _score_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(path.rglob("scores-*.json"))
    if len(found) > _MAX_FILES:
        raise UserError(
            f"--runs {path}: contains {len(found):,} scores files, more than {_MAX_FILES:,}; name "
            "the folders of the runs to report"
        )
    return found


def _unscored(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for file in sorted(path.rglob(METRICS)):
            if not any(file.parent.glob("scores-*.json")):
                yield file.parent


def _once(runs: Sequence[Run]) -> list[Run]:
    unique: dict[tuple[str, ...], Run] = {}
    for run in runs:
        weights, real = run.scores.model.weights_sha256, run.scores.real
        unique.setdefault((weights, real.fingerprint, real.name, run.row), run)
    return list(unique.values())


def _newest(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Where a training was repeated on other images of the same place, keep the newest ones'.

    The newest images are those of the newest scores file. Runs of other seeds on other images are
    no repetition: each seed may have a sample of its own.
    """
    by_place: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_place.setdefault((run.row, run.source), []).append(run)
    kept: list[Run] = []
    left: dict[str, list[tuple[str, int, int]]] = {}
    for (row, source), group in by_place.items():
        newest = max(group, key=lambda run: run.file.stat().st_mtime).pixels
        own = [run for run in group if run.pixels == newest] if _repeated(group) else group
        kept += own
        if len(own) < len(group):
            left.setdefault(source, []).append((row, len(group) - len(own), len(group)))
    notes = [
        f"{sum(one[1] for one in rows)} of {sum(one[2] for one in rows)} runs of "
        f"{some([one[0] for one in rows])} are left out: {source} had other images when they were "
        "trained"
        for source, rows in left.items()
    ]
    return kept, notes


def _repeated(group: Sequence[Run]) -> bool:
    """Return whether some run has the model, seed and test images of another one."""
    keys = Counter((run.scores.model.architecture, run.seed, run.scores.real.name) for run in group)
    return max(keys.values()) > 1 and len({run.pixels for run in group}) > 1


def with_rows_of_their_own(runs: Runs, dataset: Dataset) -> Runs:
    """Give runs on images that the dataset does not have rows of their own.

    These were sampled with other settings, or are another number of images of another place. Runs
    on a dataset of another base seed stay in the row: it is the mean over both. Runs that do not
    record how their images were sampled have a row of their own if others of their row do.
    """
    scored, notes = [], list(runs.notes)
    recorded = {run.row for run in runs.scored if run.data.get("sampling")}
    for run in runs.scored:
        name = str(run.data.get("config_name"))
        if name in dataset.manifest.configs and _has_other_images(run, name, dataset):
            row = f"{run.row} of {Path(run.source).name or run.source}"
            notes.append(f"{run.folder} was trained on other images than {run.row}: row {row}")
            scored.append(replace(run, row=row))
        elif run.row in recorded and not is_recorded(run.scores.training):
            row = f"{run.row} (sampling {NOT_RECORDED})"
            notes.append(f"{run.folder} does not record how its images were sampled: row {row}")
            scored.append(replace(run, row=row))
        else:
            scored.append(run)
    return replace(runs, scored=scored, notes=list(dict.fromkeys(notes)))


def _has_other_images(run: Run, name: str, dataset: Dataset) -> bool:
    configs = dataset.manifest.configs
    members = configs[name].members or [name]
    own = {
        one: {key: value for key, value in sampling.items() if key != "seed"}
        for one in members
        if one in configs and (sampling := configs[one].sampling)
    }
    recorded = run.data.get("sampling")
    if not own or not recorded or recorded != own:
        return bool(own and recorded)
    is_whole = run.data.get("row_filter") is None and run.data.get("images_per_class") is None
    is_here = Path(run.source).resolve() == dataset.out.resolve()
    return is_whole and not is_here and run.data.get("num_images") != dataset.rows(name)


def _read_predictions(path: Path, scores: Scores) -> pa.Table | None:
    """Return the predictions of a run, in order of the rows; None if they are not of its scores."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            *(("row", pa.int64()), ("label", pa.string()), ("predicted", pa.string())),
            *(("correct", pa.bool_()), ("probability", pa.float64())),
        ]
    )
    try:
        require_bounded_file(path, shown=str(path))
        table = pq.read_table(path, columns=schema.names).select(schema.names).cast(schema)
    except (UserError, OSError, ValueError, KeyError, pa.ArrowException):
        return None
    whole = table.num_rows == scores.real.num_images and table.num_rows > 0
    if not whole or any(column.null_count for column in table.columns):
        return None
    likely = table["probability"].to_numpy()
    right = pc.sum(table["correct"]).as_py()
    if right != scores.metrics.num_correct or not ((likely >= 0) & (likely <= 1)).all():
        return None
    return table.sort_by("row")


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Return the epochs in a run's `metrics.csv`; empty if it cannot be read."""
    try:
        check_files([folder / METRICS], folder)
        lines = read_text(folder / METRICS, max_bytes=_MAX_BYTES).splitlines()
        rows = list(csv.DictReader(lines[:_MAX_EPOCHS]))
    except (UserError, csv.Error):
        return []
    return [
        {key: float(text) for key, text in row.items() if isinstance(key, str) and _is_number(text)}
        for row in rows
    ]


def _is_number(text: object) -> bool:
    try:
        return math.isfinite(float(str(text)))
    except ValueError:
        return False
