"""Compare training images chosen by class margin with random ones, at equal numbers per class.

    python docs/measure_filter.py --dataset SET-0 --dataset SET-1 --config C --real TEST --out DIR

The datasets are the same configs with other base seeds. The judge of a dataset is trained on all
images of the first config of the next one, so it has seen neither the judged nor real images.
Each row trains on the images that a filter by `class_margin` keeps, or on random ones. Run again,
it resumes. Intervals and p-values are those of `compare_training.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from compare_training import tables
from measure_rounds import scored

from eval.study.statistics import Correct
from factory.data.columns import LABEL
from factory.data.open import open_dataset
from factory.gates.class_margin import COLUMN, ClassMargin

ALL = "all images"
ROWS = {
    "random half": (0.5, None),
    "highest half": (0.5, ">="),
    "lowest half": (0.5, "<="),
    "random nine tenths": (0.9, None),
    "without the lowest tenth": (0.9, ">="),
    ALL: (1.0, None),
}
"""Share of each class's images, and the comparison that keeps them; None: random ones."""
BASELINES = {
    "highest half": "random half",
    "lowest half": "random half",
    "without the lowest tenth": "random nine tenths",
    ALL: "random half",
}


def main() -> None:
    """Run what is missing, and print the table after each row."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--dataset", action="append", required=True, help="may be repeated: other base seeds")
    add("--config", action="append", required=True, help="may be repeated: a table each")
    add("--real", required=True, help="test images, as for `score`")
    add("--out", type=Path, required=True, help="folder for datasets, runs and scores")
    add("--row", action="append", choices=ROWS, help="only this row; may be repeated")
    add("--model", default="test_resnet", help="timm model, also of the judge")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--epochs", default="20", help="epochs of each run")
    args = parser.parse_args()
    found: dict[str, dict[str, dict[tuple[int, int], Correct]]] = {}
    for row in args.row or ROWS:
        for config in args.config:
            found.setdefault(config, {})[row] = {
                (number, seed): _correct(args, config, row, number, seed)
                for number in range(len(args.dataset))
                for seed in args.seeds
            }
            sys.stdout.write(tables(found, baseline=BASELINES) + "\n")
            sys.stdout.flush()


def _correct(args: argparse.Namespace, config: str, row: str, number: int, seed: int) -> Correct:
    """Return which real images a row's classifier classifies correctly."""
    run = _run(args, config, row, number, seed)
    images = [args.dataset[number], "--config", config]
    if row != ALL:
        judged = _judged(args, config, number)
        images = [str(judged), *_options(judged, *ROWS[row])]
    options = ["--model", args.model, "--preset", "quick", "--epochs", args.epochs]
    return scored(run, args.real, [*images, *options, "--seed", str(seed), "--threads", "1"])


def _run(args: argparse.Namespace, config: str, row: str, number: int, seed: int) -> Path:
    return _folder(args, config, number) / row.replace(" ", "-") / f"seed-{seed}"


def _folder(args: argparse.Namespace, config: str, number: int) -> Path:
    new, old = (args.out / config / f"{name}-{number}" for name in ("dataset", "draw"))
    # Earlier versions of this script called it by the old name.
    return Path(old if old.is_dir() else new)


def _judged(args: argparse.Namespace, config: str, number: int) -> Path:
    """Return a dataset's images with their class margin; measure it if that is missing."""
    folder = _folder(args, config, number) / "data"
    file = folder / "train.parquet"
    if not file.is_file():
        judge = (args.config[0], ALL, (number + 1) % len(args.dataset), args.seeds[0])
        _correct(args, *judge)
        data = open_dataset(args.dataset[number], config_name=config).dataset
        names = data.features[LABEL].names
        gate = ClassMargin(str(_run(args, *judge)), names, device="cpu", batch_size=256)
        margins = [one[COLUMN] for one in gate.measure(data.to_list())]
        sys.stderr.write(f"{folder}: {' '.join(gate.notes())}\n")
        folder.mkdir(parents=True, exist_ok=True)
        data.select_columns(["image", LABEL]).add_column(COLUMN, margins).to_parquet(str(file))
    return folder


def _options(judged: Path, share: float, compare: str | None) -> Sequence[str]:
    """Return the options of `train` that choose a share of each class's images."""
    data: Any = open_dataset(judged).dataset
    labels, margins = np.asarray(data[LABEL]), np.asarray(data[COLUMN])
    if compare is None:
        return ["--images-per-class", str(round(share * np.bincount(labels).min()))]
    kept = []
    for label, name in enumerate(data.features[LABEL].names):
        own = np.sort(margins[labels == label])[:: -1 if compare == ">=" else 1]
        limit = own[round(share * len(own)) - 1]
        kept.append(f"label == {name!r} and {COLUMN} {compare} {limit.item()!r}")
    return ["--filter", " or ".join(kept)]


if __name__ == "__main__":
    main()
