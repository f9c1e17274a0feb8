"""`data-factory build` with the embedded generator against the same model in diffusers."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import yaml

from factory.common.resources import cores
from factory.shards.settings import BuildSettings, fix

from . import profiles
from .processes import Finished, command, function, program
from .timing import Figure, Scale, compared, in_turn

STEPS = 8
PROMPT = "an image of a zero"
_PROFILE = {
    "network": ["diffusers.models.unets.unet_2d_condition:UNet2DConditionModel.forward"],
    "decoder": ["diffusers:AutoencoderTiny.decode"],
    "scheduler, guidance, texts": ["diffusers:StableDiffusionPipeline.__call__"],
    "rest of rendering (noise, resizing)": [
        "factory.renderer.diffusers_renderer:DiffusersRenderer.render"
    ],
    "rest of a batch (search for flaws)": ["factory.builder.rows:_generate_batch"],
    "encoding": ["factory.builder.rows:_encode"],
}
_ONE = "one image per call, float32"
_BARE = "bare passes, a process per core"
_MATMUL = "large matrix products, a process per core"


def recipe_file(folder: Path, images: int) -> Path:
    """Write a recipe of ten digits; `images` is a multiple of ten."""
    text = {
        "name": "digits",
        "classes": "digits",
        "images_per_class": images // 10,
        "prompt": "an image of a {class}",
        "sampling": {"guidance_scale": {"uniform": [1, 5]}, "num_inference_steps": STEPS},
        "model": {"id": "embedded"},
        "output": {"size": 32, "resample": "bilinear", "antialias": True},
    }
    path = folder / f"digits-{images}.yaml"
    path.write_text(yaml.safe_dump(text, sort_keys=False))
    return path


def usual_dtype() -> str:
    """Return the type in which a build computes here: bfloat16 if the processor has it."""
    return fix(BuildSettings(), recorded=None, device="cpu", out="").dtype


def build(folder: Path, images: int, scale: Scale, *options: str) -> Finished:
    """Build so many images into a new directory."""
    number = sum(1 for _ in folder.iterdir())
    words = (str(recipe_file(folder, images)), str(folder / f"out-{number}"))
    return command("build", *words, "--quiet", "--device", "cpu", *options, scale=scale)


def run(folder: Path, scale: Scale, device: str) -> list[Figure]:
    """Measure speed, time to the first image, and commands that generate nothing."""
    return [
        *_speed(folder, scale),
        *_profile(folder, scale),
        *_first_image(folder, scale),
        *_start(folder, scale),
    ]


def _speed(folder: Path, scale: Scale) -> list[Figure]:
    # It imports torch. Here, Linux would count that as memory of all processes started later.
    dtype = function("cpu_generation:usual_dtype", scale=scale).value
    # Without bfloat16 an image takes about twice as long, and ten minutes must do.
    full, stock = (
        ((160, 960), (48, 512, 384)) if dtype == "bfloat16" else ((160, 480), (24, 224, 192))
    )
    small, large = scale.pick(full, (40, 160), (10, 20))
    # The same further seconds, roughly: each alternative generates what it can in that time.
    everywhere = "" if scale.in_process else "_on_all_cores"
    in_batches = f"batches of 32, {dtype}, all threads"
    one, batches, bare = scale.pick(stock, (8, 64, 64), (1, 2, 2))
    done = in_turn(
        {
            "ours": lambda: _marginal(folder, small, large, scale),
            _ONE: _stock("one_by_one", one, scale),
            in_batches: _stock("in_batches", batches, scale),
            _BARE: _stock(f"bare{everywhere}", bare, scale),
            _MATMUL: _stock(f"limit{everywhere}", bare, scale),
        },
        repeats=scale.pick(2, 1, 1),
    )
    speeds = {name: [speed for speed, _ in found] for name, found in done.items()}
    used = {name: [seconds * 1000 for _, seconds in found] for name, found in done.items()}
    return [
        *(
            compared(
                "build",
                "images/s",
                speeds["ours"],
                name,
                speeds[name],
                is_limit=name in (_BARE, _MATMUL),
            )
            for name in (_ONE, in_batches, _BARE, _MATMUL)
        ),
        # Other work on the machine changes it less than images/s.
        compared("CPU time of an image", "ms", used["ours"], _BARE, used[_BARE], is_limit=True),
        *_compiled(folder, scale, (small, 2 * large - small), done),
    ]


def _compiled(
    folder: Path, scale: Scale, counts: tuple[int, int], done: dict[str, list[tuple[float, float]]]
) -> list[Figure]:
    """Measure builds with a compiled network once, and the CPU time that fills the cache of code.

    Args:
        folder: As for `run`.
        scale: As for `run`.
        counts: Images of the smaller and of the larger build.
        done: Images/s and CPU seconds per image of the alternatives; the last ones are compared.

    Returns:
        No figures without a C++ compiler.
    """
    if shutil.which(os.environ.get("CXX") or "g++") is None:
        return []
    # Compiling all of it takes minutes, and tests do not measure.
    options = "--compile", scale.pick("network", "network", "blocks")
    name = f"build {' '.join(options)}"
    with patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=str(folder / "compiled")):
        # One batch in one process: every other one would compile for itself.
        few = scale.pick(30, 30, 10)
        filling = build(folder, few, scale, *options, "--processes", "1")
        speed, used = _marginal(folder, *counts, scale, *options)
    (plain, plain_used), (one, _) = done["ours"][-1], done[_ONE][-1]
    return [
        compared(name, "images/s", [speed], "build", [plain]),
        compared(name, "images/s", [speed], _ONE, [one]),
        compared(
            f"CPU time of an image, {name}", "ms", [used * 1000], "build", [plain_used * 1000]
        ),
        compared(f"{name}: {few} images, empty cache", "CPU s", [filling.cpu_s]),
    ]


def _marginal(
    folder: Path, small: int, large: int, scale: Scale, *more: str
) -> tuple[float, float]:
    """Return images/s and CPU seconds per image of the further images of a larger build."""
    # One file per process at least, as in a large build.
    options = (*more, "--shard-size", str(scale.pick(32, 32, 10)), *_processes(scale))
    few, many = (build(folder, images, scale, *options) for images in (small, large))
    further = large - small
    return further / (many.seconds - few.seconds), (many.cpu_s - few.cpu_s) / further


def _processes(scale: Scale) -> tuple[str, ...]:
    return ("--processes", "1" if scale.in_process else str(cores()))


def _stock(name: str, images: int, scale: Scale) -> Callable[[], tuple[float, float]]:
    def measure() -> tuple[float, float]:
        speed, used = function(f"stock:{name}", images, scale=scale).value
        return speed, used

    return measure


def _profile(folder: Path, scale: Scale) -> list[Figure]:
    # Whole batches of ten classes.
    few, many = scale.pick((160, 320), (10, 40), (10, 20))
    done = function("cpu_generation:profile_build", str(folder), few, many, scale=scale)
    runs, images = scale.pick((3, 32), (1, 8), (1, 2))
    passes = [function("pass_profile:shares", images, scale=scale).value for _ in range(runs)]
    decoder = [one.pop("decoder") for one in passes]
    return [
        *profiles.figures("profile", "CPU µs per image", [done.value]),
        *profiles.figures("profile of a pass", "% of its time", passes),
        compared("profile of a pass: decoder", f"% of {STEPS} passes and decoding", decoder),
    ]


def profile_build(folder: str, few: int, many: int) -> dict[str, float]:
    """Return the further CPU µs of a further image by phase, in one process."""
    from factory.builder.build import build as build_images
    from factory.recipe.library import load_recipe

    settings = BuildSettings(device="cpu", shard_size=32)

    def run(images: int) -> None:
        place = Path(tempfile.mkdtemp(dir=folder))
        recipe = load_recipe(str(recipe_file(place, images)))
        build_images(recipe, place / "out", settings=settings, show_progress=False)

    return profiles.marginal(run, _PROFILE, few=few, many=many)


def _first_image(folder: Path, scale: Scale) -> list[Figure]:
    # Ten images, one of each class, in a batch.
    done = in_turn(
        {
            "build": lambda: build(folder, 10, scale, "--batch-size", "10").seconds,
            "stock": lambda: function("stock:first_images", str(folder), scale=scale).seconds,
        },
        repeats=scale.pick(2, 1, 1),
    )
    what = "command to the first ten images"
    return [compared(what, "s", done["build"], "diffusers script", done["stock"])]


def _start(folder: Path, scale: Scale) -> list[Figure]:
    path = str(recipe_file(folder, 10))
    done = in_turn(
        {
            "--help": lambda: command("--help", scale=scale).seconds,
            "check": lambda: command("check", path, scale=scale).seconds,
            "python": lambda: _python("pass"),
            "imports": lambda: _python("import pydantic, yaml"),
        },
        repeats=scale.pick(5, 2, 1),
    )
    return [
        compared("--help", "s", done["--help"], "python -c pass", done["python"]),
        compared("check", "s", done["check"], "import pydantic, yaml", done["imports"]),
    ]


def _python(code: str) -> float:
    return program([sys.executable, "-c", code])[0].seconds
