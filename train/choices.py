"""Resolve and check the options of a run, before anything is opened."""

from __future__ import annotations

from dataclasses import replace

from factory.common.console import launched_as, log
from factory.common.dataset_files import check_config
from factory.common.errors import UserError
from factory.common.storage import at_home
from train import presets
from train.options import TrainOptions
from train.run_folder import check_folder
from train.settings import Hyperparameters
from train.stems import own_stem, with_small_stem


def check_configs(options: TrainOptions) -> None:
    """Check first: a mistyped config of a local dataset must not wait for torch to be imported."""
    for reference in (options.dataset, *options.more_datasets):
        folder = at_home(reference)
        if folder.is_dir():
            check_config(folder, options.config_name, shown=reference)


def check_stream(options: TrainOptions) -> None:
    """Check that no other option needs all images at hand.

    Raises:
        UserError: One does.
    """
    if not options.stream:
        if options.shuffle_buffer is not None:
            raise UserError("--shuffle-buffer: only with --stream; without it all are shuffled")
        return
    conflicts = {
        "several datasets": bool(options.more_datasets),
        "--real-train": options.real_train is not None,
        "--skip-unreadable": options.skip_unreadable,
        "--pixel-memory": options.pixel_memory is not None,
    }
    for name in [name for name, given in conflicts.items() if given]:
        raise UserError(
            f"--stream: reads one dataset over the network and cannot be combined with {name}; "
            "omit --stream, which downloads the files once"
        )


def choose_preset(options: TrainOptions) -> tuple[TrainOptions, str]:
    """Choose a preset if the user chose none: `quick` would ruin pretrained weights."""
    if options.preset is not None:
        return options, options.preset
    preset = "finetune" if options.pretrained else "quick"
    if options.pretrained:
        option = "--weights" if options.weights else "--pretrained"
        log_once(f"{option}: using preset finetune; choose another with --preset")
    return replace(options, preset=preset), preset


def check_weights_are_loaded(options: TrainOptions) -> None:
    """Reject options that need pretrained weights if none are loaded."""
    if options.weights is not None and ":" in options.model:
        raise UserError(
            f"--weights and --model {options.model} both name weights; give the architecture's "
            "name as --model, or remove --weights"
        )
    if options.pretrained:
        return
    if options.head_only:
        raise UserError("--head-only needs pretrained weights; add --pretrained or --weights")
    if options.preset == "finetune":
        raise UserError(
            "--preset finetune needs pretrained weights; add --pretrained or --weights, or choose "
            "another preset"
        )
    if ":" in options.model:
        raise UserError(
            f"--model {options.model}: its weights are loaded only with --pretrained; add it, or "
            "use the architecture's name to start from random weights"
        )


def check_push(options: TrainOptions) -> None:
    """Check first: hours of training must not be lost to a mistyped name or a read-only token."""
    if options.push_to is None:
        return
    from factory.hub.ids import parse_target
    from factory.hub.publish import check_may_push, writing_session

    session = writing_session(parse_target(options.push_to, "model"), tag=options.push_tag)
    check_may_push(session, private=options.push_private)


def resolve_preset(options: TrainOptions, preset: str) -> tuple[TrainOptions, Hyperparameters]:
    """Return options with the preset's model arguments, and the hyperparameters."""
    values = presets.resolve(
        preset,
        model=options.model,
        overrides=options.overrides,
        augmentation=options.augmentation,
        note=log_once,
    )
    stem = own_stem(
        values.stem,
        pretrained=options.pretrained,
        preset=preset,
        asked="stem" in options.overrides,
        note=log_once,
    )
    values = values.model_copy(update={"stem": stem})
    own = presets.model_args(preset, options.model)
    return replace(options, model_args={**own, **options.model_args}), values


def check_files(options: TrainOptions, values: Hyperparameters) -> None:
    """Check the model's name, its weights and the run folder before the processes are joined."""
    from train.model import check_model_name, quieten_timm
    from train.optimizer import check_optimizer
    from train.policies import check_policy
    from train.teacher import check_distillation
    from train.trackers import check_trackers
    from train.weights import check_weights_file

    quieten_timm()
    check_model_name(options.model)
    if values.stem == "small":
        with_small_stem(options.model, options.model_args)
    check_optimizer(values)
    check_policy(values)
    if values.split_bn and options.real_train is None:
        raise UserError("--split-bn needs --real-train: it separates real from generated images")
    check_distillation(values, teacher=options.teacher)
    check_trackers(options.log_with)
    if options.weights is not None:
        check_weights_file(options.weights)
    check_folder(options.out)


def log_once(text: str) -> None:
    """Log from the first process only, before accelerate has numbered them."""
    if launched_as()[0] == 0:
        log(text)
