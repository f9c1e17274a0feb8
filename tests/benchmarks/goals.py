"""Goals of the benchmarks, compared with the measured medians."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .timing import Figure


@dataclass(frozen=True)
class Goal:
    """A limit for one line of a table.

    Attributes:
        what: The line: start of its quantity.
        value: The limit, in the line's unit or as a ratio.
        sense: Whether the limit is the lowest or the highest value that reaches the goal.
        other: Start of the name of the alternative whose ratio counts; empty for the figure itself.
    """

    what: str
    value: float
    sense: Literal["at least", "at most"] = "at least"
    other: str = ""

    def judged(self, figures: Sequence[Figure]) -> str:
        """Return the goal and whether the figures reach it."""
        found = [
            one
            for one in figures
            if one.what.startswith(self.what) and one.other.startswith(self.other)
        ]
        goal = f"{self.what} {self.sense} {self.value:,g}"
        goal += f" times {self.other}" if self.other else f" {found[0].unit}" if found else ""
        spread = (found[0].ratio if self.other else found[0].ours) if found else None
        if spread is None:
            return f"{goal}: not measured"
        above = spread.median >= self.value
        met = above if self.sense == "at least" else spread.median <= self.value
        digits = ",.0f" if spread.median >= 100 else ".3g"
        verdict = "reached" if met else "**missed**"
        return f"{goal}: {verdict} ({spread.median:{digits}}, n = {spread.count})"


_SD14 = "Stable Diffusion 1.4, 512 px"
GOALS = {
    "gpu": (
        Goal(f"{_SD14}: build", 7),
        Goal(f"{_SD14}: build", 4, other="stock pipeline, one image per call"),
        Goal(f"{_SD14}: time between batches", 3, "at most"),
    ),
    "cpu": (
        Goal("build", 8, other="one image per call, float32"),
        Goal("build", 1, other="batches of 32"),
        Goal("build", 0.9, other="bare passes"),
        Goal("command to the first ten images", 8, "at most"),
        Goal("--help", 0.5, "at most"),
        Goal("check", 0.5, "at most"),
    ),
    "overhead": (
        Goal("marginal speed in 2 processes", 8_000),
        Goal("start and the first images", 2, "at most"),
        Goal("peak memory", 400, "at most"),
    ),
    "reading": (
        Goal("the last 512 rows of a plan of 10^8", 5, "at most"),
        Goal("verify", 20_000),
        Goal("status of 10,000 shards, complete", 2, "at most"),
        Goal("status of 10,000 shards, unfinished", 2, "at most"),
    ),
    "train": (
        Goal("test_resnet, 32 px, PNG: training", 1.5, other="timm loop"),
        Goal("resnet18, 32 px, PNG: training", 1.5, other="timm loop"),
        Goal("mobilenetv3_small_100, 224 px, JPG: training", 1, other="timm loop"),
    ),
    "score": (Goal("marginal speed", 1, other="evaluate's evaluator"),),
}
"""By section. A goal that needs another number of processes than the section has is left out."""


def judged(section: str, figures: Sequence[Figure], *, load: str) -> Iterator[str]:
    """Yield one line with the goals of a section, if it has some.

    Args:
        section: Its name.
        figures: What was measured.
        load: Other work on the machine, as in the line of the machine.
    """
    if goals := GOALS.get(section):
        found = "; ".join(goal.judged(figures) for goal in goals)
        yield f"\nGoals (medians; load before: {load}): {found}."
