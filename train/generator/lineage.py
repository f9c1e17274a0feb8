"""What went into a pipeline's weights, run by run: kept beside them, since run folders get lost.

`export` writes `training.yaml`; a run that starts from the pipeline takes it along, and its own
export adds a part to it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from train.generator.class_gap import GAP_TIMES
from train.generator.loss_log import read_log
from train.generator.run_config import UNRECORDED

LINEAGE_FILE = "training.yaml"
ROWS = 8


@dataclass(frozen=True)
class Part:
    """One run.

    Attributes:
        samples: How many pictures it learnt from, repeats counted.
        minutes: Of training.
        device: What it was computed on.
        notes: What no log knows and someone wrote into `notes.txt`.
        rows: Of its log, samples counted from its own start: thousand samples, loss, a class gap
            for each of `GAP_TIMES`, and the probe if there was one, as the card shows them.
    """

    samples: int
    minutes: int
    device: str
    notes: str = ""
    rows: list[list[str]] = field(default_factory=list)


def read_lineage(folder: Path) -> list[Part]:
    """Read the parts that `training.yaml` in a pipeline or a run folder tells of, oldest first."""
    path = folder / LINEAGE_FILE
    if not path.exists():
        return []
    return [Part(**one) for one in yaml.safe_load(path.read_text(encoding="utf-8"))["parts"]]


def write_lineage(parts: list[Part], folder: Path) -> None:
    """Write `training.yaml`."""
    told = {"parts": [asdict(part) for part in parts]}
    text = yaml.safe_dump(told, sort_keys=False, default_flow_style=None, width=120)
    (folder / LINEAGE_FILE).write_text(text, encoding="utf-8")


def part_of(run: Path, state: dict[str, Any]) -> Part:
    """Return what a run has done until the checkpoint `state`, without what it started from."""
    # An earlier checkpoint may have been put in the place of the last: what came after is not its.
    rows = log_of(run, state)
    return Part(
        samples=int(state["samples"]),
        minutes=round(float(state["seconds"]) / 60),
        device=", then ".join(state.get("computed_on", [UNRECORDED])),
        notes=read_by_hand(run, "notes.txt"),
        rows=_table_rows(rows),
    )


def log_of(run: Path, state: dict[str, Any]) -> list[dict[str, str]]:
    """Return the rows of a run's log until a checkpoint."""
    return read_log(run / "loss.csv", until=int(state["samples"]))


def read_by_hand(run: Path, name: str) -> str:
    """Return what no log knows and someone wrote beside it; empty if nobody did."""
    path = run / name
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def table_of(parts: list[Part]) -> list[list[str]]:
    """Return the rows of all parts, samples counted from the very first."""
    rows: list[list[str]] = []
    before = 0
    for part in parts:
        rows += [[f"{before / 1000 + float(row[0]):.0f}", *row[1:]] for row in part.rows]
        before += part.samples
    return rows


def _table_rows(rows: list[dict[str, str]]) -> list[list[str]]:
    """Return some of the class gaps; where a run was probed as often, those nearest to probes."""
    gaps = [row for row in rows if row[f"gap_{GAP_TIMES[-1]}"]]
    if not gaps:
        return []
    probes = [row for row in rows if row.get("probe")]
    pool = probes if len(probes) >= ROWS else gaps
    places = {round(k * (len(pool) - 1) / (ROWS - 1)) for k in range(ROWS)}
    chosen = [pool[place] for place in sorted(places)]
    nearest = {_nearest(chosen, probe)["samples"]: probe["probe"] for probe in probes}
    told: list[list[str]] = []
    for one in chosen:
        samples, probe = float(one["samples"]), one.get("probe") or nearest.get(one["samples"])
        row = _nearest(gaps, one)
        told.append(
            [f"{samples / 1000:.3f}", f"{float(row['loss']):.3f}"]
            + [f"{float(row[f'gap_{t}']):.4f}" for t in GAP_TIMES]
            + [f"{100 * float(probe):.1f} %" if probe else ""]
        )
    return told


def _nearest(rows: list[dict[str, str]], to: dict[str, str]) -> dict[str, str]:
    return min(rows, key=lambda row: abs(float(row["samples"]) - float(to["samples"])))
