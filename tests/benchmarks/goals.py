"""Goals of the benchmarks, compared with the measured medians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .timing import Figure


@dataclass(frozen=True)
class Goal:
    """A limit for one line of a table.

    Attributes:
        what: The line: start of its quantity.
        value: The limit.
        unit: The line's unit; empty for a ratio.
        sense: Whether the limit is the lowest or the highest value that reaches the goal.
        other: Start of the name of the alternative whose ratio counts; empty for the figure itself.
    """

    what: str
    value: float
    unit: str = ""
    sense: Literal["at least", "at most"] = "at least"
    other: str = ""

    def row(self, figures: Sequence[Figure]) -> tuple[str, str, str, str]:
        """Return the cells of a table: the line, the goal, what was measured, the verdict."""
        found = next(
            (
                one
                for one in figures
                if one.what.startswith(self.what) and one.other.startswith(self.other)
            ),
            None,
        )
        # The full name of the alternative says in which type it computed.
        other = found.other if found else self.other
        goal = f"{self.sense} {self.value:,g} {self.unit or f'times {other}'}"
        spread = found and (found.ratio if self.other else found.ours)
        if spread is None:
            return self.what, goal, "not measured", ""
        above = spread.median >= self.value
        met = above if self.sense == "at least" else spread.median <= self.value
        digits = ",.0f" if spread.median >= 100 else ".3g"
        verdict = "reached" if met else "**missed**"
        return self.what, goal, f"{spread.median:{digits}} (n = {spread.count})", verdict


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
        Goal("build", 8, other="one image per call, float32"),
        Goal("build", 1, other="batches of 32"),
        Goal("build", 0.9, other="bare passes"),
        Goal("command to the first ten images", 8, "s", "at most"),
        Goal("--help", 0.5, "s", "at most"),
        Goal("check", 0.5, "s", "at most"),
    ),
    "overhead": (
        Goal("marginal speed in 2 processes", 8_000, "images/s"),
        Goal("start and the first images", 2, "s", "at most"),
        Goal("peak memory, 1,000,000 images", 400, "MiB", "at most"),
    ),
    "reading": (
        Goal("the last 512 rows of a plan of 10^8", 5, "CPU ms", "at most"),
        Goal("verify", 20_000, "rows per CPU second"),
        Goal("status of 10,000 shards, complete", 2, "s", "at most"),
        Goal("status of 10,000 shards, unfinished", 2, "s", "at most"),
    ),
    "train": (
        Goal("test_resnet, 32 px, PNG: training", 1.5, other="timm loop"),
        Goal("resnet18, 32 px, PNG: training", 1.5, other="timm loop"),
        Goal("mobilenetv3_small_100, 224 px, JPG: training", 1, other="timm loop"),
    ),
    "score": (Goal("marginal speed", 1, other="evaluate's evaluator"),),
}
"""By section."""
