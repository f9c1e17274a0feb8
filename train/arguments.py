"""Turn a parsed command line of `train` into `TrainOptions`, without heavy imports."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError
from factory.common.preset_options import preset_values
from factory.common.program import command
from factory.common.text import plural
from factory.common.untrusted_files import parse_yaml
from factory.data.label_options import check_suggestion, label_map_of
from factory.hub.ids import is_model_id
from train.options import TrainOptions

if TYPE_CHECKING:
    from factory.data.label_map import LabelMap

# Options that need --push.
_PUBLICATION = ("private", "revision", "commit_message", "tag", "replace_card")


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
    overrides, augmentation = preset_values(parsed)
    return TrainOptions(
        dataset=parsed.datasets[0],
        more_datasets=tuple(parsed.datasets[1:]),
        real_train=parsed.real_train,
        label_map=_label_map(parsed),
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
        teacher=parsed.teacher,
        model_args=_model_args(parsed.model_arg),
        overrides=overrides,
        augmentation=_augmentation(parsed.augment, augmentation, no_flip=parsed.no_flip),
        seed=parsed.seed,
        threads=parsed.threads,
        mixed_precision=parsed.mixed_precision,
        torchcompile=parsed.torchcompile,
        pixel_memory=parsed.pixel_memory,
        stream=parsed.stream,
        shuffle_buffer=parsed.shuffle_buffer,
        workers=parsed.workers,
        recovery_interval=parsed.recovery_interval,
        log_with=tuple(parsed.log_with),
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


def _timm_id(model: str) -> str:
    """Return timm's name of a model on the Hub, `hf-hub:ORG/NAME[@REVISION]`."""
    return f"hf-hub:{model}" if ":" not in model and is_model_id(model) else model


def _label_map(parsed: argparse.Namespace) -> LabelMap | None:
    """Return the map of `--labels`; reject both options where nothing is mapped."""
    check_suggestion(parsed)
    given = ("--labels", parsed.labels), ("--suggest-labels", parsed.suggest_labels)
    for name, path in given:
        if path is not None and len(parsed.datasets) < 2 and not parsed.real_train:
            raise UserError(
                f"{name} {path}: maps the labels of further datasets to the classes of the first, "
                "and there is one dataset; remove it, or add a DATASET or --real-train"
            )
    return label_map_of(parsed)


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
        raise UserError(f"--mix {text}: expected positive numbers, e.g. 0.8,0.2")
    if len(shares) != len(datasets) or len(datasets) < 2:
        raise UserError(
            f"--mix {text}: has {plural(len(shares), 'share')} for "
            f"{plural(len(datasets), 'dataset')}; give one for each of two or more datasets "
            "(--real-train is the last)"
        )
    return tuple(share / math.fsum(shares) for share in shares)


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


def _augmentation(
    pairs: Sequence[str], options: Mapping[str, Any], *, no_flip: bool
) -> dict[str, Any]:
    """Return the fields of `Augmentation` of `--augment` and of options of their own."""
    from train.settings import Augmentation

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
    twice = sorted(options.keys() & {pair.partition("=")[0] for pair in pairs})
    if twice:
        raise UserError(f"--augment {twice[0]}=... is given by another option too; give one")
    found.update(options)
    if no_flip:
        flips = [key for key in ("horizontal_flip", "vertical_flip") if found.get(key)]
        if flips:
            raise UserError(f"--no-flip excludes {flips[0]}; give one of them")
        found.update(horizontal_flip=0.0, vertical_flip=0.0)
    return found


def _split(pair: str, *, option: str) -> tuple[str, str]:
    key, equals, value = pair.partition("=")
    if not (equals and key and value):
        raise UserError(f"{option} {pair}: expected KEY=VALUE")
    return key.strip(), value.strip()


def _value(text: str, *, option: str) -> Any:
    try:
        return parse_yaml(text, file=option)
    except UserError:
        raise UserError(f"{option}: {text!r} is not a number, word or list") from None
