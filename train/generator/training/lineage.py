"""The training history of a pipeline, run by run; stored with the weights.

`export` writes `training.yaml`; a run that starts from the pipeline copies it, and its own export
adds a part.
"""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from factory.common.errors import UserError
from factory.common.frozen import Frozen, first_invalid
from factory.common.untrusted_files import read_yaml
from factory.common.whole_files import replace_text
from train.generator.images.data import RECORD, load_collection
from train.generator.images.data_summary import data_lines
from train.generator.training.class_gap import GAP_TIMES
from train.generator.training.loss_log import LOG_FILE, read_log
from train.generator.training.run_config import UNRECORDED, load_config_of, read_by_hand

LINEAGE_FILE = "training.yaml"
ROWS = 8


def _numbered(row: list[str]) -> list[str]:
    float(row[0])
    return row


Row = Annotated[list[str], Field(min_length=1), AfterValidator(_numbered)]


class Part(BaseModel):
    """One run.

    Attributes:
        samples: Number of training samples, repeats included; None if unknown.
        minutes: Training time.
        device: Device of the training.
        notes: Notes from `notes.txt`.
        data: Description of the training data, one line per source.
        about_data: Origin of the images, from `data.md`.
        rows: Rows of its log, samples counted from its own start: thousand samples, loss, a class
            gap for each of `GAP_TIMES`, and the probe if there was one, as the card shows them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    samples: int | None = Field(default=None, ge=0)
    minutes: int = Field(default=0, ge=0)
    device: str = UNRECORDED
    notes: str = ""
    data: list[str] = []
    about_data: str = ""
    rows: list[Row] = []


class _Lineage(Frozen):
    parts: list[Part] = Field(min_length=1)


def read_lineage(folder: Path) -> list[Part]:
    """Read the parts in `training.yaml` of a pipeline or run folder, oldest first.

    Raises:
        UserError: The file is invalid.
    """
    path = folder / LINEAGE_FILE
    if not path.exists():
        return []
    try:
        return _Lineage.model_validate(read_yaml(path)).parts
    except ValidationError as error:
        found = first_invalid(error)
    except UserError as error:
        found = error.faults[0].message
    raise UserError(
        f"{path}: was changed after `export` ({found}); restore the file, or remove it (the "
        "earlier training is then missing from the records)"
    )


def write_lineage(parts: list[Part], folder: Path) -> None:
    """Write `training.yaml` atomically."""
    recorded = {"parts": [part.model_dump() for part in parts]}
    text = yaml.safe_dump(recorded, sort_keys=False, default_flow_style=None, width=120)
    replace_text(folder / LINEAGE_FILE, text)


def inherit(pipeline: Path, folder: Path) -> None:
    """Copy the history of the pipeline that a run starts from, if it is known."""
    if parts := read_lineage(pipeline):
        write_lineage(parts, folder)
    else:
        # Of another pipeline, from an earlier attempt to start.
        (folder / LINEAGE_FILE).unlink(missing_ok=True)


def check_exported(pipeline: Path, parts: list[Part]) -> None:
    """Compare the training history of a pipeline with that of its run.

    Raises:
        UserError: Their lengths differ: the run has continued since the export, or is another run.
    """
    recorded = [part.samples for part in read_lineage(pipeline)]
    known = [part.samples for part in parts]
    if recorded and recorded != known:
        raise UserError(
            f"{pipeline}: was exported after {_in_words(recorded)} training samples, but the run "
            f"has {_in_words(known)}; export the run again, or name the run that was exported"
        )


def _in_words(samples: list[int | None]) -> str:
    return " + ".join("not recorded" if one is None else f"{one:,}" for one in samples)


def lineage_of(run: Path, state: dict[str, Any]) -> list[Part]:
    """Return the training history of a run's checkpoint `state`, its start included."""
    config = load_config_of(run)
    record = run / "data" / RECORD
    facts = load_collection(config.data, run / "data").facts if record.exists() else []
    # An earlier checkpoint may have replaced the last one: ignore log rows after it.
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
    before = read_lineage(run)
    if config.fit.start_from and not before:
        before = [Part()]
    return [*before, part]


def table_of(parts: list[Part]) -> list[list[str]]:
    """Return the rows of all parts, samples counted from the first run."""
    rows: list[Row] = []
    before = 0
    for part in parts:
        rows += [[f"{before / 1000 + float(row[0]):.0f}", *row[1:]] for row in part.rows]
        before += part.samples or 0
    return rows


def _table_rows(rows: list[dict[str, str]]) -> list[list[str]]:
    """Return a selection of class gaps; for runs with enough probes, those nearest to probes."""
    gaps = [row for row in rows if row[f"gap_{GAP_TIMES[-1]}"]]
    if not gaps:
        return []
    probes = [row for row in rows if row.get("probe")]
    pool = probes if len(probes) >= ROWS else gaps
    places = {round(k * (len(pool) - 1) / (ROWS - 1)) for k in range(ROWS)}
    chosen = [pool[place] for place in sorted(places)]
    nearest = {_nearest(chosen, probe)["samples"]: probe["probe"] for probe in probes}
    recorded: list[list[str]] = []
    for one in chosen:
        samples, probe = float(one["samples"]), one.get("probe") or nearest.get(one["samples"])
        row = _nearest(gaps, one)
        recorded.append(
            [f"{samples / 1000:.3f}", f"{float(row['loss']):.3f}"]
            + [f"{float(row[f'gap_{t}']):.4f}" for t in GAP_TIMES]
            + [f"{100 * float(probe):.1f} %" if probe else ""]
        )
    return recorded


def _nearest(rows: list[dict[str, str]], to: dict[str, str]) -> dict[str, str]:
    return min(rows, key=lambda row: abs(float(row["samples"]) - float(to["samples"])))
