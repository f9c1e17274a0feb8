"""Run one training: open the dataset, check the options, lock the run folder, train."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.allocator import keep_freed_memory
from factory.common.console import log_loading
from factory.common.devices import reporting_lack_of_memory
from factory.common.errors import UserError
from factory.common.imports import without_garbage_collection
from factory.common.resources import cores_per_process
from factory.common.text import plural
from factory.common.whole_files import sha256
from factory.data.sampling_record import held_out_kind
from train.architectures import timm_name
from train.choices import (
    check_datasets,
    check_libraries,
    check_names,
    check_push,
    check_stream,
    check_weights_are_loaded,
    choose_preset,
    log_once,
    resolve_preset,
)
from train.claim import check_same_run, claim
from train.config import Pixels, RunConfig
from train.duplicates import report_duplicates
from train.mixing import short_name
from train.opening import decode, open_datasets
from train.options import RunSummary, TrainOptions, shuffle_buffer
from train.settings import Hyperparameters
from train.trackers import start_trackers

if TYPE_CHECKING:
    from accelerate import Accelerator

    from factory.data.open import OpenedDataset
    from train.data import LabelledPixels
    from train.image_files import LabelledFiles
    from train.loop import Trainer
    from train.teacher import Teacher

__all__ = ["RunSummary", "TrainOptions", "train"]

_FEWER_PIXELS = "lower --image-size or --pixel-memory: below it, pixels are held in memory"


def train(options: TrainOptions) -> RunSummary:
    """Train a model, or resume the run in `options.out`.

    It can be killed at any time: the same call resumes after the last finished epoch and gives the
    same weights.

    Raises:
        UserError: The user can fix the input; nothing was trained.
        Failure: The loss is not finite.
    """
    check_stream(options)
    check_datasets(options)
    more = f" and {plural(others, 'more dataset')}" if (others := _further(options)) else ""
    log_once(f"training {options.model} on {options.dataset}{more}: {options.out}")
    options, values, preset, accelerator = _resolve(options)
    trainer = _fit(options, values, preset, accelerator)
    summary = RunSummary(
        out=options.out,
        epochs=trainer.records.epochs_done,
        best_epoch=trainer.records.best_epoch,
        best_val_top1=trainer.records.best_val_top1,
        best_val_map=trainer.records.metrics[trainer.records.best_epoch - 1].get("val_map"),
        is_main_process=accelerator.is_main_process,
        val_by_dataset=_by_dataset(trainer),
        num_real_images=trainer.config.data.num_real_images,
        num_val_images=len(trainer.rows.val),
        val_kind=held_out_kind(trainer.config.data.model_dump()),
    )
    accelerator.end_training()
    return summary


def _further(options: TrainOptions) -> int:
    return len(options.more_datasets) + (options.real_train is not None)


@without_garbage_collection()
def _resolve(options: TrainOptions) -> tuple[TrainOptions, Hyperparameters, str, Accelerator]:
    """Resolve and check the options, and join the launch: most libraries are imported here."""
    options = replace(options, model=timm_name(options.model))
    was_chosen = options.preset is not None
    options, preset = choose_preset(options)
    check_weights_are_loaded(options)
    check_push(options)
    options, values = resolve_preset(options, preset)
    check_names(options, values)
    check_same_run(options.out, options, values, preset)
    log_loading()

    from train.environment import accelerate_options, join_launch
    from train.weights_input import with_input_of_weights

    check_libraries(options, values)
    if options.pretrained and options.weights is None:
        chosen = None if was_chosen else options.overrides
        values = with_input_of_weights(values, options.model, chosen=chosen, note=log_once)
    return options, values, preset, join_launch(options.device, **accelerate_options(options))


def _fit(
    options: TrainOptions, values: Hyperparameters, preset: str, accelerator: Accelerator
) -> Trainer:
    """Open and decode the datasets, claim the run folder and train in it."""
    from train.first_model import create_model
    from train.loop import Trainer
    from train.rows import RunRows
    from train.teacher import load_teacher

    threads = _set_threads(options, shows=accelerator.is_main_process)
    with ExitStack() as until_the_end:
        with reporting_lack_of_memory(_FEWER_PIXELS):
            opened, values = open_datasets(options, values, accelerator)
        # Borders have the colour of the mean, which a pretrained model brings with it.
        model, values = create_model(options, values, num_classes=len(opened[0].label_names))
        with reporting_lack_of_memory(_FEWER_PIXELS):
            data, check = decode(options, values, accelerator, until_the_end, opened)
        teacher = None
        if options.teacher is not None:
            teacher = load_teacher(options.teacher, data.label_names)
        config = _run_config(
            options, values, preset=preset, data=data, opened=opened, teacher=teacher
        )
        # Invalid input is rejected before the folder is claimed.
        rows = RunRows(data, config, world_size=accelerator.num_processes)
        if accelerator.is_main_process and not options.stream:
            report_duplicates(
                data.digests,
                data.labels,
                train_rows=rows.train,
                val_rows=rows.val,
                note=log_once,
            )
        # Other processes wait until the folder is claimed, then only read it.
        with accelerator.main_process_first():
            claim(options.out, config)
        if accelerator.device.type == "cpu":
            keep_freed_memory()
        with reporting_lack_of_memory(_more_memory(values)):
            trainer = Trainer(
                model,
                data,
                config=config,
                accelerator=accelerator,
                out=options.out,
                teacher=teacher,
                check_folder=check,
                recovery_interval=options.recovery_interval,
                workers=cores_per_process() if options.workers is None else options.workers,
            )
            _record_environment(options.out, trainer, threads=threads)
            start_trackers(accelerator, config, name=options.out.name)
            trainer.fit()
    return trainer


def _more_memory(values: Hyperparameters) -> str:
    parts = 2 * values.accumulate
    return (
        f"keep --total-batch-size {values.batch_size} and accumulate its gradients over smaller "
        f"parts with --accumulate {parts}, or lower --total-batch-size, which trains differently; "
        "another run needs another --out"
    )


def _record_environment(out: Path, trainer: Trainer, *, threads: int) -> None:
    from train.environment import current_environment, record_environment

    accelerator, done = trainer.accelerator, trainer.records.epochs_done
    if accelerator.is_main_process and done < trainer.config.hyperparameters.epochs:
        now = current_environment(accelerator, threads=threads, from_epoch=done + 1)
        record_environment(out, now, within_epoch=trainer.records.middle is not None)


def _by_dataset(trainer: Trainer) -> dict[str, float | None]:
    """Return the accuracy of the saved weights on the held-out images of each dataset."""
    best = trainer.records.metrics[trainer.records.best_epoch - 1]
    return {
        f"{number}: {short_name(one.reference, one.config_name)}": best.get(f"val_top1_{number}")
        for number, one in enumerate(trainer.config.data.sources, 1)
    }


def _run_config(
    options: TrainOptions,
    values: Hyperparameters,
    *,
    preset: str,
    data: LabelledPixels | LabelledFiles,
    opened: Sequence[OpenedDataset],
    teacher: Teacher | None,
) -> RunConfig:
    from train.sources import data_source

    return RunConfig(
        model=options.model,
        pretrained=options.pretrained,
        weights=options.weights.name if options.weights else None,
        weights_sha256=sha256(options.weights) if options.weights else None,
        head_only=options.head_only,
        teacher=options.teacher,
        teacher_sha256=teacher.sha256 if teacher is not None else None,
        model_args=dict(options.model_args),
        preset=preset,
        overrides={**options.overrides, "augmentation": options.augmentation},
        seed=options.seed,
        mix=options.mix,
        pixels=_pixels(data),
        shuffle_buffer=shuffle_buffer(options) if options.stream else None,
        data=data_source(options, data, opened),
        hyperparameters=values,
    )


def _pixels(data: LabelledPixels | LabelledFiles) -> Pixels:
    from train.image_files import LabelledFiles

    if not isinstance(data, LabelledFiles):
        return "memory"
    return "files" if data.parts is None else "stream"


def _set_threads(options: TrainOptions, *, shows: bool) -> int:
    import torch

    from factory.common.devices import choose_threads
    from train.environment import last_threads

    if options.threads is not None and options.threads < 1:
        raise UserError(f"--threads {options.threads}: expected 1 or more")
    threads = choose_threads(options.threads or last_threads(options.out), shows=shows)
    torch.set_num_threads(threads)
    return threads
