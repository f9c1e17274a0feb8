"""timm's augmentation of single images, with random numbers of their own for each image.

timm's policies (RandAugment, AutoAugment, AugMix, 3-Augment) and random erasing sample from global
generators. Each image seeds them by its own number, so that an image is augmented the same in any
batch, worker and process, and in a resumed run.
"""

from __future__ import annotations

import difflib
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from runpy import run_path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from factory.common.errors import UserError, first_line
from factory.models.timm_names import timm_files
from train.settings import Augmentation, Hyperparameters

if TYPE_CHECKING:
    from torch import Tensor

_PREFIX = "auto_augment_policy_"
Seeds = NDArray[np.int64]


def make_policy(
    name: str, *, side: int, mean: Sequence[float], resample: str, library: Any = None
) -> Callable[[Any], Any]:
    """Return a policy of timm for images of Pillow.

    Args:
        name: As timm's `--aa`, e.g. `rand-m9-mstd0.5-inc1`, `original`, `3a`, `augmix-m5-w4`.
        side: Height and width of the images in pixels; limits how far they are moved.
        mean: Colour of pixels that are moved in, RGB in 0 to 1.
        resample: Filter of rotations and shears.
        library: timm's module of policies; imported by default.

    Raises:
        UserError: timm has no such policy.
    """
    if library is None:
        from timm.data import auto_augment

        library = auto_augment
    colour = tuple(min(255, round(255 * value)) for value in mean)
    # Rotations of Pillow have no Lanczos filter.
    known = resample if resample in ("nearest", "bilinear", "bicubic") else "bicubic"
    options = {
        "translate_const": int(side * 0.45),
        "img_mean": colour,
        "interpolation": Image.Resampling[known.upper()],
    }
    make = library.auto_augment_transform
    if name.startswith("rand"):
        make = library.rand_augment_transform
    elif name.startswith("augmix"):
        make = library.augment_and_mix_transform
        options["translate_pct"] = 0.3
    try:
        made: Callable[[Any], Any] = make(name, options)
    except (AssertionError, ValueError, KeyError, IndexError) as error:
        raise _unknown(library, name, first_line(error)) from None
    return made


def _unknown(library: Any, name: str, reason: str) -> UserError:
    own = (one.removeprefix(_PREFIX) for one in vars(library) if one.startswith(_PREFIX))
    known = ["rand", "augmix", *own]
    first = name.partition("-")[0]
    near = [] if first in known else difflib.get_close_matches(first, known, n=1)
    usual = "use e.g. rand-m9-mstd0.5-inc1, original, v0, 3a or augmix-m5-w4"
    hint = f"did you mean {near[0]}? If not, {usual}" if near else usual
    why = f" ({reason})" if reason and first in known else ""
    return UserError(f"--aa {name}: timm has no such policy{why}; {hint}")


def check_policy(values: Hyperparameters) -> None:
    """Check that timm has the policy of a training, before its images are opened.

    Raises:
        UserError: It has not.
    """
    name = values.augmentation.aa
    if name is not None:
        make_policy(name, side=32, mean=(0, 0, 0), resample="bicubic", library=_without_timm())


def _without_timm() -> Any:
    """Return timm's module of policies without timm, whose import takes seconds; else None.

    It needs no other module of timm. Policies of it cannot be pickled.
    """
    if "timm" not in sys.modules:
        for file in timm_files("data/auto_augment.py"):
            with suppress(ImportError):
                return SimpleNamespace(**run_path(str(file)))
    return None


def apply_policy(policy: Callable[[Any], Any], pixels: Tensor, seeds: Seeds) -> Tensor:
    """Augment images, uint8 (B, S, S, 3) in main memory, each by its seed."""
    import torch

    changed = []
    with _global_generators():
        for image, seed in zip(pixels.numpy(), seeds.tolist(), strict=True):
            random.seed(seed)
            np.random.seed(seed % (1 << 32))
            changed.append(np.asarray(policy(Image.fromarray(image)), dtype=np.uint8))
    return torch.from_numpy(np.stack(changed))


def erase(images: Tensor, seeds: Seeds, augmentation: Augmentation) -> Tensor:
    """Erase rectangles of normalised images (B, 3, S, S) in place, each by its seed."""
    import torch
    from timm.data.random_erasing import RandomErasing

    erasing = RandomErasing(
        probability=augmentation.reprob,
        mode=augmentation.remode,
        max_count=augmentation.recount,
        device=images.device,
    )
    devices = [images.device] if images.device.type == "cuda" else []
    with _global_generators(), torch.random.fork_rng(devices=devices):
        for image, seed in zip(images, seeds.tolist(), strict=True):
            random.seed(seed)
            torch.manual_seed(seed)
            erasing(image)
    return images


@contextmanager
def _global_generators() -> Iterator[None]:
    """Restore the global generators of Python and NumPy."""
    before, numpy_before = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)
