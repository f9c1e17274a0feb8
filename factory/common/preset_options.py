"""The options that replace values of a preset, in the groups of `train --help`.

`train` parses them; the report of `eval` prints them.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from factory.common.options import FIT_HELP

_METAVARS = {int: "N", float: "X", str: "NAME"}


@dataclass(frozen=True)
class PresetOption:
    """One option.

    Attributes:
        name: Its name, with underscores.
        kind: Type of its value; bool for an option without one.
        text: Its help.
        fields: Fields of `Hyperparameters` that it sets; empty: the one with its name.
        augments: It sets fields of `Augmentation` instead.
        count: Number of values, or `+`, if it has several.
        metavar: Stands for its values in the help; empty: by its type.
        timm: timm's name, if that is another one; works as well.
    """

    name: str
    kind: type
    text: str
    fields: tuple[str, ...] = ()
    augments: bool = False
    count: int | str | None = None
    metavar: str | tuple[str, ...] = ""
    timm: str = ""

    @property
    def targets(self) -> tuple[str, ...]:
        """The fields that it sets."""
        return self.fields or (self.name,)

    def add_to(self, group: argparse._ArgumentGroup) -> None:
        """Add the option to a group of the parser."""
        names = [f"--{one}" for one in (self.name.replace("_", "-"), self.timm) if one]
        if self.kind is bool:
            group.add_argument(*names, action="store_true", default=None, help=self.text)
            return
        group.add_argument(
            *names,
            type=self.kind,
            nargs=self.count,
            metavar=self.metavar or _METAVARS[self.kind],
            help=self.text,
        )

    def values(self, parsed: argparse.Namespace) -> Iterator[tuple[str, Any]]:
        """Yield the fields that the user set, with their values."""
        value = getattr(parsed, self.name)
        if value is not None:
            yield from ((field, value) for field in self.targets)

    def words(self, values: Mapping[str, Any]) -> list[str]:
        """Return the option as typed for some values of its fields; empty if it cannot set them."""
        value, *others = [values.get(field) for field in self.targets]
        several = self._typed(value)
        if not several or any(one != value for one in others):
            return []
        flag = f"--{self.name.replace('_', '-')}"
        return [flag] if self.kind is bool else [flag, *map(str, several)]

    def _typed(self, value: Any) -> list[Any]:
        """Return the values of the option as a list; empty if they, maybe a stranger's, do not fit.

        An option of one value takes no list: the others would be arguments of the command.
        """
        several = [value]
        if self.count is not None:
            several = list(value) if isinstance(value, list | tuple) else []
        if isinstance(self.count, int) and len(several) != self.count:
            return []
        return several if all(map(self._fits, several)) else []

    def _fits(self, value: Any) -> bool:
        """Return whether a value can be typed: it must not be an option."""
        if self.kind is bool:
            return value is True
        if self.kind is str:
            return isinstance(value, str) and not value.startswith("-")
        kinds = int if self.kind is int else int | float
        # No option has a negative value; "-1e-05" would be read as an option.
        return isinstance(value, kinds) and not isinstance(value, bool) and 0 <= value < math.inf


def _augment(name: str, kind: type, text: str, *fields: str, **more: Any) -> PresetOption:
    return PresetOption(name, kind, text, fields, augments=True, **more)


_Option = PresetOption
_RANGE: dict[str, Any] = {"count": 2, "metavar": ("LOW", "HIGH")}
GROUPS: dict[str, tuple[PresetOption, ...]] = {
    "length and batches": (
        _Option("epochs", int, "passes over the training images"),
        _Option(
            "total_batch_size",
            int,
            "images per step, over all processes together",
            ("batch_size",),
        ),
        _Option(
            "accumulate",
            int,
            "gradient accumulation: parts per batch, to save memory",
            timm="grad-accum-steps",
        ),
        _Option("balance_classes", bool, "give every class equally many images in an epoch"),
        _Option(
            "split_bn",
            bool,
            "with --real-train: separate batch-norm statistics; those of real images are saved",
        ),
    ),
    "optimiser and learning rate": (
        _Option("opt", str, "optimiser: any of timm.optim.list_optimizers()"),
        _Option("lr", float, "peak learning rate"),
        _Option("weight_decay", float, "weight decay"),
        _Option("momentum", float, "momentum, of optimisers that have one"),
        _Option("opt_betas", float, "coefficients of its running averages", count="+"),
        _Option("opt_eps", float, "its epsilon"),
        _Option("layer_decay", float, "factor of the learning rate from a layer to the one below"),
        _Option("clip_grad_norm", float, "largest norm of the gradient", timm="clip-grad"),
        _Option(
            "schedule",
            str,
            "cosine, constant, or timm's tanh, step, multistep, poly",
            timm="sched",
        ),
        _Option("schedule_every", str, "change the learning rate every step or every epoch"),
        _Option("warmup_epochs", float, "epochs of linear warm-up"),
        _Option("min_lr", float, "smallest learning rate, of cosine, tanh and poly"),
        _Option("decay_epochs", float, "epochs between the steps of step"),
        _Option("decay_milestones", int, "epochs after the warm-up, of multistep", count="+"),
        _Option("decay_rate", float, "factor of step and multistep, power of poly"),
    ),
    "loss and averaged weights": (
        _Option(
            "label_smoothing", float, "probability mass taken from the true class", timm="smoothing"
        ),
        _Option("bce_loss", bool, "binary cross-entropy of each class, not cross-entropy"),
        _Option("bce_target_thresh", float, "with --bce-loss: targets above are 1, others 0"),
        _Option("bce_sum", bool, "with --bce-loss: sum over classes, not their mean"),
        _Option("focal_gamma", float, "sigmoid focal loss with this exponent, e.g. 2"),
        _Option("distill_weight", float, "with --teacher: its part of the loss"),
        _Option("distill_temperature", float, "with --teacher: divides the logits of both"),
        _Option("model_ema", bool, "score and save an average of the weights over steps"),
        _Option("model_ema_decay", float, "weight of the average before a step"),
        _Option("model_ema_warmup", bool, "begin the average with a smaller decay"),
    ),
    "augmentation": (
        _augment("scale", float, "area of random crops", "crop_scale", **_RANGE),
        _augment("ratio", float, "their width to height", "crop_ratio", **_RANGE),
        _augment("hflip", float, "probability of mirroring left and right", "horizontal_flip"),
        _augment("vflip", float, "probability of mirroring top and bottom", "vertical_flip"),
        _augment(
            "color_jitter",
            float,
            "strength of random brightness, contrast and saturation",
            *("brightness", "contrast", "saturation"),
        ),
        _augment("aa", str, "timm's policy, e.g. rand-m9-mstd0.5-inc1, original, 3a, augmix-m5-w4"),
        _augment("reprob", float, "probability of random erasing"),
        _augment("remode", str, "erase with const, rand (a colour) or pixel (noise)"),
        _augment("recount", int, "largest number of erased rectangles"),
        _Option("mixup", float, "alpha of mixup, e.g. 0.8"),
        _Option("cutmix", float, "alpha of CutMix, e.g. 1"),
        _Option("mixup_prob", float, "probability of mixing a batch"),
        _Option("mixup_switch_prob", float, "probability of CutMix where both are on"),
        _Option("mixup_mode", str, "mix by batch, or each image (elem) in its own proportion"),
        _Option("mixup_off_epoch", int, "epochs after which nothing is mixed; 0: never"),
    ),
    "images and held-out part": (
        _Option("image_size", int, "height and width in pixels", timm="img-size"),
        _Option("fit", str, FIT_HELP, metavar="{crop,pad,squash}"),
        _Option("resample", str, "filter that resizes: nearest, bilinear, bicubic, lanczos"),
        _Option("test_crop", float, "part of each side, in the middle, that scoring sees"),
        _Option(
            "stem", str, "first layer of a model without pretrained weights: imagenet, or small"
        ),
        _Option("val_fraction", float, "part of each class held out for choosing the best epoch"),
        _Option(
            "val_images",
            int,
            "number of images held out at random over all classes, as in the paper's code",
        ),
        _Option("keep_every", int, "keep the weights of every Nth epoch too, in RUN/epochs"),
    ),
}


def preset_values(parsed: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of `Hyperparameters` and of `Augmentation` that the user set."""
    values: dict[str, Any] = {}
    augmentation: dict[str, Any] = {}
    for group in GROUPS.values():
        for option in group:
            (augmentation if option.augments else values).update(option.values(parsed))
    return values, augmentation


def option_words(values: Mapping[str, Any], augmentation: Mapping[str, Any]) -> list[str]:
    """Return the options that set some fields of `Hyperparameters` and of `Augmentation`.

    The reverse of `preset_values`. Fields of `Augmentation` without an option of their own are
    given to `--augment`.
    """
    words, rest = [], dict(augmentation)
    for option in (one for group in GROUPS.values() for one in group):
        found = option.words(augmentation if option.augments else values)
        words += found
        if found and option.augments:
            rest = {key: one for key, one in rest.items() if key not in option.targets}
    for key, value in rest.items():
        if not key.isidentifier():
            continue  # A stranger's word, which could be an option.
        several = value if isinstance(value, list | tuple) else [value]
        words += ["--augment", f"{key}={','.join(map(_plain, several))}"]
    return words


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
