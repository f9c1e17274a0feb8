"""Write the predictions for each image to a Parquet file, one row per image."""

from pathlib import Path

import numpy as np

from eval.score import Scored
from factory.common.whole_files import replace_file


def write_predictions(scored: Scored, path: Path) -> None:
    """Write a Parquet file atomically.

    Columns: `row` (of the real dataset after filtering), `label` and `predicted` (class names),
    `correct`, `probability` (of the predicted class), `ranked` (up to five class names, the most
    likely first), `probabilities` (theirs).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    predictions, labels = scored.predictions, scored.references
    names = np.asarray(scored.scores.labels.names, dtype=object)
    first = predictions.ranked[:, 0]
    table = pa.table(
        {
            "row": np.arange(len(labels)),
            "label": names[labels].tolist(),
            "predicted": names[first].tolist(),
            "correct": first == labels,
            "probability": predictions.probabilities[:, 0],
            "ranked": names[predictions.ranked].tolist(),
            "probabilities": predictions.probabilities.tolist(),
        }
    )
    replace_file(path, lambda temporary: pq.write_table(table, temporary))
