"""Train the same images with several options and seeds, score the runs, and print a table.

    python docs/compare_training.py docs/strong.yaml --dataset SET --real TEST --out DIR

A `{row}` in SET stands for the row's name: a dataset per row.

Run again, it resumes: finished scores are not computed again; with `--finished` it only prints
their table. Differences to the baseline are paired by seed and test image, as in a study
(`eval.study.statistics`); p-values are corrected by Holm's method over all rows and models.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from eval.study.statistics import Correct, Estimate, Runs, difference, holm, spread_of_differences

_HEAD = (
    "| row | runs | top-1 (%) | difference (points, 95 % interval) | p |\n"
    "|---|---:|---:|---:|---:|\n"
)


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", type=Path, metavar="YAML", help="models, seeds, options, rows")
    parser.add_argument("--dataset", required=True, help="to train on; {row} is the row's name")
    parser.add_argument("--config", help="its config")
    parser.add_argument("--real", required=True, help="test images, as for `score`")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and scores")
    parser.add_argument("--model", action="append", help="only this model; may be repeated")
    parser.add_argument("--row", action="append", help="only this row; may be repeated")
    parser.add_argument("--seed", action="append", type=int, help="only this one; may be repeated")
    parser.add_argument("--option", action="append", default=[], help="one more word for `train`")
    parser.add_argument("--finished", action="store_true", help="train nothing, only print")
    args = parser.parse_args()
    spec = yaml.safe_load(args.spec.read_text())
    correct: dict[str, dict[str, dict[tuple[int, int], Correct]]] = {}
    for model in args.model or spec["models"]:
        for row in args.row or spec["rows"]:
            for seed in args.seed or spec["seeds"]:
                found = _correct(args, spec, model=model, row=row, seed=seed)
                if found is not None:
                    correct.setdefault(model, {}).setdefault(row, {})[0, seed] = found
    sys.stdout.write(tables(correct, baseline=spec["baseline"]))


def _correct(
    args: argparse.Namespace, spec: dict[str, Any], *, model: str, row: str, seed: int
) -> Correct | None:
    """Return which test images a run classifies correctly; train and score it if it is missing."""
    run = args.out / model / row / f"seed-{seed}"
    file = run / "compared.parquet"
    if not file.is_file():
        if args.finished:
            return None
        config = ["--config", args.config] if args.config else []
        given = [*spec["options"], *spec["rows"][row], *args.option]
        dataset = args.dataset.replace("{row}", row)
        common = [dataset, "--model", model, "--out", str(run), "--seed", str(seed)]
        _run(["-m", "train", *common, *config, *given])
        score = ["-m", "eval", "score", str(run), "--real", args.real, "--threads", "1"]
        _run([*score, "--predictions", str(file)])
    column = pq.read_table(file, columns=["correct"])["correct"]
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _run(words: Sequence[str]) -> None:
    subprocess.run([sys.executable, *words], check=True)


def tables(correct: Mapping[str, Mapping[str, Runs]], *, baseline: str | Mapping[str, str]) -> str:
    """Return a Markdown table for each model.

    Args:
        correct: Per model (or dataset) and row, its runs by image seed and training seed.
        baseline: The row that the others are compared with, or such a row for some of them.
    """

    def base(row: str) -> str:
        return baseline if isinstance(baseline, str) else baseline.get(row, row)

    found = {
        (model, row): difference(runs, rows[base(row)], spread_of_differences([*rows.values()]))
        for model, rows in correct.items()
        for row, runs in rows.items()
        if row != base(row) and base(row) in rows
    }
    tested = [key for key, one in found.items() if one.p is not None]
    adjusted = dict(zip(tested, holm([found[key].p or 0.0 for key in tested]), strict=True))
    text = ""
    for model, rows in correct.items():
        text += f"\n{model}\n\n{_HEAD}"
        for row, runs in rows.items():
            top1 = 100 * np.mean([one.mean() for one in runs.values()])
            key = model, row
            compared = _cells(found.get(key), adjusted.get(key))
            text += f"| {row} | {len(runs)} | {top1:.2f} | {compared} |\n"
    return text


def _cells(estimate: Estimate | None, p: float | None) -> str:
    if estimate is None:
        return " | "
    value, low, high = estimate.value, estimate.low, estimate.high
    if not estimate.covers:
        return f"{value:+.2f} | "
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f}) | {p:.3f}"


if __name__ == "__main__":
    main()
