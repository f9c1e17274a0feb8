"""Goals of the benchmarks, compared with the measured medians."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from .figures import find, number, others, ours, ratio
from .timing import Figure

MISSED = "**missed**"
_UNKNOWN = "The reason is not known."
# Of the alternatives in the earlier run that the section "reading" shows.
_EARLIER_ROWS, _EARLIER_S = 11_307, 0.0853


@dataclass(frozen=True)
class Goal:
    """A limit for one line of a table.

    Attributes:
        what: The line: start of its quantity.
        value: The limit.
        unit: The line's unit; empty for a ratio.
        sense: Whether the limit is the lowest or the highest value that reaches the goal.
        other: Start of the name of the alternative whose ratio counts; empty for the figure itself.
        reason: Why the goal is missed, from the section's figures, as one or two sentences.
    """

    what: str
    value: float
    unit: str = ""
    sense: Literal["at least", "at most"] = "at least"
    other: str = ""
    reason: Callable[[Sequence[Figure]], str] | None = None

    def row(self, figures: Sequence[Figure]) -> tuple[str, str, str, str]:
        """Return the cells of a table: the line, the goal, what was measured, the verdict."""
        try:
            found = find(figures, self.what, self.other)
        except LookupError:
            return self.what, self._limit(self.other), "not measured", ""
        # The full name of the alternative says in which type it computed.
        goal = self._limit(found.other)
        spread = found.ratio if self.other else found.ours
        if spread is None:
            return self.what, goal, "not measured", ""
        above = spread.median >= self.value
        met = above if self.sense == "at least" else spread.median <= self.value
        figure = f"{number(spread.median)} (n = {spread.count})"
        return self.what, goal, figure, "reached" if met else MISSED

    def _limit(self, other: str) -> str:
        return f"{self.sense} {self.value:,g} {self.unit or f'times {other}'}"

    def why(self, figures: Sequence[Figure]) -> str:
        """Return why the goal is missed."""
        try:
            return self.reason(figures) if self.reason else _UNKNOWN
        except LookupError:
            return "The figures that would explain it were not measured."


def _products(found: Sequence[Figure]) -> str:
    most = others(found, "build", "large matrix products")
    single = others(found, "build", "one image per call")
    return (
        f"In the same run, large matrix products alone, as many as the images need, allow "
        f"about {number(most)} images/s: {number(most / single)} times one image per call."
    )


def _imports(found: Sequence[Figure]) -> str:
    share = ratio(found, "command to the first ten images", "diffusers script")
    return (
        "In one profile, imports and the model's files took 11.6 of 16.3 s of CPU time. A "
        f"diffusers script needs them too; the command takes {number(share)} of its time."
    )


def _check(found: Sequence[Figure]) -> str:
    bare = others(found, "check", "import pydantic, yaml")
    return (
        f"Importing pydantic and yaml takes {number(bare)} s. In profiles of 0.57 s of CPU time, "
        "0.065 s went to building the pydantic models of recipes, 0.08 s to building dataclasses "
        "(also those of pydantic), and 0.035 s to regular expressions (medians of five, other work "
        "on the machine). The rest is spread over 340 imported modules."
    )


def _encoding(found: Sequence[Figure]) -> str:
    phases = [one for one in found if one.what.startswith("profile: ")]
    share = ours(found, "profile: encoding") / sum(one.ours.median for one in phases)
    busy = ours(found, "marginal speed") * ours(found, "marginal CPU time") / 1000
    allowed = 2000 / ours(found, "marginal CPU time")
    fast = ours(found, "marginal speed in 2 processes, `output.compression: fast`")
    return (
        f"At the CPU time of an image, two cores allow {number(allowed)} images/s; one process "
        f"already uses {number(busy)}. {100 * share:.0f} % of the CPU time is PNG encoding, most "
        "of it Pillow's compression. Recipes with [`output.compression: fast`]"
        f"(faster.md#writing-png-files), which gives other bytes, allow {number(fast)} images/s."
    )


def _libraries(found: Sequence[Figure]) -> str:
    plain = others(found, "start and the first images", "plain loop")
    return (
        "In one profile, imports took 1.8 of 3.1 s of CPU time. Since then matplotlib's, 0.6 s, "
        f"have moved to another process. A plain loop takes {number(plain)} s."
    )


def _slow_decoding(found: Sequence[Figure]) -> str:
    plain = others(found, "verify", "hash, read, decode")
    if plain >= _EARLIER_ROWS:
        return _UNKNOWN
    return (
        "The machine was slower than in an earlier run: the alternative handles "
        f"{number(plain)} rows per CPU second instead of {_EARLIER_ROWS:,}. `verify` "
        "handled 24,766 then."
    )


def _slow_files(found: Sequence[Figure]) -> str:
    plain = others(found, "status of 10,000 shards, unfinished", "list and read json")
    if plain <= _EARLIER_S:
        return _UNKNOWN
    return (
        "The machine was slower than in an earlier run: listing the shards and reading the "
        f"manifest alone takes {number(plain)} s instead of {_EARLIER_S}. `status` took "
        "1.55 s then."
    )


_SD14 = "Stable Diffusion 1.4, 512 px"
GOALS = {
    "gpu": (
        Goal(f"{_SD14}: build", 7, "images/s"),
        Goal(f"{_SD14}: build", 4, other="stock pipeline, one image per call"),
        Goal(f"{_SD14}: time between batches", 3, "% of the build", "at most"),
        Goal(f"{_SD14}: waits for the device", 0, "per step", "at most"),
    ),
    "gpu-train": (
        Goal("resnet50, 32 px, PNG: training", 0.9, other="model alone"),
        Goal("resnet50, 224 px, JPG: training", 0.9, other="model alone"),
        Goal("score: marginal speed", 1, other="evaluate's evaluator"),
    ),
    "cpu": (
        Goal("build", 8, other="one image per call, float32", reason=_products),
        Goal("build", 1, other="batches of 32"),
        Goal("build", 0.9, other="bare passes"),
        Goal("command to the first ten images", 8, "s", "at most", reason=_imports),
        Goal("--help", 0.5, "s", "at most"),
        Goal("check", 0.5, "s", "at most", reason=_check),
    ),
    "overhead": (
        Goal("marginal speed in 2 processes", 8_000, "images/s", reason=_encoding),
        Goal("start and the first images", 2, "s", "at most", reason=_libraries),
        Goal("peak memory, 1,000,000 images", 400, "MiB", "at most"),
    ),
    "reading": (
        Goal("the last 512 rows of a plan of 10^8", 5, "CPU ms", "at most"),
        Goal("verify", 20_000, "rows per CPU second", reason=_slow_decoding),
        Goal("status of 10,000 shards, complete", 2, "s", "at most", reason=_slow_files),
        Goal("status of 10,000 shards, unfinished", 2, "s", "at most", reason=_slow_files),
    ),
    "train": (
        Goal("test_resnet, 32 px, PNG: training", 1.5, other="timm loop"),
        Goal("resnet18, 32 px, PNG: training", 1.5, other="timm loop"),
        Goal("mobilenetv3_small_100, 224 px, JPG: training", 1, other="timm loop"),
    ),
    "score": (Goal("marginal speed", 1, other="evaluate's evaluator"),),
}
"""By section."""
