"""Resolve and check the options of a run, before anything is opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from factory.common.console import launched_as, log
from factory.common.errors import UserError
from factory.common.row_options import row_options
from factory.data.early_checks import check_rows
from factory.hub.ids import is_model_id
from factory.models.model_folder import check_model_folder
from train import presets
from train.model_name import check_model_name
from train.optimizer import check_optimizer
from train.options import TrainOptions
from train.pixel_memory import check_memory
from train.policies import check_policy
from train.run_folder import check_folder
from train.settings import Hyperparameters
from train.stems import own_stem, with_small_stem
from train.trackers import check_trackers

OF_REAL_TRAIN = "--real-train"
"""Form of `row_options` for --real-train, to which no option that chooses rows applies."""


def check_datasets(options: TrainOptions) -> None:
    """Check first: a mistyped folder, config or split must not wait for torch to be imported.

    Raises:
        UserError: See `check_rows`, or a dataset to stream is on this machine.
    """
    if options.stream:
        from factory.data.open_stream import require_hub_id

        require_hub_id(options.dataset)
        return
    for reference in (options.dataset, *options.more_datasets):
        check_rows(
            reference,
            config_name=options.config_name,
            split=options.split,
            row_filter=options.row_filter,
            columns=(options.image_column, options.label_column),
        )
    if options.real_train is not None:
        with row_options(OF_REAL_TRAIN):
            check_rows(options.real_train)


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


def check_names(options: TrainOptions, values: Hyperparameters) -> None:
    """Check names of libraries, the weights, the teacher and the run folder; nothing is imported.

    Raises:
        UserError: One of them does not exist or is something else.
    """
    _check_library_names(options, values)
    check_memory(options.pixel_memory)
    if values.split_bn and options.real_train is None:
        raise UserError("--split-bn needs --real-train: it separates real from generated images")
    _check_distillation(values, teacher=options.teacher)
    if options.weights is not None:
        _check_weights_file(options.weights)
    check_folder(options.out)


def check_libraries(options: TrainOptions, values: Hyperparameters) -> None:
    """Check what only timm and accelerate know, before the processes are joined."""
    # Names are looked up in them now.
    import accelerate.tracking  # noqa: F401
    import timm  # noqa: F401

    from train.model import quieten_timm

    quieten_timm()
    _check_library_names(options, values)
    if values.stem == "small":
        with_small_stem(options.model, options.model_args)


def _check_library_names(options: TrainOptions, values: Hyperparameters) -> None:
    """Check names of the libraries; once more when they are imported, which know all of them.

    Raises:
        UserError: One is unknown.
    """
    check_model_name(options.model)
    check_optimizer(values)
    check_policy(values)
    check_trackers(options.log_with)


def _check_weights_file(path: Path) -> None:
    if path.is_dir():
        raise UserError(
            f"--weights {path}: is a folder; name a file in it, or load a run folder with "
            f"--model local-dir:{path} --pretrained"
        )
    if not path.is_file():
        raise UserError(f"--weights {path}: file not found")


def _check_distillation(values: Hyperparameters, *, teacher: str | None) -> None:
    """Check that options of distillation have a teacher, and that a run on this machine exists.

    Raises:
        UserError: They have none, or it is no run.
    """
    place = (teacher or "").removeprefix("local-dir:")
    if place and not is_model_id(place):
        check_model_folder(Path(place), f"--teacher {place}")
    for name in ("distill_weight", "distill_temperature"):
        if teacher is None and getattr(values, name) != type(values).model_fields[name].default:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"{option} needs --teacher; add it, or remove {option}")


def log_once(text: str) -> None:
    """Log from the first process only, before accelerate has numbered them."""
    if launched_as()[0] == 0:
        log(text)
