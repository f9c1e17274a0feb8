"""`eval gap SYN --real REAL`: how far a synthetic set is from real images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from eval.verbs.arguments import add_process, add_real, not_negative, positive
from factory.console import log, write
from factory.errors import UserError

NAME = "gap"
HELP = "tell a synthetic set from real images: figures and a number"
_BATCH_SIZE = 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.description = (
        "Compares features of synthetic and real images: t-SNE pictures (sets.png, classes.png, "
        "and .svg), and how often a classifier tells the two apart, beside the same for two halves "
        "of the real set (gap.json)."
    )
    add = parser.add_argument
    add("synthetic", metavar="SYN", help="dataset directory or Hub id")
    add("--syn-config", metavar="NAME", help="config of SYN (default: its default)")
    add("--syn-split", metavar="NAME", help="split of SYN (default: train)")
    add("--syn-filter", metavar="EXPR", help="keep only these rows of SYN")
    add_real(parser)
    add(
        "--model",
        required=True,
        metavar="MODEL",
        help="whose features: a run folder, hf-hub:ORG/NAME, or a pretrained model of timm",
    )
    add("--images", type=positive, default=1000, metavar="N", help="a side, at most (default 1000)")
    add("--seed", type=not_negative, default=0, help="of the draw and of the halves (default: 0)")
    add_process(parser, batch_size=_BATCH_SIZE)
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    add("--json", action="store_true", help="print gap.json instead of a line")


def run(args: argparse.Namespace) -> None:
    """Compare, draw, write."""
    if args.out.exists() and not args.out.is_dir():
        raise UserError(f"--out {args.out}: is a file; choose a folder")

    import numpy as np

    from eval.features import extract, load_features
    from eval.gap import draw_sample, embed, measure_gap
    from eval.real import open_real

    real = open_real(
        args.real,
        config_name=args.config,
        split=args.split,
        row_filter=args.filter,
        image_column=args.image_column,
        label_column=args.label_column,
    )
    synthetic = open_real(
        args.synthetic,
        config_name=args.syn_config,
        split=args.syn_split or "train",
        row_filter=args.syn_filter,
    )
    sample = draw_sample(real, synthetic, images=args.images, seed=args.seed)
    model = load_features(args.model)
    how: dict[str, Any] = {"batch_size": args.batch_size or _BATCH_SIZE, "threads": args.threads}

    def features(side: Any, rows: Any) -> Any:
        opened = side.opened
        return extract(
            model,
            opened.dataset,
            rows,
            image_column=opened.image_column,
            image_folder=opened.image_folder,
            **how,
        )

    sides = [
        features(real, sample.real),
        features(real, sample.other_real),
        features(synthetic, sample.synthetic),
    ]
    figures = measure_gap(*sides, labels=sample.labels, seed=args.seed)
    places = embed(np.concatenate([sides[0], sides[2]]))
    found = _told(args, real, synthetic, sample) | figures
    args.out.mkdir(parents=True, exist_ok=True)
    _plot(args.out, places, sample=sample, found=found)
    text = json.dumps(found, indent=2, ensure_ascii=False)
    (args.out / "gap.json").write_text(f"{text}\n", encoding="utf-8")
    log(f"wrote {args.out}/gap.json, sets and classes as .png and .svg")
    write(text if args.json else _line(found))


def _told(args: argparse.Namespace, real: Any, synthetic: Any, sample: Any) -> dict[str, Any]:
    return {
        "format": "data-factory/gap",
        "format_version": 1,
        "synthetic": synthetic.name,
        "real": real.name,
        "model": args.model,
        "images_per_side": len(sample.labels),
        "classes": sample.names,
        "seed": args.seed,
    }


def _plot(out: Path, places: Any, *, sample: Any, found: dict[str, Any]) -> None:
    from eval.gap_plots import plot_classes, plot_sets

    model = Path(found["model"]).name
    note = (
        f"t-SNE of {found['images_per_side']:,} images a side, features of {model}; told apart "
        f"{found['two_sample']['accuracy']:.1%} of the time, two halves of the real set "
        f"{found['floor']['accuracy']:.1%}"
    )
    title = f"{found['synthetic']} and {found['real']}"
    plot_sets(places, title=title, note=note, path=out / "sets")
    plot_classes(
        places,
        labels=sample.labels,
        names=sample.names,
        title=title,
        note=note,
        path=out / "classes",
    )


def _line(found: dict[str, Any]) -> str:
    gap, floor, head = found["two_sample"], found["floor"], found["head"]
    ratio = found["spread"]["ratio"]
    spread = "unknown" if ratio is None else f"{ratio:.2f}"
    known = ""
    if head["synthetic"] is not None:
        known = (
            f"; a last layer fitted to real images knows {head['real']['accuracy']:.1%} of other "
            f"real ones, {head['synthetic']['accuracy']:.1%} of the synthetic ones"
        )
    return (
        f"{found['synthetic']} and {found['real']}: told apart {gap['accuracy']:.1%} "
        f"[{gap['low']:.1%}, {gap['high']:.1%}], floor {floor['accuracy']:.1%} "
        f"[{floor['low']:.1%}, {floor['high']:.1%}]; spread within classes {spread} of the real "
        f"one{known}"
    )
