"""Inference settings: how a model computes an image, apart from what a recipe asks for.

They trade exactness for speed or memory. A dataset keeps those of its first build.
"""

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any, ClassVar, Self

from factory.common.errors import UserError
from factory.common.text import expected_word


@dataclass(frozen=True)
class GuidanceInterval:
    """Part of the steps in which images are guided.

    Attributes:
        start: Fraction of the steps before it, from 0.
        stop: Fraction of the steps up to its end, at most 1.
    """

    start: Fraction
    stop: Fraction

    @classmethod
    def parse(cls, text: str) -> "GuidanceInterval":
        """Read `START,STOP`, two fractions of the steps such as `0,0.6`.

        Raises:
            UserError: It is something else.
        """
        number = r"\s*(\d?\.\d{1,9}|\d\.?)\s*"
        match = re.fullmatch(f"{number},{number}", text)
        start, stop = map(Fraction, match.groups()) if match else (Fraction(1), Fraction(0))
        if not start < stop <= 1:
            raise UserError(
                f"guidance_interval is {text!r:.80}; give START,STOP, fractions of the steps with "
                "0 <= START < STOP <= 1, such as 0,0.6"
            )
        return cls(start, stop)

    @classmethod
    def of(cls, start: float, stop: float) -> "GuidanceInterval":
        """Return the interval of two numbers of a recipe, as they are written in decimal.

        Raises:
            UserError: They are not as `parse` wants them.
        """
        return cls.parse(",".join(format(Decimal(str(number)), "f") for number in (start, stop)))

    @property
    def numbers(self) -> list[float]:
        """Both fractions as a recipe has them: `[0.2, 1]`."""
        ends = (self.start, self.stop)
        return [int(one) if one.denominator == 1 else float(one) for one in ends]

    def steps(self, count: int) -> range:
        """Return the guided ones of `count` steps, from 0; counted like diffusers' guiders."""
        return range(floor(self.start * count), floor(self.stop * count))

    def __str__(self) -> str:
        return f"{_decimal(self.start)},{_decimal(self.stop)}"


@dataclass(frozen=True)
class Cache:
    """Reuse of a transformer's results between steps.

    Attributes:
        kind: `first-block` skips the other blocks if the first one has changed little since the
            last step; `cache-dit` does so with the first eight; `taylorseer` extrapolates the
            attention of most steps.
        value: Largest relative change of the first blocks for which the others are skipped; or
            steps from one that is computed to the next.
    """

    _DEFAULTS: ClassVar[dict[str, float]] = {
        "first-block": 0.05,
        "taylorseer": 5,
        "cache-dit": 0.08,
    }
    _WARM_UPS: ClassVar[dict[str, int]] = {"first-block": 1, "taylorseer": 3, "cache-dit": 8}

    kind: str
    value: float

    @property
    def decides_per_batch(self) -> bool:
        """Whether an image depends on the others of its batch by more than rounding."""
        return self.kind != "taylorseer"

    @property
    def warm_up(self) -> int:
        """First steps of an image that are always computed."""
        return self._WARM_UPS[self.kind]

    @classmethod
    def parse(cls, text: str) -> "Cache":
        """Read `first-block[:THRESHOLD]`, `taylorseer[:STEPS]` or `cache-dit[:THRESHOLD]`.

        Raises:
            UserError: It is something else.
        """
        kind, colon, number = text.partition(":")
        default = cls._DEFAULTS.get(kind)
        form = r"\d{1,9}" if kind == "taylorseer" else r"\d{0,9}\.?\d{1,9}"
        if default is None or (colon and re.fullmatch(form, number) is None):
            raise _unknown_cache(text)
        value = float(number) if colon else default
        # From 1, cache-dit would skip blocks whatever has changed, and the size of the batch too.
        if value < (2 if kind == "taylorseer" else 1e-9) or (kind == "cache-dit" and value >= 1):
            raise _unknown_cache(text)
        return cls(kind, value)

    def __str__(self) -> str:
        return f"{self.kind}:{_decimal(self.value)}"


def _decimal(value: float | Fraction) -> str:
    """Return a number without exponent, as `parse` reads it: 9 digits after the point."""
    return f"{float(value):.9f}".rstrip("0").rstrip(".")


def _unknown_cache(text: str) -> UserError:
    kind = text.partition(":")[0]
    near = [] if kind in Cache._DEFAULTS else difflib.get_close_matches(kind, Cache._DEFAULTS, n=1)
    return UserError(
        f"--cache {text:.80}: expected first-block, first-block:THRESHOLD (above 0, default 0.05), "
        "taylorseer, taylorseer:STEPS (2 or more, default 5), cache-dit or cache-dit:THRESHOLD "
        "(above 0, below 1, default 0.08)" + (f"; did you mean {near[0]}?" if near else "")
    )


QUANTIZE_WITH = {"int8": "torchao", "nf4": "bitsandbytes"}
"""Kinds of quantization, with the package that computes each."""


def known_quantization(text: str) -> str:
    """Return a key of `QUANTIZE_WITH`.

    Raises:
        UserError: It is something else.
    """
    return _known("quantize", text, QUANTIZE_WITH)


def known_part(text: str) -> str:
    """Return the part of a network that is compiled: `blocks` or `network`.

    Raises:
        UserError: It is something else.
    """
    return _known("compile", text, ("blocks", "network"))


def _known(name: str, text: str, words: Iterable[str]) -> str:
    if text not in words:
        raise UserError(f"--{name} {text:.80}: {expected_word(text, words)}")
    return text


_READERS: dict[str, Callable[[str], object]] = {
    "guidance_interval": GuidanceInterval.parse,
    "cache": Cache.parse,
    "quantize": known_quantization,
    "compile": known_part,
}


@dataclass(frozen=True, kw_only=True)
class InferenceSettings:
    """How the images of a dataset are computed, as users and manifests write it; None: not used.

    Attributes:
        dtype: `float32`, `bfloat16` or `float16`.
        guidance_interval: `START,STOP`: guided part of the steps, of datasets that record it as a
            setting; others have it in their recipes.
        cache: `first-block[:THRESHOLD]`, `taylorseer[:STEPS]` or `cache-dit[:THRESHOLD]`: reuse
            results between steps.
        quantize: Kind of the network's weights, a key of `QUANTIZE_WITH`.
        compile: What torch.compile translates: the network's repeated `blocks`, or the `network`.
        vae_slicing: Whether images are decoded one by one.
        fuse_adapters: Whether adapters are merged into the network's weights.
    """

    dtype: str
    guidance_interval: str | None = None
    cache: str | None = None
    quantize: str | None = None
    compile: str | None = None
    vae_slicing: bool | None = None
    fuse_adapters: bool | None = None

    @property
    def interval(self) -> GuidanceInterval | None:
        """The guided part of the steps.

        Raises:
            UserError: `guidance_interval` cannot be read.
        """
        return GuidanceInterval.parse(self.guidance_interval) if self.guidance_interval else None

    @property
    def reuse(self) -> Cache | None:
        """The kind of `cache`.

        Raises:
            UserError: `cache` cannot be read.
        """
        return Cache.parse(self.cache) if self.cache else None

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages that affect images only with these settings."""
        reuse = self.reuse
        return (
            *((QUANTIZE_WITH[self.quantize],) if self.quantize else ()),
            *(("cache-dit",) if reuse and reuse.kind == "cache-dit" else ()),
        )

    def canonical(self) -> Self:
        """Return the settings with one spelling for each value.

        Raises:
            UserError: A value cannot be read.
        """
        given = {name: getattr(self, name) for name in _READERS}
        found: dict[str, Any] = {
            name: str(_READERS[name](text)) for name, text in given.items() if text is not None
        }
        return replace(self, **found)

    def __str__(self) -> str:
        used = {name.replace("_", " "): value for name, value in vars(self).items() if value}
        return ", ".join(
            name if value is True else f"{name} {value}" for name, value in used.items()
        )


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """Settings of a dataset besides those of inference: batches, files and the machine.

    The order of fields is that of cards and messages; dtype is repeated here to stay third.
    """

    batch_size: int
    shard_size: int
    dtype: str
    threads: int
    device: str
    attempts: int = 4


INFERENCE_SETTINGS = tuple(one.name for one in fields(InferenceSettings))
RECORDED_SETTINGS = tuple(
    dict.fromkeys([*(one.name for one in fields(BatchSettings)), *INFERENCE_SETTINGS])
)
"""All settings of a dataset, in the order of cards; each is an option of `build`."""
PLAIN = InferenceSettings(dtype="float32")
"""Nothing is traded for speed."""
