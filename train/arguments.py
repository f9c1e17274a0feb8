"""Parse the command line of `train` into `TrainOptions`, without heavy imports."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factory.common.console import Parser, renamed
from factory.common.errors import UserError
from factory.common.options import (
    FIT_HELP,
    add_device,
    add_json,
    add_out,
    add_publication,
    add_quiet,
    add_replace_card,
    add_rows,
    add_seed,
    add_skip_unreadable,
    add_threads,
    add_version,
)
from factory.common.outside import parse_yaml
from factory.common.program import command, launch
from factory.hub.ids import is_model_id
from train.presets import PRESETS
from train.run import TrainOptions

_EXAMPLES = (
    "train out/digits --model test_resnet --preset digits --out runs/digits",
    "train out/cifar10 --model ResNet50 --preset paper --out runs/resnet50",
    'train out/cifar10 --model resnet10t --filter "guidance_scale < 3" --out runs/low',
)

_DATASET = (
    "dataset directory, folder of photos, CSV or Parquet file that names images, or Hub id, "
    "ORG/NAME[@REVISION]"
)

# Options that replace one field of the preset (see `_field`), with the type of their value.
_FIELDS: tuple[tuple[str, type, str], ...] = (
    ("epochs", int, "passes over the training images"),
    ("total_batch_size", int, "images per step, over all processes together"),
    ("accumulate", int, "gradient accumulation: parts per batch, to save memory"),
    ("lr", float, "peak learning rate"),
    ("weight_decay", float, "AdamW's weight decay"),
    ("schedule", str, "cosine or constant"),
    ("schedule_every", str, "change the learning rate every step or every epoch"),
    ("warmup_epochs", float, "epochs of linear warm-up"),
    ("label_smoothing", float, "probability mass taken from the true class"),
    ("clip_grad_norm", float, "largest norm of the gradient"),
    ("image_size", int, "height and width in pixels"),
    ("val_fraction", float, "part of each class held out for choosing the best epoch"),
    (
        "val_images",
        int,
        "number of images held out at random over all classes, as in the paper's code",
    ),
    ("keep_every", int, "keep the weights of every Xth epoch too, in RUN/epochs"),
    ("test_crop", float, "part of each side, in the middle, that scoring sees"),
    ("fit", str, FIT_HELP),
    ("resample", str, "filter that resizes: nearest, bilinear, bicubic, lanczos"),
)
_KINDS = {int: "N", float: "X", str: "NAME"}
_METAVARS = {"fit": "{crop,pad,squash}"}
# Options that need --push.
_PUBLICATION = ("private", "revision", "commit_message", "tag", "replace_card")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `train`."""
    parser = Parser(prog=command("train"))
    add_arguments(parser)
    return parser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = "Train a timm classifier on an image dataset."
    parser.epilog = _epilog()
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add(
        "datasets",
        nargs="*",
        metavar="DATASET",
        help=f"{_DATASET}; several are trained on together, with the classes of the first",
    )
    add(
        "--model",
        metavar="ID[@REVISION]",
        help="any timm model, e.g. test_resnet, one of the paper's (ResNet50, ResNet101, ViT-B, "
        "MobileNetV3-S, ConvNeXt-S), or a timm model on the Hub, ORG/NAME",
    )
    add_out(parser, "DIR", "the run; an interrupted run is resumed")
    add_device(parser)
    add_json(parser, "out, epochs, best_epoch, best_val_top1, published")
    add_quiet(parser)
    add_version(parser)
    _add_data_options(parser.add_argument_group("data"))
    _add_model_options(parser.add_argument_group("model"))
    _add_training_options(parser.add_argument_group("training"))
    publishing = parser.add_argument_group("publishing", "when the run is finished")
    publishing.add_argument(
        "--push", metavar="ORG/NAME", help="publish model, card and scores on the Hub"
    )
    add_publication(parser, group=publishing)
    add_replace_card(publishing)
    renamed(parser, "--batch-size", "--total-batch-size")


def _epilog() -> str:
    examples = "\n".join(f"  {command(line)}" for line in _EXAMPLES)
    return (
        f"examples:\n{examples}\n\n"
        "Run the same command again to resume after an interruption. To train in several "
        f"processes:\n  {launch('train ...', processes=2)}\n"
        f"Then score the run:\n  {command('score RUN --real DATASET')}\n"
    )


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
    add_rows(group, split="train, else the only one")
    add(
        "--images-per-class",
        type=int,
        metavar="N",
        help="images of each class: sampled to compare datasets at equal size (default: all)",
    )
    add(
        "--allow-empty-classes",
        action="store_true",
        help="train even if classes have no images; the model still has an output for them",
    )
    add_skip_unreadable(group)


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
    add_seed(group, "all random choices")
    add_threads(group, shown="all cores; a resumed run keeps its number")


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
        add(
            flag,
            type=kind,
            metavar=_METAVARS.get(name, _KINDS[kind]),
            help=f"{text} (default: the preset's)",
        )
    add(
        "--augment",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value of the preset's augmentation, e.g. rotation=10 or crop_scale=0.5,1; "
        "`none` disables augmentation; may be repeated",
    )
    add("--no-flip", action="store_true", help="never mirror images (digits, letters)")


def options_of(parsed: argparse.Namespace) -> TrainOptions | None:
    """Return the options of a parsed command line; None if the presets are to be listed.

    Raises:
        UserError: A required option is missing, or a value is invalid.
    """
    if parsed.list_presets:
        return None
    if parsed.push is None and any(getattr(parsed, name) for name in _PUBLICATION):
        named = ", ".join(f"--{name.replace('_', '-')}" for name in _PUBLICATION)
        raise UserError(f"{named} need --push; add it or remove them")
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
            f"missing {', '.join(missing)}; e.g. "
            f"{command('train DATASET --model test_resnet --out RUN')}"
        )
    overrides = {
        _field(name): getattr(parsed, name)
        for name, _, _ in _FIELDS
        if getattr(parsed, name) is not None
    }
    return TrainOptions(
        dataset=parsed.datasets[0],
        more_datasets=tuple(parsed.datasets[1:]),
        real_train=parsed.real_train,
        mix=_mix(parsed.mix, [*parsed.datasets, *filter(None, [parsed.real_train])]),
        model=_timm_id(parsed.model),
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
        device=parsed.device,
        push_to=parsed.push,
        push_revision=parsed.revision,
        push_message=parsed.commit_message,
        push_private=parsed.private,
        push_tag=parsed.tag,
        allow_empty_classes=parsed.allow_empty_classes,
        skip_unreadable=parsed.skip_unreadable,
        push_replace_card=parsed.replace_card,
    )


def _field(option: str) -> str:
    """Return the preset's name of a value."""
    return "batch_size" if option == "total_batch_size" else option


def _timm_id(model: str) -> str:
    """Return timm's name of a model on the Hub, `hf-hub:ORG/NAME[@REVISION]`."""
    return f"hf-hub:{model}" if ":" not in model and is_model_id(model) else model


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
