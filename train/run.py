"""Run one training: open the dataset, check the options, lock the run folder, train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.common.console import launched_as, log
from factory.common.devices import reporting_lack_of_memory
from factory.common.errors import UserError
from factory.data.row_counts import class_counts
from train import presets
from train.architectures import timm_name
from train.config import Hyperparameters, RunConfig
from train.mixing import short_name
from train.run_folder import check_folder, claim, only_run

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

    from factory.data.open import OpenedDataset
    from train.data import LabelledPixels
    from train.loop import Trainer

_FEWER_PIXELS = "lower --image-size or --images-per-class: all pixels are held in memory"


@dataclass(frozen=True)
class TrainOptions:
    """Options of a training run.

    Attributes:
        dataset: Directory (text or path), Hub id or `hf://` path.
        model: timm model name, or one of Table 2 (`train.architectures`).
        out: The run folder (text or path).
        more_datasets: Further datasets to train on, with the classes of the first.
        real_train: Dataset of real images to train on as well, or None.
        mix: Share of each dataset in an epoch, in sum 1; None for every image once.
        config_name: Config of the dataset, or None for its default.
        split: Split, or None for its only one or `train`.
        row_filter: Expression over metadata columns, or None.
        images_per_class: Rows to sample per class, or None for all.
        image_column: Column of images, or None for the only one.
        label_column: Column of labels, or None for the only one.
        skip_unreadable: Skip images that cannot be read.
        preset: A key of `train.presets.PRESETS`; None is `finetune` for a pretrained model, else
            `quick`.
        pretrained: Start from timm's weights.
        weights: File of pretrained weights to start from instead (text or path), or None.
        head_only: Train the last layer only.
        model_args: Further arguments of `timm.create_model`; must be JSON values.
        overrides: Fields of `Hyperparameters` that override the preset's.
        augmentation: Fields of `Augmentation` that override the preset's.
        seed: Seed of all random choices.
        threads: CPU threads per process, or None for those of the run's earlier epochs, else all
            cores. Rounding depends on their number.
        device: Type of device to train on; `auto` chooses one.
        push_to: Model repository `ORG/NAME` to publish the finished run in, or None.
        push_revision: Branch to publish on, created if missing, or None for the default one.
        push_private: Make that repository private.
        push_tag: Tag for the commit, or None.
        push_message: Message of the commit, or None.
        allow_empty_classes: Train even if classes have no images.
        push_replace_card: Overwrite edits of the card on the Hub instead of stopping.
    """

    dataset: str
    model: str
    out: Path
    more_datasets: tuple[str, ...] = ()
    real_train: str | None = None
    mix: tuple[float, ...] | None = None
    config_name: str | None = None
    split: str | None = None
    row_filter: str | None = None
    images_per_class: int | None = None
    image_column: str | None = None
    label_column: str | None = None
    skip_unreadable: bool = False
    preset: str | None = None
    pretrained: bool = False
    weights: Path | None = None
    head_only: bool = False
    model_args: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    threads: int | None = None
    device: str = "auto"
    push_to: str | None = None
    push_revision: str | None = None
    push_private: bool = False
    push_tag: str | None = None
    push_message: str | None = None
    push_replace_card: bool = False
    allow_empty_classes: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", str(self.dataset))
        object.__setattr__(self, "out", Path(self.out))
        if self.weights is not None:
            object.__setattr__(self, "weights", Path(self.weights))
            object.__setattr__(self, "pretrained", True)


@dataclass(frozen=True)
class RunSummary:
    """Result of a run.

    Attributes:
        out: The run folder.
        epochs: Total number of epochs.
        best_epoch: Epoch of the saved weights, from 1.
        best_val_top1: Its accuracy on held-out training images, 0 to 1; None without any.
        val_by_dataset: The same for each of several datasets, by name.
        num_real_images: Images that were given as real ones, held-out ones included.
        is_main_process: True in the process that prints the summary.
    """

    out: Path
    epochs: int
    best_epoch: int
    best_val_top1: float | None
    is_main_process: bool
    val_by_dataset: Mapping[str, float | None] = field(default_factory=dict)
    num_real_images: int = 0


def train(options: TrainOptions) -> RunSummary:
    """Train a model, or resume the run in `options.out`.

    It can be killed at any time: the same call resumes after the last finished epoch and gives the
    same weights.

    Raises:
        UserError: The user can fix the input; nothing was trained.
        Failure: The loss is not finite.
    """
    from train.environment import join_launch

    options, preset = _choose_preset(replace(options, model=timm_name(options.model)))
    _check_weights_are_loaded(options)
    _check_push(options)
    options, values = _resolve_preset(options, preset)
    _check_files(options)
    accelerator = join_launch(options.device)
    trainer = _fit(options, values, preset, accelerator)
    summary = RunSummary(
        out=options.out,
        epochs=trainer.epochs_done,
        best_epoch=trainer.best_epoch,
        best_val_top1=trainer.best_val_top1,
        is_main_process=accelerator.is_main_process,
        val_by_dataset=_by_dataset(trainer),
        num_real_images=trainer.config.data.num_real_images,
    )
    accelerator.end_training()
    return summary


def _check_push(options: TrainOptions) -> None:
    """Check first: hours of training must not be lost to a mistyped name or a read-only token."""
    if options.push_to is None:
        return
    from factory.hub.ids import parse_target
    from factory.hub.publish import check_may_push, writing_session

    session = writing_session(parse_target(options.push_to, "model"), tag=options.push_tag)
    check_may_push(session, private=options.push_private)


def _resolve_preset(options: TrainOptions, preset: str) -> tuple[TrainOptions, Hyperparameters]:
    """Return options with the preset's model arguments, and the hyperparameters."""
    values = presets.resolve(
        preset,
        model=options.model,
        overrides=options.overrides,
        augmentation=options.augmentation,
        note=_log_once,
    )
    own = presets.model_args(preset, options.model)
    return replace(options, model_args={**own, **options.model_args}), values


def _check_files(options: TrainOptions) -> None:
    """Check the model's name, its weights and the run folder before the processes are joined."""
    from train.model import check_model_name, quieten_timm
    from train.weights import check_weights_file

    quieten_timm()
    check_model_name(options.model)
    if options.weights is not None:
        check_weights_file(options.weights)
    check_folder(options.out)


def _fit(
    options: TrainOptions, values: Hyperparameters, preset: str, accelerator: Accelerator
) -> Trainer:
    """Open and decode the datasets, claim the run folder and train in it."""
    from train.loop import Trainer, split_rows

    threads = _set_threads(options, shows=accelerator.is_main_process)
    with ExitStack() as until_the_end:
        with reporting_lack_of_memory(_FEWER_PIXELS):
            opened, values = _open(options, values, accelerator)
        # Borders have the colour of the mean, which a pretrained model brings with it.
        model, values = _create_model(options, values, num_classes=len(opened[0].label_names))
        with reporting_lack_of_memory(_FEWER_PIXELS):
            data, check = _decode(options, values, accelerator, until_the_end, opened)
        config = _run_config(options, values, preset=preset, data=data, opened=opened)
        # Invalid input is rejected before the folder is claimed.
        split_rows(data, config, world_size=accelerator.num_processes)
        # Other processes wait until the folder is claimed, then only read it.
        with accelerator.main_process_first():
            claim(options.out, config)
        with reporting_lack_of_memory(_more_memory(values)):
            trainer = Trainer(
                model,
                data,
                config=config,
                accelerator=accelerator,
                out=options.out,
                check_folder=check,
            )
            _record_environment(options.out, trainer, threads=threads)
            trainer.fit()
    return trainer


def _more_memory(values: Hyperparameters) -> str:
    parts = 2 * values.accumulate
    return (
        f"keep --total-batch-size {values.batch_size} and accumulate its gradients over smaller "
        f"parts with --accumulate {parts}, or lower --total-batch-size, which trains differently; "
        "another run needs another --out"
    )


def _choose_preset(options: TrainOptions) -> tuple[TrainOptions, str]:
    """Choose a preset if the user chose none: `quick` would ruin pretrained weights."""
    if options.preset is not None:
        return options, options.preset
    preset = "finetune" if options.pretrained else "quick"
    if options.pretrained:
        option = "--weights" if options.weights else "--pretrained"
        _log_once(f"{option}: using preset finetune; choose another with --preset")
    return replace(options, preset=preset), preset


def _check_weights_are_loaded(options: TrainOptions) -> None:
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


def _record_environment(out: Path, trainer: Trainer, *, threads: int) -> None:
    from train.environment import current_environment, record_environment

    accelerator, done = trainer.accelerator, trainer.epochs_done
    if accelerator.is_main_process and done < trainer.config.hyperparameters.epochs:
        now = current_environment(accelerator, threads=threads, from_epoch=done + 1)
        record_environment(out, now)


def _log_once(text: str) -> None:
    """Log from the first process only, before accelerate has numbered them."""
    if launched_as()[0] == 0:
        log(text)


def _by_dataset(trainer: Trainer) -> dict[str, float | None]:
    """Return the accuracy of the saved weights on the held-out images of each dataset."""
    best = trainer.metrics[trainer.best_epoch - 1]
    return {
        f"{number}: {short_name(one.reference, one.config_name)}": best.get(f"val_top1_{number}")
        for number, one in enumerate(trainer.config.data.sources, 1)
    }


def _open(
    options: TrainOptions, values: Hyperparameters, accelerator: Accelerator
) -> tuple[list[OpenedDataset], Hyperparameters]:
    """Open the datasets; return them and the values with the size of their images."""
    from train.data import image_side, report_counts
    from train.sources import open_all

    opened = open_all(options, accelerator)
    # Of several datasets, one may lack a class that another one has.
    allow_empty = options.allow_empty_classes or len(opened) > 1
    for one in opened:
        report_counts(one, allow_empty=allow_empty, fit=values.fit, note=_log_once)
    side = image_side(opened[0], values.image_size)
    return opened, values.model_copy(update={"image_size": side})


def _decode(
    options: TrainOptions,
    values: Hyperparameters,
    accelerator: Accelerator,
    until_the_end: ExitStack,
    opened: Sequence[OpenedDataset],
) -> tuple[LabelledPixels, Callable[[], None] | None]:
    """Lock the run folder and decode; return pixels and a check that the folder is the same."""
    from train.data import load_pixels, require_images
    from train.mixing import joined

    # Only now, so that a rejected dataset leaves no empty folder behind.
    options.out.mkdir(parents=True, exist_ok=True)
    # Processes of one launch share the run; the first one locks out other launches before any of
    # them writes a file.
    check: Callable[[], None] | None = None
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            check = until_the_end.enter_context(only_run(options.out))
    parts = [
        load_pixels(one, values=values, accelerator=accelerator, out=options.out) for one in opened
    ]
    data = joined(parts, opened)
    if len(opened) > 1 and not options.allow_empty_classes:
        shown = " and ".join(one.shown for one in opened)
        require_images(class_counts(data.labels, data.label_names), shown)
    return data, check


def _create_model(
    options: TrainOptions, values: Hyperparameters, *, num_classes: int
) -> tuple[nn.Module, Hyperparameters]:
    import torch

    from train.initialisation import initialise_as_torchvision
    from train.model import create_classifier, pixel_statistics
    from train.uniforms import stream_seed
    from train.weights import load_weights

    if values.image_size is None:
        raise AssertionError("the image size is resolved with the data")
    torch.manual_seed(stream_seed(options.seed))
    model = create_classifier(
        options.model,
        num_classes=num_classes,
        side=values.image_size,
        pretrained=options.pretrained and options.weights is None,
        model_args=options.model_args,
    )
    if options.weights is not None:
        load_weights(model, options.weights, name=options.model)
    if values.initialisation == "torchvision" and not options.pretrained:
        initialise_as_torchvision(model)
    _note_small_map(model, options.model, side=values.image_size)
    mean, std = pixel_statistics(model, pretrained=options.pretrained)
    return model, values.model_copy(
        update={
            "mean": mean if values.mean is None else values.mean,
            "std": std if values.std is None else values.std,
        }
    )


def _note_small_map(model: nn.Module, name: str, *, side: int) -> None:
    """Log a warning if a model reduces such small images to one position per channel."""
    from train.model import reduction_of

    factor = reduction_of(model)
    if factor >= side:
        _log_once(
            f"{name} reduces each side {factor}-fold, so its last feature map of {side} px images "
            f"is 1x1; --image-size {4 * side} enlarges the images for such a model"
        )


def _run_config(
    options: TrainOptions,
    values: Hyperparameters,
    *,
    preset: str,
    data: LabelledPixels,
    opened: Sequence[OpenedDataset],
) -> RunConfig:
    from train.sources import data_source
    from train.weights import check_weights_file

    return RunConfig(
        model=options.model,
        pretrained=options.pretrained,
        weights=options.weights.name if options.weights else None,
        weights_sha256=check_weights_file(options.weights) if options.weights else None,
        head_only=options.head_only,
        model_args=dict(options.model_args),
        preset=preset,
        seed=options.seed,
        mix=options.mix,
        data=data_source(options, data, opened),
        hyperparameters=values,
    )


def _set_threads(options: TrainOptions, *, shows: bool) -> int:
    import torch

    from factory.common.devices import choose_threads
    from train.environment import last_threads

    if options.threads is not None and options.threads < 1:
        raise UserError(f"--threads {options.threads}: must be 1 or more")
    threads = choose_threads(options.threads or last_threads(options.out), shows=shows)
    torch.set_num_threads(threads)
    return threads
