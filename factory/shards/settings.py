"""Build settings: what decides bytes but not what a picture shows.

They are fixed when a set is begun and recorded in its manifest. A later build of the same directory
takes them from there, so that a set is drawn one way from its first image to its last.
"""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, fields

from factory.common import console
from factory.common.errors import UserError

DTYPES = ("float32", "bfloat16", "float16")
DEVICES = ("cpu", "cuda", "mps", "xpu")
_BATCH_SIZE = 32
# Large enough to read fast, small enough that a crash or a preempted machine costs minutes.
_SHARD_SIZE = 500
_ATTEMPTS = 4


@dataclass(frozen=True)
class BuildSettings:
    """What the user asks for; None and `auto` mean: as recorded, else the default.

    Attributes:
        batch_size: Images a call of the model, per process.
        shard_size: Images a Parquet file; best a multiple of the batch size.
        dtype: `float32`, `bfloat16`, `float16` or `auto`: bfloat16 where the hardware has it.
        threads: CPU threads a process; by default 1, so that bytes do not depend on how a build is
            launched.
        device: `cpu`, `cuda`, `mps`, `xpu` or `auto`.
        attempts: How often an image that comes out black, flat or not finite is drawn before it
            counts as failed.
    """

    batch_size: int | None = None
    shard_size: int | None = None
    dtype: str = "auto"
    threads: int | None = None
    device: str = "auto"
    attempts: int | None = None


@dataclass(frozen=True)
class FixedSettings:
    """What a set is drawn with; recorded in its manifest."""

    batch_size: int
    shard_size: int
    dtype: str
    threads: int
    device: str
    attempts: int = _ATTEMPTS

    def as_dict(self) -> dict[str, int | str]:
        """Return the settings as plain values."""
        return asdict(self)


def fix(
    wanted: BuildSettings, *, recorded: FixedSettings | None, device: str, out: str
) -> FixedSettings:
    """Decide the settings of a build.

    Args:
        wanted: The user's.
        recorded: Those the set was begun with, or None for a new set.
        device: Type of the device that is at hand, e.g. `cuda`.
        out: The set's directory, for messages.

    Raises:
        UserError: a value out of range, or one that differs from the recorded one.
    """
    _require_valid(wanted)
    if recorded is not None:
        _require_same(wanted, recorded, device=device, out=out)
        return recorded
    batch_size = wanted.batch_size or _BATCH_SIZE
    _warn_of_padding(wanted.shard_size, batch_size)
    return FixedSettings(
        batch_size=batch_size,
        shard_size=wanted.shard_size or -(-_SHARD_SIZE // batch_size) * batch_size,
        dtype=_auto_dtype(device) if wanted.dtype == "auto" else wanted.dtype,
        threads=wanted.threads or 1,
        device=device,
        attempts=wanted.attempts or _ATTEMPTS,
    )


def _warn_of_padding(shard_size: int | None, batch_size: int) -> None:
    """Say what a shard size costs that is no multiple of the batch size."""
    if shard_size is None or shard_size % batch_size == 0:
        return
    drawn = -(-shard_size // batch_size) * batch_size
    console.log(
        f"shard size {shard_size} is no multiple of batch size {batch_size}: the last batch of "
        f"every shard is padded, {drawn} images are drawn to keep {shard_size}; "
        f"--shard-size {drawn} wastes none"
    )


def _require_valid(wanted: BuildSettings) -> None:
    for name in ("batch_size", "shard_size", "threads", "attempts"):
        value = getattr(wanted, name)
        if value is not None and value < 1:
            raise UserError(f"{name} is {value}; give 1 or more")
    for name, known in (("dtype", DTYPES), ("device", DEVICES)):
        if getattr(wanted, name) not in ("auto", *known):
            raise UserError(f"{name} is {getattr(wanted, name)}; choose auto, {', '.join(known)}")


def _require_same(wanted: BuildSettings, recorded: FixedSettings, *, device: str, out: str) -> None:
    asked = {field.name: getattr(wanted, field.name) for field in fields(wanted)}
    changed = [
        f"{name} {value} (the set: {getattr(recorded, name)})"
        for name, value in asked.items()
        if value not in (None, "auto", getattr(recorded, name))
    ]
    if changed:
        raise UserError(
            f"{out}: was begun with other settings than asked for: {', '.join(changed)}; "
            "leave them out to go on with the set's own, or build into another directory"
        )
    if device != recorded.device:
        raise UserError(
            f"{out}: was begun on {recorded.device}, this machine offers {device}; pixels would "
            f"differ: go on where a {recorded.device} device is, or build into another directory"
        )


def _auto_dtype(device: str) -> str:
    if device in ("cuda", "xpu"):
        return "bfloat16"
    return "bfloat16" if device == "cpu" and _cpu_has_bfloat16() else "float32"


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU has instructions for bfloat16; emulated, it is a hundred times slower."""
    import torch

    if platform.machine() in ("x86_64", "AMD64"):
        # No public question exists; PyTorch's own tests ask these.
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
