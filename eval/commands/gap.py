"""`eval gap SYN --real REAL`: measure the gap between synthetic and real images."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.commands.arguments import DATASET, add_fit, add_process, add_real, open_real_of
from factory.common.console import log, renamed, write, write_json
from factory.common.devices import choose_threads, this_process
from factory.common.errors import UserError
from factory.common.options import (
    add_json,
    add_out,
    add_rows,
    add_seed,
    check_folder,
    option,
    positive,
)
from factory.common.whole_files import replace_text
from factory.data.label_options import (
    add_labels,
    add_suggestion,
    check_suggestion,
    label_map_of,
    suggesting,
)

if TYPE_CHECKING:
    from eval.features import Space

_BATCH_SIZE = 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Compare synthetic and real images in the logits or features of a model. Writes t-SNE "
        "plots (sets and classes, .png and .svg) and gap.json: the accuracy of a classifier that "
        "distinguishes the two, and the same accuracy between two halves of the real images."
    )
    add = partial(option, parser)
    parser.add_argument("synthetic", metavar="SYN", help=DATASET)
    add_rows(parser, prefix="syn-", of="SYN", split="train")
    add_real(parser, prefix="real-")
    for name in ("config", "split", "filter", "image-column", "label-column"):
        renamed(parser, f"--{name}", f"--real-{name}")
    add_fit(parser)
    add_labels(parser)
    add_suggestion(parser)
    model = partial(option, parser.add_mutually_exclusive_group(required=True))
    model(
        "--run RUN",
        "trained model to compare in: run folder, or ORG/NAME[@REVISION]",
        meaning="trained model",
        dest="trained",
    )
    model("--model ID[@REVISION]", "compare in this pretrained timm model, e.g. resnet50.tv_in1k")
    add(
        "--space",
        "compare the model's logits (as in the paper's Figures 2 and 3) or the features "
        "before its head (default: logits if the head has all compared classes, as after `train`, "
        "else features)",
        choices=("logits", "features"),
    )
    add(
        "--images N",
        "maximum number of real and of synthetic images (default: 1000)",
        positive,
        default=1000,
        meaning="number of images",
    )
    add_seed(parser, "the sample, the training half and the bootstrap")
    add_process(parser, batch_size=_BATCH_SIZE)
    add_out(parser, "DIR", "gap.json and the plots", required=True)
    add_json(parser, "the content of gap.json")


def run(args: argparse.Namespace) -> None:
    """Compare the datasets, plot and write the results."""
    check_folder("--out", args.out)
    check_suggestion(args)
    labels, name = label_map_of(args), args.trained or args.model

    import numpy as np

    from eval.features import choose_space, load_features
    from eval.fit import with_fit
    from eval.gap import embed, measure_gap
    from eval.gap_sample import sample_images
    from eval.score import label_facts
    from eval.score_notes import note_counts, note_fit, note_labels

    this_process(args.device)
    real, synthetic = _open(args)
    note_counts(real)
    note_counts(synthetic)
    with suggesting(args):
        sample = sample_images(real, synthetic, images=args.images, seed=args.seed, labels=labels)
    matched = label_facts(sample.match)
    note_labels(args.synthetic, matched, real=real.name)
    model = load_features(name, is_run=args.trained is not None)
    if args.model is not None and model.is_run:
        log(f"--model {shlex.quote(name)} is now written --run {shlex.quote(name)}")
    model = replace(model, preprocessing=with_fit(model.preprocessing, args.fit))
    note_fit(name, model.preprocessing, args.fit)
    space, reason = choose_space(model, sample.compared, args.space)
    sides = _represent(args, model, space, real=real, synthetic=synthetic, sample=sample)
    figures = measure_gap(*sides, labels=sample.labels, seed=args.seed)
    places = embed(np.concatenate([sides[0], sides[2]]))
    both = {"real": real, "synthetic": synthetic}
    found = {
        "format": "data-factory/gap",
        "format_version": 1,
        "synthetic": synthetic.name,
        "real": real.name,
        "model": name,
        "space": space,
        "space_reason": reason,
        "dimensions": sides[0].shape[1],
        "preprocessing": model.preprocessing.model_dump(mode="json"),
        "class_counts": {side: one.class_counts for side, one in both.items()},
        "left_out": {side: one.opened.left_out for side, one in both.items()},
        "images_per_side": len(sample.labels),
        "unreadable": {side: list(one.opened.unreadable) for side, one in both.items()},
        "classes": sample.match.names,
        "labels": matched.model_dump(mode="json", exclude={"names", "num_real"}),
        "seed": args.seed,
        **figures,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    _plot(args.out, places, sample=sample, found=found)
    text = json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False)
    replace_text(args.out / "gap.json", f"{text}\n")
    log(f"wrote {args.out}/gap.json, sets and classes as .png and .svg")
    if args.json:
        write_json(found)
    else:
        write(_line(found))


def _open(args: argparse.Namespace) -> tuple[Any, Any]:
    from eval.real import open_real

    real = open_real_of(args, prefix="real_")
    synthetic = open_real(
        args.synthetic,
        config_name=args.syn_config,
        split=args.syn_split or "train",
        row_filter=args.syn_filter,
        image_column=args.syn_image_column,
        label_column=args.syn_label_column,
        skip_unreadable=args.skip_unreadable,
    )
    return real, synthetic


def _represent(
    args: argparse.Namespace, model: Any, space: Space, *, real: Any, synthetic: Any, sample: Any
) -> list[Any]:
    """Return logits or features of the real images, the other real ones and the synthetic ones."""
    import numpy as np

    from eval.features import extract

    found = [
        extract(
            model,
            side.opened,
            rows,
            space=space,
            batch_size=args.batch_size or _BATCH_SIZE,
            threads=choose_threads(args.threads, shows=False),
        )
        for side, rows in (
            (real, sample.real),
            (real, sample.other_real),
            (synthetic, sample.synthetic),
        )
    ]
    if not np.ptp(np.concatenate(found), axis=0).any():
        other = "features" if space == "logits" else "logits"
        raise UserError(
            f"{model.name} gives the same {space} for every image, so there is nothing to "
            f"compare; use --space {other} or another model"
        )
    return found


def _plot(out: Path, places: Any, *, sample: Any, found: dict[str, Any]) -> None:
    from eval.gap_plots import plot_classes, plot_sets

    note = (
        f"t-SNE of {found['images_per_side']:,} images per side, {_space(found)}; two-sample "
        f"accuracy {found['two_sample']['accuracy']:.1%}, between two halves of the real images "
        f"{found['floor']['accuracy']:.1%}"
    )
    title = f"{found['synthetic']} and {found['real']}"
    plot_sets(places, title=title, note=note, path=out / "sets")
    plot_classes(
        places,
        labels=sample.labels,
        names=sample.match.names,
        title=title,
        note=note,
        path=out / "classes",
    )


def _space(found: dict[str, Any]) -> str:
    return f"{found['space']} of {Path(found['model']).name}"


def _line(found: dict[str, Any]) -> str:
    above, spread, probe = found["above_floor"], found["spread"], found["head"]
    varied = "unknown"
    if spread["ratio"] is not None:
        varied = f"{spread['ratio']:.2f} {_ends(spread, '.2f')}"
    known = ""
    if probe["synthetic"] is not None:
        known = (
            f"; accuracy of a linear probe trained on real images: {probe['real']['accuracy']:.1%} "
            f"on other real ones, {probe['synthetic']['accuracy']:.1%} on synthetic ones"
        )
    return (
        f"{found['synthetic']} and {found['real']}, {_space(found)} ({found['space_reason']}): "
        f"two-sample accuracy {_share(found['two_sample'])}, between two halves of the real images "
        f"{_share(found['floor'])}, difference {above['difference']:+.1%} {_ends(above, '+.1%')}; "
        f"spread within classes, synthetic over real: {varied}{known}"
    )


def _share(share: dict[str, Any]) -> str:
    return f"{share['accuracy']:.1%} {_ends(share, '.1%')}"


def _ends(found: dict[str, Any], form: str) -> str:
    low, high = (
        "unknown" if found[end] is None else format(found[end], form) for end in ("low", "high")
    )
    return f"[{low}, {high}]"
