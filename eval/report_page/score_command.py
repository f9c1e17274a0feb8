"""The command that repeats a score, from its file."""

from __future__ import annotations

import shlex

from eval.report_page.command_words import (
    USUAL_COLUMNS,
    LabelMaps,
    reference,
    skipped_some,
    words,
)
from eval.report_page.runs import Run
from factory.hub.ids import looks_like_hub_id


def score_command(run: Run, maps: LabelMaps, *, folder: str) -> str:
    """Return the command line.

    Args:
        run: Scores of one run on one real dataset.
        maps: Gets its label map.
        folder: The run folder that the training of the same page writes.
    """
    scores, real = run.scores, run.scores.real
    scored, model = scores.run, scores.model
    if model.commit is not None and looks_like_hub_id(scored):
        folder = reference(scored, model.commit, otherwise=folder)
    options = {
        "--real": reference(real.reference, real.commit, otherwise="REAL"),
        "--config": real.config_name,
        "--split": real.split,
        "--filter": real.row_filter,
        "--image-column": real.image_column,
        "--label-column": real.label_column,
        "--skip-unreadable": skipped_some(real.unreadable, real.left_out),
        "--real-name": real.name,
        "--fit": scores.preprocessing.fit,
        "--labels": maps.file(scores.labels.map),
        **{f"--{key.replace('_', '-')}": scores.settings.get(key) for key in _SETTINGS},
        "--batch-norm": model.batch_norm,
        "--dropout": model.dropout,
        "--best-on-test": bool(scores.visits),
        "--save-predictions": True,
    }
    usual = {"--config": "default", "--batch-norm": "eval", **USUAL_COLUMNS}
    return shlex.join(["data-factory", "score", folder, *words(options, usual)])


_SETTINGS = ("batch_size", "threads", "device")
