"""What a set will cost: calls of the network, and time where a speed is known.

An image costs its steps, twice where guidance is above 1 (the network also runs without the
prompt). Seconds a call come from published or measured speeds of a model family on a device; where
none is known that is what is said.
"""

from __future__ import annotations

from dataclasses import dataclass

from factory.planner import plan
from factory.recipe import ResolvedRecipe

_SAMPLE = 2000


@dataclass(frozen=True)
class Speed:
    """How fast a model family draws.

    Attributes:
        marks: What the model's id must hold, in small letters.
        device: Where.
        seconds_per_call: Of the network, for one image in a batch.
        source: Where the figure comes from.
    """

    marks: tuple[str, ...]
    device: str
    seconds_per_call: float
    source: str


# Every figure is an order of magnitude: seconds for an image, divided by its calls.
SPEEDS = (
    # 8 steps with guidance, float32: 44 images a second on two AVX2 cores, 22 on one of them.
    Speed(("embedded",), "one CPU core", 1 / (22 * 16), "measured on the quickstart sets"),
)


@dataclass(frozen=True)
class Cost:
    """What drawing a recipe takes.

    Attributes:
        images: To be drawn; a combination draws none.
        calls: Of the network, for all images.
        speed: The figure the time rests on, or None.
    """

    images: int
    calls: int
    speed: Speed | None

    @property
    def seconds(self) -> float | None:
        """Time on the device, or None where no speed is known."""
        return self.calls * self.speed.seconds_per_call if self.speed else None

    def describe(self) -> str:
        """Return a line for people."""
        if not self.images:
            return "nothing to draw"
        each = self.calls / self.images
        text = f"{self.calls:,} network calls ({each:.3g} an image)"
        if self.speed is None or self.seconds is None:
            return f"{text}; no speed known for this model"
        return f"{text}; about {duration(self.seconds)} on {self.speed.device}"


def estimate(recipe: ResolvedRecipe) -> Cost:
    """Return what a recipe costs, from its first rows when it is large."""
    if recipe.is_combination:
        return Cost(0, 0, None)
    rows = plan(recipe).rows(0, min(_SAMPLE, recipe.num_images))
    calls = sum(row.num_inference_steps * (2 if row.guidance_scale > 1 else 1) for row in rows)
    total = round(calls * recipe.num_images / len(rows))
    return Cost(recipe.num_images, total, speed_of(recipe.model.id))


def speed_of(model_id: str) -> Speed | None:
    """Return a known speed of a model, or None."""
    for speed in SPEEDS:
        if all(mark in model_id.casefold() for mark in speed.marks):
            return speed
    return None


def duration(seconds: float) -> str:
    """Return a length of time in the unit that suits it."""
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return (
                f"{seconds / length:.2g} {unit}"
                if seconds < 100 * length
                else (f"{seconds / length:,.0f} {unit}")
            )
    return f"{max(1, round(seconds))} seconds"
