"""Parse the command line of `train` into `TrainOptions`, without heavy imports."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factory.common.console import Parser
from factory.common.errors import UserError
from factory.common.outside import parse_yaml
from train.presets import PRESETS
from train.run import TrainOptions

_EPILOG = """\
examples:
  accelerate launch train out/digits --model test_resnet --preset digits --out runs/digits
  accelerate launch train out/cifar10 --model ResNet50 --preset paper --out runs/resnet50
  accelerate launch train out/cifar10 --model resnet10t --filter "guidance_scale < 3" --out runs/low

Run the same command again to resume after an interruption. To train with several processes:
accelerate launch --multi_gpu --num_processes 2 train ... (also on a machine without a GPU).
Then score the run: accelerate launch eval score RUN --real DATASET
"""

# Options that replace one field of the preset, with the type of their value.
_FIELDS: tuple[tuple[str, type, str], ...] = (
    ("epochs", int, "passes over the training images"),
    ("batch_size", int, "images per step, over all processes"),
    ("accumulate", int, "gradient accumulation: parts per batch, to save memory"),
    ("lr", float, "peak learning rate"),
    ("weight_decay", float, "AdamW's weight decay"),
    ("schedule", str, "cosine or constant"),
    ("schedule_every", str, "change the learning rate every step or every epoch"),
    ("warmup_epochs", float, "epochs of linear warm-up"),
    ("label_smoothing", float, "probability mass taken from the true class"),
    ("clip_grad_norm", float, "largest norm of the gradient"),
    ("image_size", int, "height and width in pixels to train at"),
    ("val_fraction", float, "part of each class held out for choosing the best epoch"),
    ("val_images", int, "images held out by one draw over the whole set, as the paper's code does"),
    ("keep_every", int, "keep the weights of every Xth epoch too, in RUN/epochs"),
    ("test_crop", float, "part of each side, in the middle, that scoring sees"),
    ("fit", str, "images that are not square: crop their middle, pad or squash them"),
    ("resample", str, "filter that resizes: nearest, bilinear, bicubic, lanczos"),
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `train`."""
    parser = Parser(
        prog="train",
        description="Train a timm classifier on an image dataset.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "datasets",
        nargs="*",
        metavar="DATASET",
        help="directory or Hub id, ORG/NAME[@REVISION]; several are trained on together, with the "
        "classes of the first",
    )
    add(
        "--model",
        metavar="NAME",
        help="any timm model, e.g. test_resnet, or one of the paper's: ResNet50, ResNet101, "
        "ViT-B, MobileNetV3-S, ConvNeXt-S",
    )
    add("--out", type=Path, metavar="RUN", help="run folder; an interrupted run is resumed")
    _add_data_options(parser.add_argument_group("data"))
    _add_model_options(parser.add_argument_group("model"))
    _add_training_options(parser.add_argument_group("training"))
    _add_push_options(parser.add_argument_group("publishing", "when the run is finished"))
    return parser


def _add_data_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--real-train",
        metavar="DATASET",
        help="real images to train on as well; --config, --split, --filter, --images-per-class "
        "and the columns do not apply to them",
    )
    add(
        "--mix",
        metavar="X,Y",
        help="share of each dataset in an epoch, --real-train last, e.g. 0.8,0.2 (default: every "
        "image once)",
    )
    add("--config", metavar="NAME", help="config of the dataset (default: its first)")
    add("--split", metavar="NAME", help="split (default: its only one, or train)")
    add("--filter", metavar="EXPR", help='keep only matching rows, e.g. "guidance_scale < 3"')
    add(
        "--images-per-class",
        type=int,
        metavar="N",
        help="sample N images of each class, to compare datasets at equal size",
    )
    add(
        "--allow-empty-classes",
        action="store_true",
        help="train even if classes have no images; the model still has an output for them",
    )
    add(
        "--skip-unreadable",
        action="store_true",
        help="skip images that cannot be read and count them in config.yaml",
    )
    add("--image-column", metavar="NAME", help="image column (default: image, else the only one)")
    add("--label-column", metavar="NAME", help="label column (default: label, else the only one)")


def _add_model_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--pretrained",
        action="store_true",
        help="start from timm's pretrained weights (downloads them)",
    )
    add(
        "--weights",
        type=Path,
        metavar="FILE",
        help="start from the pretrained weights in a .safetensors or .pt/.pth file instead; needs "
        "no network; the last layer starts from random weights",
    )
    add(
        "--head-only",
        action="store_true",
        help="train the last layer only, with --pretrained or --weights",
    )
    add(
        "--model-arg",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="argument of timm.create_model, e.g. patch_size=4; may be repeated",
    )
    add("--seed", type=int, default=0, help="seed of all random choices (default: 0)")
    add("--threads", type=int, default=1, metavar="N", help="CPU threads per process (default: 1)")


def _add_training_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--preset",
        metavar="NAME",
        help="base settings (default: quick, or finetune with --pretrained or --weights)",
    )
    add("--list-presets", action="store_true", help="list the presets and exit")
    for name, kind, text in _FIELDS:
        flag = f"--{name.replace('_', '-')}"
        add(flag, type=kind, metavar="X", help=f"{text} (default: the preset's)")
    add(
        "--augment",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value of the preset's augmentation, e.g. rotation=10 or crop_scale=0.5,1; "
        "`none` disables augmentation; may be repeated",
    )
    add("--no-flip", action="store_true", help="never mirror images (digits, letters)")


def _add_push_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--push", metavar="ORG/NAME", help="publish model, card and scores on the Hub")
    add("--private", action="store_true", help="make the model's repository private")
    add("--tag", metavar="TAG", help="tag the published commit, e.g. v1")
    add("--replace-card", action="store_true", help="overwrite edits of the card on the Hub")


def parse_options(argv: Sequence[str]) -> TrainOptions | None:
    """Parse the command line; return None if the presets are to be listed.

    Raises:
        UserError: A required option is missing, or a value is invalid.
    """
    parsed = build_parser().parse_args(argv)
    if parsed.list_presets:
        return None
    if parsed.push is None and (parsed.private or parsed.tag or parsed.replace_card):
        raise UserError("--private, --tag and --replace-card need --push; add it or remove them")
    missing = [
        name
        for name, value in (
            ("DATASET", parsed.datasets),
            ("--model", parsed.model),
            ("--out", parsed.out),
        )
        if not value
    ]
    if missing:
        raise UserError(
            f"missing {', '.join(missing)}; e.g. train DATASET --model test_resnet --out RUN"
        )
    if parsed.seed < 0:
        raise UserError(f"--seed {parsed.seed}: must be 0 or more")
    overrides = {
        name: getattr(parsed, name) for name, _, _ in _FIELDS if getattr(parsed, name) is not None
    }
    return TrainOptions(
        dataset=parsed.datasets[0],
        more_datasets=tuple(parsed.datasets[1:]),
        real_train=parsed.real_train,
        mix=_mix(parsed.mix, [*parsed.datasets, *filter(None, [parsed.real_train])]),
        model=parsed.model,
        out=parsed.out,
        config_name=parsed.config,
        split=parsed.split,
        row_filter=parsed.filter,
        images_per_class=parsed.images_per_class,
        image_column=parsed.image_column,
        label_column=parsed.label_column,
        preset=parsed.preset,
        pretrained=parsed.pretrained,
        weights=parsed.weights,
        head_only=parsed.head_only,
        model_args=_model_args(parsed.model_arg),
        overrides=overrides,
        augmentation=_augmentation(parsed.augment, no_flip=parsed.no_flip),
        seed=parsed.seed,
        threads=parsed.threads,
        push_to=parsed.push,
        push_private=parsed.private,
        push_tag=parsed.tag,
        allow_empty_classes=parsed.allow_empty_classes,
        skip_unreadable=parsed.skip_unreadable,
        push_replace_card=parsed.replace_card,
    )


def _mix(text: str | None, datasets: Sequence[str]) -> tuple[float, ...] | None:
    """Return the shares of the datasets, in sum 1."""
    twice = sorted({one for one in datasets if datasets.count(one) > 1})
    if twice:
        raise UserError(f"dataset {twice[0]} is given twice; give it once, and its share as --mix")
    if text is None:
        return None
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if not shares or not all(0 < share < math.inf for share in shares):
        raise UserError(f"--mix {text}: must be positive numbers, e.g. 0.8,0.2")
    if len(shares) != len(datasets) or len(datasets) < 2:
        raise UserError(
            f"--mix {text}: has {len(shares)} shares for {len(datasets)} datasets; give one for "
            "each of two or more datasets (--real-train is the last)"
        )
    return tuple(share / math.fsum(shares) for share in shares)


def presets_text() -> str:
    """Describe every preset and its values, for `--list-presets`."""
    lines = []
    for name, preset in PRESETS.items():
        values = preset.hyperparameters.model_dump()
        augmentation = values.pop("augmentation")
        plain = type(preset.hyperparameters.augmentation)().model_dump()
        changed = {key: value for key, value in augmentation.items() if value != plain[key]}
        lines += [
            name,
            f"  {preset.summary}",
            f"  {_pairs(values)}",
            f"  augment: {_pairs(changed)}",
        ]
        for prefix, family in preset.families.items():
            own = {**family.hyperparameters, **family.model_args}
            lines.append(f"  models {prefix}...: {_pairs(own)}")
    return "\n".join(lines)


def _pairs(values: dict[str, Any]) -> str:
    shown = {}
    for key, value in values.items():
        if isinstance(value, tuple):
            shown[key] = ",".join(f"{part:.4g}" for part in value)
        elif value is not None:
            shown[key] = f"{value:g}" if isinstance(value, float) else str(value)
    return " ".join(f"{key}={value}" for key, value in shown.items())


def _model_args(pairs: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in pairs:
        key, value = _split(pair, option="--model-arg")
        if key in ("num_classes", "pretrained", "img_size", "in_chans"):
            raise UserError(
                f"--model-arg {key}: is set by the dataset, --pretrained or --image-size; remove it"
            )
        found[key] = _value(value, option=f"--model-arg {key}")
    return found


def _augmentation(pairs: Sequence[str], *, no_flip: bool) -> dict[str, Any]:
    from train.config import Augmentation

    found: dict[str, Any] = {}
    for pair in pairs:
        if pair == "none":
            found.update(Augmentation().model_dump())
            continue
        key, value = _split(pair, option="--augment")
        if "," in value:
            found[key] = [_value(part, option=f"--augment {key}") for part in value.split(",")]
        else:
            found[key] = _value(value, option=f"--augment {key}")
    if no_flip:
        flips = [key for key in ("horizontal_flip", "vertical_flip") if found.get(key)]
        if flips:
            raise UserError(f"--no-flip excludes --augment {flips[0]}=...; give one of them")
        found.update(horizontal_flip=0.0, vertical_flip=0.0)
    return found


def _split(pair: str, *, option: str) -> tuple[str, str]:
    key, equals, value = pair.partition("=")
    if not (equals and key and value):
        raise UserError(f"{option} {pair}: must be KEY=VALUE")
    return key.strip(), value.strip()


def _value(text: str, *, option: str) -> Any:
    try:
        return parse_yaml(text, file=option)
    except UserError:
        raise UserError(f"{option}: {text!r} is not a number, word or list") from None
