"""Compare rounds with random images at equal size: choose from existing images, train, score.

    python docs/measure_rounds.py --pool SET --config C --real TEST --out DIR

Per seed and class, the pool is split at random into first images and candidates. A classifier that
is trained on the first images judges the candidates, as `data-factory grow` does. Each row adds
other candidates to the first images. Run again, it resumes. Intervals and p-values are those of
`compare_training.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from compare_training import tables
from numpy.typing import NDArray

from eval.classifier import load_classifier
from eval.study.statistics import Correct
from factory.command_line.cli import main as run_command
from factory.command_line.grow import probabilities
from factory.data.columns import INDEX, LABEL
from factory.data.open import open_dataset
from factory.gates.choice import By, Quota, Wanted, choose
from factory.gates.judge import ENTROPY, MARGIN, Judge

RANDOM = "random candidates"
ROWS: dict[str, tuple[By, Quota] | None] = {
    "first images": None,
    RANDOM: None,
    "highest entropy": ("entropy", "equal"),
    "highest entropy, quota by deficit": ("entropy", "deficit"),
    "margin closest to 0": ("margin", "equal"),
    "margin closest to 0, quota by deficit": ("margin", "deficit"),
    "all candidates": None,
}
"""Rows of the table, with criterion and quota of those that a classifier chooses."""
OTHERS = {
    "highest entropy, quota by deficit": "highest entropy",
    "margin closest to 0": "highest entropy",
    "margin closest to 0, quota by deficit": "margin closest to 0",
    "all candidates": "margin closest to 0",
}
"""Rows that are also compared with another one than random candidates."""
COMPARED = "compared.parquet"
_IMAGES = "data/train.parquet"
_MIXING = 1 << 32


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--pool", action="append", required=True, help="dataset with images; may be repeated")
    add("--config", required=True, help="config of the pool")
    add("--real", required=True, help="test images, as for `score`")
    add("--out", type=Path, required=True, help="folder for datasets, runs and scores")
    add("--model", default="test_resnet", help="timm model, also of the judge")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--first", type=int, default=100, help="first images per class")
    add("--candidates", type=int, default=300, help="candidates per class")
    add("--keep", type=int, default=100, help="kept candidates per class")
    add("--epochs", default="20", help="epochs of each run")
    args = parser.parse_args()
    pool = _open(args)
    splits = {seed: _split(args, pool, seed) for seed in args.seeds}
    runs: dict[str, dict[tuple[int, int], Correct]] = {}
    for row in ROWS:
        # Row by row, so that the first ones are complete early.
        runs[row] = {
            (0, seed): _correct(args, pool, seed, row, *splits[seed]) for seed in args.seeds
        }
        sys.stdout.write(tables({args.model: runs}, baseline=RANDOM) + "\n")
        sys.stdout.flush()
    sys.stdout.write(tables({args.model: runs}, baseline=OTHERS))
    for row in ROWS:
        counts = [_chosen_per_class(args, seed, row) for seed in args.seeds]
        sys.stdout.write(f"\n{row}: {np.min(counts)} to {np.max(counts)} chosen images per class\n")


def _open(args: argparse.Namespace) -> Any:
    from datasets import concatenate_datasets

    opened = [open_dataset(one, config_name=args.config) for one in args.pool]
    return concatenate_datasets([one.dataset.select_columns(["image", LABEL]) for one in opened])


def _split(
    args: argparse.Namespace, pool: Any, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first images and candidates, as rows of the pool, shape (classes, images) each."""
    labels = np.asarray(pool[LABEL])
    rng = np.random.default_rng((_MIXING, seed))
    shuffled = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    last = args.first + args.candidates
    first = np.stack([one[: args.first] for one in shuffled])
    return first, np.stack([one[args.first : last] for one in shuffled])


def _folder(args: argparse.Namespace, seed: int, row: str) -> Path:
    found: Path = args.out / f"seed-{seed}" / row.replace(",", "").replace(" ", "-")
    return found


def _chosen_per_class(args: argparse.Namespace, seed: int, row: str) -> NDArray[np.int64]:
    """Return the number of images that a row adds to the first ones, shape (classes,)."""
    labels = pq.read_table(_folder(args, seed, row) / _IMAGES, columns=[LABEL])[LABEL]
    return np.bincount(labels.to_numpy()) - args.first


def _correct(
    args: argparse.Namespace,
    pool: Any,
    seed: int,
    row: str,
    first: NDArray[np.int64],
    candidates: NDArray[np.int64],
) -> Correct:
    """Return which real images a row's classifier classifies correctly."""
    folder = _folder(args, seed, row)
    file = folder / _IMAGES
    if not file.is_file():
        added = {
            "first images": lambda: candidates[:, :0],
            RANDOM: lambda: candidates[:, : args.keep],
            "all candidates": lambda: candidates,
        }.get(row, lambda: _chosen(args, pool, candidates, seed, *ROWS[row]))()
        images = np.sort(np.concatenate([first.ravel(), added.ravel()]))
        file.parent.mkdir(parents=True, exist_ok=True)
        pool.select(images).to_parquet(str(file))
    options = ["--model", args.model, "--preset", "quick", "--epochs", args.epochs]
    return scored(folder / "run", args.real, [str(file.parent), *options, "--seed", str(seed)])


def scored(run: Path, real: str, training: Sequence[str]) -> Correct:
    """Return which real images a run classifies correctly; train and score it if it is missing.

    Args:
        run: Its folder.
        real: Test images, as for `score`.
        training: Arguments of `train` without `--out`.
    """
    file = run / COMPARED
    if not file.is_file():
        run_command(["train", *training, "--out", str(run)])
        run_command(["score", str(run), "--real", real, "--predictions", str(file)])
    return _read(file)


def _read(file: Path) -> Correct:
    column = pq.read_table(file, columns=["correct"])["correct"]
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _chosen(
    args: argparse.Namespace,
    pool: Any,
    candidates: NDArray[np.int64],
    seed: int,
    by: By,
    quota: Quota,
) -> NDArray[np.int64]:
    """Return the candidates that the classifier of the first images is least sure of."""
    names, rows = pool.features[LABEL].names, candidates.ravel()
    run = load_classifier(_folder(args, seed, "first images") / "run")
    judge = Judge(partial(probabilities, run, names, 256), model="", revision="")
    images = [row | {INDEX: index} for index, row in enumerate(pool.select(rows).to_list())]
    found = judge.measure(images)
    measured = {name: np.array([one[name] for one in found]) for name in (ENTROPY, MARGIN)}
    measured |= {name: np.array([one[name] for one in images]) for name in (LABEL, INDEX)}
    return rows[choose(measured, Wanted(args.candidates, args.keep, by, quota), labels=names)]


if __name__ == "__main__":
    main()
