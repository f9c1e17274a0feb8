"""Record the environment of a run in `config.yaml`.

Each launch trains a stretch of epochs, and may have another environment than the one before.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from factory.common.console import log
from factory.common.devices import device_name, joining_processes, on_cpus, require_device
from factory.common.errors import UserError, first_line
from factory.common.text import expected_word
from train.config import Environment, differing_keys
from train.options import TrainOptions
from train.run_folder import CONFIG, read_config, write_config

if TYPE_CHECKING:
    from accelerate import Accelerator

_PACKAGES = ("torch", "timm", "accelerate", "datasets", "numpy", "pillow")
_SHARDED = ("DEEPSPEED", "FSDP", "MEGATRON_LM")
_PRECISIONS = {"no": "float32", "fp16": "float16", "bf16": "bfloat16"}


def accelerate_options(options: TrainOptions) -> dict[str, Any]:
    """Return the arguments of `accelerate.Accelerator` that the user set."""
    given: dict[str, Any] = {}
    if options.mixed_precision is not None:
        given["mixed_precision"] = options.mixed_precision
    if options.torchcompile is not None:
        _check_backend(options.torchcompile)
        given["dynamo_backend"] = options.torchcompile
    if options.log_with:
        given |= {"log_with": list(options.log_with), "project_dir": str(options.out)}
    return given


def _check_backend(name: str) -> None:
    from accelerate.utils import DynamoBackend

    known = [one.value.lower() for one in DynamoBackend]
    if name.lower() not in known:
        raise UserError(f"--torchcompile {name}: {expected_word(name, known)}")


def join_launch(device: str = "auto", **options: Any) -> Accelerator:
    """Join the processes of the launch.

    Raises:
        UserError: The launch's variables are contradictory, or it requests something unsupported.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # A second training in one process would get the precision and compiler of the first.
    AcceleratorState._reset_state()
    with joining_processes():
        try:
            accelerator = Accelerator(cpu=device == "cpu" or on_cpus(), **options)
        except ValueError as error:
            # A precision that the device lacks.
            raise UserError(f"accelerate cannot start: {first_line(error)}") from None
    require_device(device, accelerator.device)
    steps, kind = accelerator.gradient_accumulation_steps, accelerator.distributed_type.value
    if steps != 1:
        # accelerate would divide every gradient by it.
        raise UserError(
            f"the launch sets gradient accumulation over {steps} steps, which `train` does not "
            "use: remove --gradient_accumulation_steps from the launch line and its config "
            "(ACCELERATE_GRADIENT_ACCUMULATION_STEPS)"
        )
    if kind in _SHARDED:
        raise UserError(
            f"the launch uses {kind}, which splits a model's weights over processes; train "
            "does not support that: choose MULTI_GPU with `accelerate config` or --multi_gpu"
        )
    return accelerator


def current_environment(accelerator: Accelerator, *, threads: int, from_epoch: int) -> Environment:
    """Describe the environment of this launch."""
    kind = accelerator.device.type
    precision = str(accelerator.mixed_precision)
    return Environment(
        from_epoch=from_epoch,
        device=kind,
        device_name=device_name(kind),
        precision=_PRECISIONS.get(precision, precision),
        threads=threads,
        processes=accelerator.num_processes,
        compiled=accelerator.state.dynamo_plugin.backend.value.lower(),
        versions={package: version(package) for package in _PACKAGES},
    )


def last_threads(out: Path) -> int | None:
    """Return the CPU threads of the last recorded part of a run; None if nothing is recorded.

    Raises:
        UserError: The records cannot be read.
    """
    path = out / CONFIG
    recorded = _recorded(read_config(path), path) if path.is_file() else []
    return recorded[-1].threads if recorded else None


def record_environment(out: Path, now: Environment, *, within_epoch: bool = False) -> None:
    """Add an entry to `environments` of `config.yaml` unless the last stretch had the same values.

    Warns in one line when a run resumes with other values. A stretch that was stopped before its
    first epoch ended does not affect the weights, and its entry is replaced, unless the run resumes
    `within_epoch`.

    Raises:
        UserError: The recorded environments cannot be read.
    """
    config = read_config(out / CONFIG)
    last = now.from_epoch if within_epoch else now.from_epoch - 1
    trained = [one for one in _recorded(config, out / CONFIG) if one.from_epoch <= last]
    if last:
        _warn_of_changes(out, trained[-1] if trained else Environment(), now)
    if not trained or _values(trained[-1]) != _values(now):
        trained.append(now)
    entries = [one.model_dump(mode="json") for one in trained]
    if config.get("environments") != entries:
        config.pop("versions", None)
        config["environments"] = entries
        write_config(out / CONFIG, config)


def _warn_of_changes(out: Path, before: Environment, now: Environment) -> None:
    there = _values(before)
    unknown = [name for name, value in there.items() if value is None or value == {}]
    known = {name: value for name, value in there.items() if name not in unknown}
    here = {name: value for name, value in _values(now).items() if name in known}
    changes = differing_keys(known, here)
    if changes:
        log(
            f"{out}: resumes at epoch {now.from_epoch} with other values of {'; '.join(changes)}; "
            "the final weights will differ from those of an uninterrupted run"
        )
    elif unknown:
        log(
            f"{out}: resumes at epoch {now.from_epoch}; its config.yaml does not record "
            f"{', '.join(unknown)} of the earlier epochs, and with other values the final weights "
            "differ from those of an uninterrupted run"
        )


def _recorded(config: dict[str, Any], path: Path) -> list[Environment]:
    """Return the recorded environments, one per stretch of epochs.

    Runs of earlier versions recorded library versions only.
    """
    entries = config.get("environments", [{"versions": config.get("versions", {})}])
    try:
        return [Environment.model_validate(entry) for entry in entries]
    except (ValidationError, TypeError):
        raise UserError(f"{path}: its environments cannot be read; choose another --out") from None


def _values(environment: Environment) -> dict[str, Any]:
    return environment.model_dump(mode="json", exclude={"from_epoch"})
