"""Compare rounds with random images at equal size: choose from existing images, train, score.

    python docs/measure_rounds.py --pool SET --config C --real TEST --out DIR

Per seed and class, the pool is split at random into first images and candidates. A classifier that
is trained on the first images judges the candidates, as `data-factory grow` does. Each row adds
other candidates to the first images. Run again, it resumes. Differences are paired by seed, with
95 % intervals of Student's t over seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from compare_training import table
from numpy.typing import NDArray

import eval.cli
import train.cli
from eval.classifier import load_classifier
from factory.command_line.grow import probabilities
from factory.data.columns import INDEX, LABEL
from factory.data.open import open_dataset
from factory.gates.choice import Wanted, choose
from factory.gates.judge import ENTROPY, MARGIN, Judge

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
    args = parser.parse_args()
    pool = _open(args)
    scores: dict[str, list[float]] = {}
    for seed in args.seeds:
        for row, score in _seed(args, pool, seed).items():
            scores.setdefault(row, []).append(score)
    sys.stdout.write(table(scores, baseline="random candidates") + "\n")


def _open(args: argparse.Namespace) -> Any:
    from datasets import concatenate_datasets

    opened = [open_dataset(one, config_name=args.config) for one in args.pool]
    return concatenate_datasets([one.dataset.select_columns(["image", LABEL]) for one in opened])


def _seed(args: argparse.Namespace, pool: Any, seed: int) -> dict[str, float]:
    """Return the top-1 accuracy in per cent of each row, by the row's name."""
    labels = np.asarray(pool[LABEL])
    rng = np.random.default_rng((_MIXING, seed))
    shuffled = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    first = np.concatenate([one[: args.first] for one in shuffled])
    last = args.first + args.candidates
    candidates = np.concatenate([one[args.first : last] for one in shuffled])
    score = partial(_score, args, pool, seed)
    found = {"first images": score("first", first)}
    judged = partial(_chosen, args, pool, candidates, args.out / f"seed-{seed}/first/run")
    kept = np.concatenate([one[args.first : args.first + args.keep] for one in shuffled])
    rows = {
        "random candidates": lambda: kept,
        "highest entropy": lambda: judged("entropy"),
        "margin closest to 0": lambda: judged("margin"),
        "all candidates": lambda: candidates,
    }
    for name, rows_of in rows.items():
        found[name] = score(name.replace(" ", "-"), np.concatenate([first, rows_of()]))
    return found


def _score(
    args: argparse.Namespace, pool: Any, seed: int, row: str, images: NDArray[np.int64]
) -> float:
    folder = args.out / f"seed-{seed}" / row
    run, file = folder / "run", folder / "score.json"
    if not file.is_file():
        (folder / "data").mkdir(parents=True, exist_ok=True)
        pool.select(np.sort(images)).to_parquet(str(folder / "data/train.parquet"))
        words = [str(folder / "data"), "--model", args.model, "--preset", "quick"]
        train.cli.main([*words, "--seed", str(seed), "--out", str(run)])
        eval.cli.main(["score", str(run), "--real", args.real, "--out", str(file)])
    return 100 * float(json.loads(file.read_text())["metrics"]["top1"])


def _chosen(
    args: argparse.Namespace, pool: Any, candidates: NDArray[np.int64], run: Path, by: Any
) -> NDArray[np.int64]:
    """Return the candidates that a run is least sure of, as rows of the pool."""
    names = pool.features[LABEL].names
    judge = Judge(partial(probabilities, load_classifier(run), names, 256), model="", revision="")
    rows = pool.select(candidates).to_list()
    found = judge.measure([row | {INDEX: index} for index, row in enumerate(rows)])
    measured = {name: np.array([one[name] for one in found]) for name in (ENTROPY, MARGIN)}
    measured |= {
        LABEL: np.array([row[LABEL] for row in rows]),
        INDEX: np.arange(len(rows)),
    }
    return candidates[choose(measured, Wanted(args.candidates, args.keep, by), labels=names)]


if __name__ == "__main__":
    main()
