"""Train the same images with several options and seeds, score the runs, and print a table.

    python docs/compare_training.py docs/strong.yaml --dataset SET --real TEST --out DIR

Run again, it resumes: finished scores are not computed again. A row's difference to the baseline is
paired by seed; its 95 % interval is Student's t over seeds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", type=Path, metavar="YAML", help="models, seeds, options, rows")
    parser.add_argument("--dataset", required=True, help="to train on, as for `train`")
    parser.add_argument("--config", help="its config")
    parser.add_argument("--real", required=True, help="test images, as for `score`")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and scores")
    parser.add_argument("--model", action="append", help="only this model; may be repeated")
    parser.add_argument("--row", action="append", help="only this row; may be repeated")
    parser.add_argument("--seed", action="append", type=int, help="only this one; may be repeated")
    parser.add_argument("--option", action="append", default=[], help="one more word for `train`")
    args = parser.parse_args()
    spec = yaml.safe_load(args.spec.read_text())
    rows = {name: spec["rows"][name] for name in args.row or spec["rows"]}
    for model in args.model or spec["models"]:
        scores = {
            name: [
                _score(args, spec, model=model, row=name, seed=seed)
                for seed in args.seed or spec["seeds"]
            ]
            for name in rows
        }
        sys.stdout.write(f"\n{model}\n\n{table(scores, baseline=spec['baseline'])}\n")


def _score(
    args: argparse.Namespace, spec: dict[str, Any], *, model: str, row: str, seed: int
) -> float:
    """Return the top-1 accuracy in per cent of one run, trained and scored if it is missing."""
    run = args.out / model / row / f"seed-{seed}"
    file = run / "compared.json"
    if not file.is_file():
        config = ["--config", args.config] if args.config else []
        given = [*spec["options"], *spec["rows"][row], *args.option]
        common = [args.dataset, "--model", model, "--out", str(run), "--seed", str(seed)]
        _run(["-m", "train", *common, *config, *given])
        _run(["-m", "eval", "score", str(run), "--real", args.real, "--out", str(file)])
    return 100 * float(json.loads(file.read_text())["metrics"]["top1"])


def _run(words: Sequence[str]) -> None:
    subprocess.run([sys.executable, *words], check=True)


def table(scores: dict[str, list[float]], *, baseline: str) -> str:
    """Return a Markdown table.

    Args:
        scores: Per row, its scores by seed in per cent.
        baseline: The row that the others are compared with.
    """
    lines = ["| row | seeds | top-1 (%) | difference (points) |", "|---|---:|---:|---:|"]
    for name, found in scores.items():
        difference = "" if name == baseline else _difference(found, scores.get(baseline))
        lines.append(f"| {name} | {len(found)} | {np.mean(found):.2f} | {difference} |")
    return "\n".join(lines)


def _difference(found: list[float], base: list[float] | None) -> str:
    if base is None:
        return ""
    paired = np.subtract(found, base)
    if len(paired) < 2:
        return f"{paired.mean():+.2f}"
    half = stats.t.ppf(0.975, len(paired) - 1) * stats.sem(paired)
    return f"{paired.mean():+.2f} ({paired.mean() - half:+.2f} to {paired.mean() + half:+.2f})"


if __name__ == "__main__":
    main()
