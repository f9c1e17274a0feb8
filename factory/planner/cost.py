"""Estimate the cost of a config: network calls, and time if a speed is known.

An image takes one call per step, or two where it is guided: with a guidance scale above 1 the
network also runs without the prompt. Seconds per call are published or measured for a model family
on a device. Without such a figure, no time is estimated.
"""

from dataclasses import dataclass

from factory.common.text import plural
from factory.models.inference import GuidanceInterval
from factory.models.presets import ModelPreset, find_preset
from factory.planner.plan import plan
from factory.recipe.resolved import ResolvedRecipe

_SAMPLE = 2000
_FAL = "published in fal-ai/stable-diffusion-benchmarks"


@dataclass(frozen=True)
class Speed:
    """Speed of a model family on a device.

    Attributes:
        mark: Text that the model's id contains, in lower case.
        device: The device.
        seconds_per_call: Seconds of one network call for one image.
        pixels: Height and width it was measured at; None for the model's own size.
        source: Source of the figure.
    """

    mark: str
    device: str
    seconds_per_call: float
    pixels: int | None
    source: str


# Every figure is an order of magnitude: seconds for an image, divided by its calls. Guidance takes
# two calls per step; FLUX and Turbo make one.
SPEEDS = (
    # 12 steps with guidance at 64 px on two cores, a process each: 21, 24 and 28 images/s in builds
    # of 2,000 images, start included; 8.4 at 40 steps.
    Speed("embedded", "one CPU core", 1 / (12 * 24), None, "measured in builds of 2,000 images"),
    # 1.591 s and 5.933 s for 50 steps with diffusers in float16, one image per call.
    Speed("stable-diffusion-v1", "one A100 80 GB", 1.591 / 100, 512, _FAL),
    Speed("stable-diffusion-xl", "one A100 80 GB", 5.933 / 100, 1024, _FAL),
    # 5.622 s for 50 steps with TensorRT 10.1, from the model card of its TensorRT version.
    Speed("stable-diffusion-3-medium", "one A100", 5.622 / 100, 1024, "published, with TensorRT"),
    # 0.207 s for one step, text encoder and decoder included; more steps cost less each.
    Speed("sdxl-turbo", "one A100", 0.207, 512, "published by Stability AI"),
    # 0.493 s for the transformer's forward pass in bfloat16.
    Speed("flux.1", "one L40", 0.493, 1024, "published in diffusers/benchmarks"),
)


@dataclass(frozen=True)
class Cost:
    """Estimated cost of generating a config.

    Attributes:
        images: Images to generate; none for a combination.
        calls: Network calls for all images.
        speed: Speed used for the time, or None.
        scale: Pixels per image, relative to the pixels of that speed.
    """

    images: int
    calls: int
    speed: Speed | None
    scale: float = 1.0

    @property
    def seconds(self) -> float | None:
        """Time on the device in seconds; None without a known speed."""
        return self.calls * self.speed.seconds_per_call * self.scale if self.speed else None

    def describe(self) -> str:
        """Return the cost as one line of text."""
        if not self.images:
            return "nothing to generate"
        each = self.calls / self.images
        text = f"{self.calls:,} network calls ({each:.3g} per image)"
        if self.speed is None or self.seconds is None:
            return f"{text}; no speed known for this model"
        scaled = f", scaled from {self.speed.pixels} px" if self.scale != 1 else ""
        source = f"{self.speed.source}{scaled}"
        return f"{text}; about {duration(self.seconds)} on {self.speed.device} ({source})"


def estimate(recipe: ResolvedRecipe) -> Cost:
    """Estimate the cost of a recipe; large ones from their first rows."""
    if recipe.is_combination:
        return Cost(0, 0, None)
    rows = plan(recipe).rows(0, min(_SAMPLE, recipe.num_images))
    preset = find_preset(recipe.model.id)
    interval = recipe.sampling.guidance_interval
    calls = sum(
        _calls(preset, row.num_inference_steps, row.guidance_scale, interval) for row in rows
    )
    total = round(calls * recipe.num_images / len(rows))
    speed = speed_of(recipe.model.id)
    scale = _scale(speed, recipe.model.height, recipe.model.width)
    return Cost(recipe.num_images, total, speed, scale)


def seconds_per_image(preset: ModelPreset) -> float | None:
    """Return the time of an image with a model's own settings; None without a known speed."""
    speed = speed_of(preset.id)
    if speed is None:
        return None
    calls = _calls(preset, preset.num_inference_steps, preset.guidance_scale)
    return calls * speed.seconds_per_call * _scale(speed, preset.size, preset.size)


def _calls(
    preset: ModelPreset | None,
    steps: int,
    guidance_scale: float,
    interval: GuidanceInterval | None = None,
) -> int:
    # Without a negative prompt there is no unconditional half: guidance is an input, or none.
    has_halves = preset is None or preset.negative_prompt
    guided = steps if interval is None else len(interval.steps(steps))
    return steps + (guided if has_halves and guidance_scale > 1 else 0)


def _scale(speed: Speed | None, height: int | None, width: int | None) -> float:
    """Return the pixels of an image relative to those of a speed; cost grows with them."""
    if speed is None or speed.pixels is None or height is None or width is None:
        return 1.0
    return height * width / speed.pixels**2


def speed_of(model_id: str) -> Speed | None:
    """Return a known speed of a model, or None."""
    for speed in SPEEDS:
        if speed.mark in model_id.casefold():
            return speed
    return None


def duration(seconds: float) -> str:
    """Return a duration in a suitable unit."""
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return (
                f"{seconds / length:.2g} {unit}"
                if seconds < 100 * length
                else (f"{seconds / length:,.0f} {unit}")
            )
    return plural(max(1, round(seconds)), "second")
