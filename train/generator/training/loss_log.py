"""The log of a training run: loss, class gap, probe."""

import csv
from pathlib import Path

from train.generator.training.class_gap import GAP_TIMES

LOG_FILE = "loss.csv"
COLUMNS = ("samples", "seconds", "loss", "lr", *(f"gap_{t}" for t in GAP_TIMES), "probe")


class LossLog:
    """A CSV of losses and class gaps; rows after a checkpoint are dropped on resuming."""

    def __init__(self, path: Path, *, samples: int) -> None:
        self._path = path
        kept = read_log(path, until=samples)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(kept)

    def add(self, row: dict[str, float]) -> None:
        """Append one row; absent columns stay empty."""
        texts = {k: f"{v:.0f}" if k == "samples" else f"{v:.6g}" for k, v in row.items()}
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS).writerow(texts)

    def has_probe_at(self, samples: int) -> bool:
        """Return whether the model was probed after this number of samples."""
        rows = read_log(self._path, until=samples)
        return any(row["probe"] and float(row["samples"]) >= samples for row in rows)


def read_log(path: Path, *, until: int | None = None) -> list[dict[str, str]]:
    """Read the rows of a `LossLog`, all or up to a number of samples; none without a log."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if until is None:
        return rows
    # Earlier versions rounded the samples to six digits, also upwards.
    last = max(until, float(f"{until:.6g}"))
    return [row for row in rows if float(row["samples"]) <= last]
