"""What went into a pipeline's weights, run by run: kept beside them, since run folders get lost.

`export` writes `training.yaml`; a run that starts from the pipeline takes it along, and its own
export adds a part to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from factory.errors import UserError
from train.generator.class_gap import GAP_TIMES
from train.generator.data import RECORD, load_collection
from train.generator.data_summary import data_lines
from train.generator.loss_log import LOG_FILE, read_log
from train.generator.run_config import UNRECORDED, load_config_of, read_by_hand

LINEAGE_FILE = "training.yaml"
ROWS = 8


class Part(BaseModel):
    """One run.

    Attributes:
        samples: How many pictures it learnt from, repeats counted; None if nobody recorded it.
        minutes: Of training.
        device: What it was computed on.
        notes: What no log knows and someone wrote into `notes.txt`.
        data: What it learnt from, a line a source.
        about_data: Where its pictures come from, as someone wrote into `data.md`.
        rows: Of its log, samples counted from its own start: thousand samples, loss, a class gap
            for each of `GAP_TIMES`, and the probe if there was one, as the card shows them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int | None = None
    minutes: int = 0
    device: str = UNRECORDED
    notes: str = ""
    data: list[str] = []
    about_data: str = ""
    rows: list[list[str]] = []


def read_lineage(folder: Path) -> list[Part]:
    """Read the parts that `training.yaml` in a pipeline or a run folder tells of, oldest first.

    Raises:
        UserError: The file is no such list.
    """
    path = folder / LINEAGE_FILE
    if not path.exists():
        return []
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        return [Part.model_validate(one) for one in told["parts"]]
    except (yaml.YAMLError, ValidationError, TypeError, KeyError) as error:
        raise UserError(
            f"{path}: not what `export` writes ({str(error).splitlines()[0]}); put the file back, "
            "or remove it: what was trained before then counts as not recorded"
        ) from None


def write_lineage(parts: list[Part], folder: Path) -> None:
    """Write `training.yaml`."""
    told = {"parts": [part.model_dump() for part in parts]}
    text = yaml.safe_dump(told, sort_keys=False, default_flow_style=None, width=120)
    (folder / LINEAGE_FILE).write_text(text, encoding="utf-8")


def inherit(pipeline: Path, folder: Path) -> None:
    """Let a run folder know what went into the pipeline that it starts from."""
    write_lineage(read_lineage(pipeline) or [Part()], folder)


def lineage_of(run: Path, state: dict[str, Any]) -> list[Part]:
    """Return what went into the checkpoint `state` of a run, what it started from included."""
    config = load_config_of(run)
    record = run / "data" / RECORD
    facts = load_collection(config.data, run / "data").facts if record.exists() else []
    # An earlier checkpoint may have been put in the place of the last: what came after is not its.
    rows = read_log(run / LOG_FILE, until=int(state["samples"]))
    part = Part(
        samples=int(state["samples"]),
        minutes=round(float(state["seconds"]) / 60),
        device=", then ".join(state.get("computed_on", [UNRECORDED])),
        notes=read_by_hand(run, "notes.txt"),
        data=data_lines(config, facts) if facts else [],
        about_data=read_by_hand(run, "data.md"),
        rows=_table_rows(rows),
    )
    return [*read_lineage(run), part]


def table_of(parts: list[Part]) -> list[list[str]]:
    """Return the rows of all parts, samples counted from the very first."""
    rows: list[list[str]] = []
    before = 0
    for part in parts:
        rows += [[f"{before / 1000 + float(row[0]):.0f}", *row[1:]] for row in part.rows]
        before += part.samples or 0
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
