"""The command line of `train`: its options in groups, without heavy imports."""

from __future__ import annotations

import argparse
from pathlib import Path

from factory.common.console import Parser, renamed
from factory.common.options import (
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
    not_negative,
    positive,
)
from factory.common.preset_options import GROUPS
from factory.common.program import command, launch
from factory.data.label_options import add_labels, add_suggestion
from train.options import SHUFFLE_BUFFER

_EXAMPLES = (
    "train out/digits --model test_resnet --preset digits --out runs/digits",
    "train out/cifar10 --model ResNet50 --preset paper --out runs/resnet50",
    'train out/cifar10 --model resnet10t --filter "guidance_scale < 3" --out runs/low',
)

_DATASET = (
    "dataset directory, folder of photos, CSV or Parquet file that names images, or Hub id, "
    "ORG/NAME[@REVISION]"
)


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
    add_json(parser, "out, epochs, best_epoch, best_val_top1, num_val_images, published")
    add_quiet(parser)
    add_version(parser)
    _add_data_options(parser.add_argument_group("data"))
    _add_model_options(parser.add_argument_group("model"))
    _add_run_options(parser.add_argument_group("running"))
    _add_training_options(parser.add_argument_group("training"))
    for title, options in GROUPS.items():
        group = parser.add_argument_group(title, "default: the values of the preset")
        for option in options:
            option.add_to(group)
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
    add_labels(group, "those of further datasets to those of the first")
    add_suggestion(group)
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
        "--teacher",
        metavar="RUN",
        help="learn from the probabilities of a trained model too: a run folder, or a Hub id",
    )
    add(
        "--model-arg",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="argument of timm.create_model, e.g. patch_size=4; may be repeated",
    )
    add_seed(group, "all random choices")


def _add_run_options(group: argparse._ArgumentGroup) -> None:
    """Add what changes no value of the run, except for rounding."""
    add = group.add_argument
    add_threads(group, shown="all cores; a resumed run keeps its number")
    add(
        "--mixed-precision",
        choices=("no", "fp16", "bf16"),
        help="compute in a 16-bit type (default: as accelerate is configured, else no)",
    )
    add(
        "--torchcompile",
        nargs="?",
        const="inductor",
        metavar="BACKEND",
        help="compile the model with torch.compile (BACKEND: inductor)",
    )
    add(
        "--pixel-memory",
        type=float,
        metavar="GB",
        help="memory for decoded images; a larger dataset is read from its files in each epoch "
        "(default: half of the free memory)",
    )
    add(
        "--stream",
        action="store_true",
        help="read the images of a Hub dataset over the network in each epoch, without downloading "
        "its Parquet files",
    )
    add(
        "--shuffle-buffer",
        type=positive,
        metavar="N",
        help=f"images of a stream that are shuffled together (default: {SHUFFLE_BUFFER})",
    )
    add(
        "--workers",
        type=not_negative,
        metavar="N",
        help="processes that read images from files or a stream, 0: none (default: one per core)",
    )
    add(
        "--recovery-interval",
        type=positive,
        metavar="N",
        help="write a checkpoint every N steps, for long epochs (default: after each epoch, and on "
        "Ctrl-C)",
    )
    add(
        "--log-with",
        action="append",
        default=[],
        metavar="NAME",
        help="send metrics to a tracker of accelerate, e.g. tensorboard, wandb or trackio; may be "
        "repeated",
    )


def _add_training_options(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--preset",
        metavar="NAME",
        help="base settings (default: quick, or finetune with --pretrained or --weights)",
    )
    add("--list-presets", action="store_true", help="list the presets and exit")
    add(
        "--augment",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value of the preset's augmentation, e.g. rotation=10 or crop_scale=0.5,1; "
        "`none` disables augmentation; may be repeated",
    )
    add("--no-flip", action="store_true", help="never mirror images, e.g. of digits or letters")
