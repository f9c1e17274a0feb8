"""Build settings: how the rows of a plan become images.

Most change only rounding; cache and quantization change what an image shows.
They are fixed at the first start of a build and recorded in the manifest. Later builds of the same
directory use the recorded settings, so that all images are generated in the same way.
"""

import platform
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from factory.common import console
from factory.common.errors import UserError
from factory.common.imports import without_garbage_collection
from factory.common.text import expected_word
from factory.models.inference import INFERENCE_SETTINGS, BatchSettings, InferenceSettings

DTYPES = ("float32", "bfloat16", "float16")
DEVICES = ("cpu", "cuda", "mps", "xpu")
_BATCH_SIZE = 32
# Large enough to read fast, small enough that a crash or preemption costs only minutes.
_SHARD_SIZE = 500


@dataclass(frozen=True, kw_only=True)
class BuildSettings(InferenceSettings):
    """Settings requested by the user; None and `auto` mean: as recorded, else as described below.

    Attributes:
        batch_size: Images per call of the model and process; `auto`: measured by the launch that
            begins the dataset.
        shard_size: Images per Parquet file; ideally a multiple of the batch size.
        dtype: `float32`, `bfloat16`, `float16` or `auto`: bfloat16 if the hardware supports it.
        threads: CPU threads per process; default 1, so that bytes do not depend on the launch.
        device: `cpu`, `cuda`, `mps`, `xpu` or `auto`.
        attempts: Maximum attempts per image when the result is black, uniform or not finite.
        guidance_interval: Sets `sampling.guidance_interval` of all recipes, unless the dataset
            records it as a setting.
        offload: `group`, `model` or `sequential`. It changes no byte, so every launch has its own.
    """

    batch_size: int | Literal["auto"] | None = None
    shard_size: int | None = None
    dtype: str = "auto"
    threads: int | None = None
    device: str = "auto"
    attempts: int | None = None
    offload: str | None = None


@dataclass(frozen=True, kw_only=True)
class FixedSettings(InferenceSettings, BatchSettings):
    """Settings of a dataset; recorded in its manifest.

    A dataclass takes the fields of its last base first: cards and messages name them in this order.
    """

    @property
    def inference(self) -> InferenceSettings:
        """Settings of the models.

        Raises:
            UserError: The manifest has a value that cannot be read.
        """
        given: dict[str, Any] = {name: getattr(self, name) for name in INFERENCE_SETTINGS}
        return InferenceSettings(**given).canonical()

    def as_dict(self) -> dict[str, int | str]:
        """Return the settings in use as plain values.

        Those that are not used are left out, so that shards keep the names of older versions.
        """
        # `asdict` copies deeply, which takes most of the time of naming a shard.
        return {name: value for name, value in vars(self).items() if value is not None}


def fix(
    wanted: BuildSettings,
    *,
    recorded: FixedSettings | None,
    device: str,
    out: str,
    automatic: int | None = None,
) -> FixedSettings:
    """Determine the settings of a build.

    Args:
        wanted: Settings of this launch.
        recorded: Those of the dataset; None for a new one.
        device: Kind of the device of this launch.
        out: Dataset directory, for messages.
        automatic: Batch size of a new dataset for `auto`; None until it is measured, which counts
            as the default.

    Raises:
        UserError: A value is out of range, or differs from the recorded one.
    """
    _require_valid(wanted)
    wanted = wanted.canonical()
    if recorded is None or recorded.guidance_interval is None:
        # It sets a key of the recipes (`factory.builder.interval_option`).
        wanted = replace(wanted, guidance_interval=None)
    if recorded is not None:
        _require_same(wanted, recorded, device=device, out=out)
    for other in ("cache", "offload"):
        if (recorded or wanted).compile and getattr(wanted, other):
            remedy = "one of them" if recorded is None else f"--{other}"
            raise UserError(f"--compile cannot be used with --{other}; remove {remedy}")
    reuse = (recorded or wanted).reuse
    if reuse and reuse.kind == "cache-dit" and wanted.offload == "group":
        raise UserError(
            "--cache cache-dit cannot be used with --offload group, which cache-dit does not "
            "support; use --offload model"
        )
    if recorded is not None:
        return recorded
    given = automatic if wanted.batch_size == "auto" else wanted.batch_size
    batch_size = given or _BATCH_SIZE
    # False means the same as None, which is not recorded.
    used: dict[str, Any] = {name: getattr(wanted, name) or None for name in INFERENCE_SETTINGS}
    if wanted.dtype == "auto":
        used["dtype"] = _auto_dtype(device)
    return FixedSettings(
        batch_size=batch_size,
        shard_size=wanted.shard_size or -(-_SHARD_SIZE // batch_size) * batch_size,
        threads=wanted.threads or 1,
        device=device,
        attempts=wanted.attempts or BatchSettings.attempts,
        **used,
    )


def warn_of_padding(settings: FixedSettings) -> None:
    """Warn about a shard size that is not a multiple of the batch size."""
    shard_size, batch_size = settings.shard_size, settings.batch_size
    if shard_size % batch_size == 0:
        return
    padded = -(-shard_size // batch_size) * batch_size
    console.log(
        f"shard size {shard_size} is not a multiple of batch size {batch_size}: the last batch of "
        f"every shard is padded, so {padded} images are generated to keep {shard_size}; "
        f"use --shard-size {padded} to avoid this"
    )


def _require_valid(wanted: BuildSettings) -> None:
    for name in ("batch_size", "shard_size", "threads", "attempts"):
        value = getattr(wanted, name)
        if value not in (None, "auto") and value < 1:
            raise UserError(f"{name} {value}: expected 1 or more")
    if wanted.batch_size == "auto" and (reuse := wanted.reuse) and reuse.decides_per_batch:
        raise UserError(
            f"--batch-size auto cannot be used with --cache {wanted.cache}, which needs a number "
            "that divides the images of each config; give one"
        )
    if wanted.batch_size == "auto" and wanted.compile:
        raise UserError(
            "--batch-size auto cannot be used with --compile, which would translate the network "
            "for every size; give a number"
        )
    if wanted.fuse_adapters and wanted.quantize:
        raise UserError(
            "--fuse-adapters cannot be used with --quantize: after merging, weights would be "
            "rounded to 8 or 4 bits again; remove one of them"
        )
    for name, known in (("dtype", DTYPES), ("device", DEVICES)):
        value = getattr(wanted, name)
        if value not in ("auto", *known):
            raise UserError(f"{name} {value}: {expected_word(str(value), ('auto', *known))}")


def _require_same(wanted: BuildSettings, recorded: FixedSettings, *, device: str, out: str) -> None:
    asked = {field.name: getattr(wanted, field.name) for field in fields(FixedSettings)}
    there = recorded.as_dict()
    changed = [
        f"{name} {value} (recorded: {there.get(name, 'not used')})"
        for name, value in asked.items()
        if value not in (None, "auto", there.get(name))
    ]
    if changed:
        raise UserError(
            f"{out}: was started with other settings than requested: {', '.join(changed)}; "
            "remove these options to resume with the recorded settings, or build into another "
            "directory"
        )
    if device != recorded.device:
        raise UserError(
            f"{out}: was started on {recorded.device}, but this machine has {device}; pixels would "
            f"differ: resume on a {recorded.device} device, or build into another directory"
        )


def _auto_dtype(device: str) -> str:
    if device in ("cuda", "xpu"):
        return "bfloat16"
    return "bfloat16" if device == "cpu" and _cpu_has_bfloat16() else "float32"


def _cpu_has_bfloat16() -> bool:
    """Return whether the CPU has bfloat16 instructions; emulation is a hundred times slower."""
    with without_garbage_collection():
        import torch

    if platform.machine() in ("x86_64", "AMD64"):
        # PyTorch has no public function for this; its own tests use these.
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
