"""Generation with real architectures, against the stock pipeline and the bare forward passes.

With `--device cpu` the same code runs with tiny models, to try it without a GPU.
"""

from __future__ import annotations

import copy
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from . import limits, parts
from .gaps import Gaps, wait_for
from .gpu_models import FULL, TINY, Model
from .passes import Passes
from .timing import Figure, Scale, compared, in_turn
from .waits import waits_of_steps

_PROMPT = "a photo of a cat"
_GUIDANCE = 3.0
_BARE = "bare passes"
_COMPILED = ("blocks", "network")


def run(folder: Path, scale: Scale, device: str) -> list[Figure]:
    """Measure one model after the other."""
    is_full = device == "cuda" and scale.name == "full"
    figures = []
    for number, model in enumerate(FULL if device == "cuda" else TINY):
        with torch.device(device):
            pipeline = model.make(folder / f"model-{number}")
        measured = _Measured(model, pipeline, folder / f"set-{number}", device, is_full=is_full)
        figures += measured.figures()
        if device == "cuda":
            figures += measured.waits()
        # Of the first model alone, and not in tests: it takes minutes.
        if number == 0 and not scale.in_process:
            figures += measured.compiled()
        del pipeline, measured
        gc.collect()
        torch.cuda.empty_cache()
    return figures


class _Measured:
    """One model on its device."""

    def __init__(
        self, model: Model, pipeline: Any, folder: Path, device: str, *, is_full: bool
    ) -> None:
        from factory.renderer.diffusers_renderer import DiffusersRenderer
        from factory.renderer.pipelines import _use_channels_last

        self.model, self.device, self.folder = model, device, folder
        self.steps = 40 if is_full else 2
        # A quick run on a GPU tries the full-size models with few steps.
        self.images = model.images if is_full else min(model.images, 3 * model.batch)
        self.pipeline = pipeline.to(device, torch.bfloat16)
        # A loaded pipeline's scheduler is on the CPU too.
        self.pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
        self.pipeline.set_progress_bar_config(disable=True)
        _use_channels_last(self.pipeline)
        self.recipe = parts.recipe(
            folder,
            self.images,
            classes=parts.CLASSES[:2],
            images_per_class=self.images // 2,
            prompt="a photo of a {class}",
            variables={},
            sampling={"guidance_scale": {"uniform": [1, 5]}, "num_inference_steps": self.steps},
            model={
                "id": "tests/none",
                "revision": "0" * 40,
                "height": model.pixels,
                "width": model.pixels,
            },
            output={"format": "png"},
        )
        self.renderer = DiffusersRenderer(self.pipeline, self.recipe)

    def figures(self) -> list[Figure]:
        """Measure single batches in turn, then a build."""
        model, name = self.model, f"{self.model.name}, {self.model.pixels} px"
        self._render()
        passes = Passes.of(self.pipeline, self._stock)
        tflop = limits.tflop_per_image(passes, model.batch)
        done = in_turn(
            {
                "render": lambda: self._rate(self._render),
                "stock": lambda: self._rate(self._stock),
                "one": lambda: self._rate(lambda: self._stock(1), images=1),
                "bare": lambda: self._rate(passes.run),
                "limit": lambda: self._matmul_tflops() / sum(tflop),
                "build": lambda: self._build(passes.count, "out"),
            },
            repeats=model.repeats,
        )
        built, gaps = map(list, zip(*done.pop("build"), strict=True))
        one, stock = "stock pipeline, one image per call", "stock pipeline, the same batch"
        batch = f"batch of {model.batch}, {self.steps} steps, not compiled"
        note = f"{tflop[0]:.3g} TFLOP in the network and {tflop[1]:.3g} in the decoder per image"
        return [
            compared(
                f"{name}: build", "images/s", built, _BARE, done["bare"], note=batch, is_limit=True
            ),
            compared(f"{name}: build", "images/s", built, one, done["one"]),
            compared(
                f"{name}: a batch", "images/s", done["render"], _BARE, done["bare"], is_limit=True
            ),
            compared(f"{name}: a batch", "images/s", done["render"], stock, done["stock"]),
            compared(
                f"{name}: a batch", "images/s", done["render"], "limit", done["limit"], note=note
            ),
            compared(f"{name}: time between batches", "% of the build", _percent(gaps)),
        ]

    def waits(self) -> list[Figure]:
        """Count how often the CPU waits for the device."""
        (step, batch), (stock_step, stock_batch) = (
            waits_of_steps(generate) for generate in (self._render, self._stock_of)
        )
        name, stock = f"{self.model.name}, {self.model.pixels} px", "stock pipeline, the same batch"
        return [
            compared(f"{name}: waits for the device", "per step", [step], stock, [stock_step]),
            compared(
                f"{name}: waits for the device, besides steps",
                "per batch",
                [batch],
                stock,
                [stock_batch],
                note="the stock pipeline also encodes the prompts and copies the images",
            ),
        ]

    def compiled(self) -> list[Figure]:
        """Measure `build --compile` on copies of the network, and how long compiling takes.

        Also one product for queries, keys and values, which no setting offers.
        """
        from torch._inductor.utils import fresh_cache

        count = Passes.of(self.pipeline, self._render).count
        copies = {part: self._compiled(part) for part in _COMPILED}
        fused = self._with(lambda pipeline: pipeline.unet.fuse_qkv_projections())
        first = {}
        with ExitStack() as caches:
            for part, one in copies.items():
                # Each begins with a cache of its own; they are used until all is measured.
                caches.enter_context(fresh_cache(dir=str(self.folder)))
                first[part] = self.model.batch / one._rate(one._render)
            done = in_turn(
                {
                    name: lambda one=one: one._rate(one._render)
                    for name, one in {"plain": self, "fused": fused, **copies}.items()
                },
                repeats=self.model.repeats,
            )
            builds = {part: one._build(count, part) for part, one in copies.items()}
        model = f"{self.model.name}, {self.model.pixels} px"
        what = f"{model}: a batch, one product for queries, keys, values"
        figures = [compared(what, "images/s", done["fused"], "three products", done["plain"])]
        for part, (built, gap) in builds.items():
            name = f"{model}, --compile {part}"
            figures += [
                compared(f"{name}: build", "images/s", [built]),
                compared(f"{name}: a batch", "images/s", done[part], "not compiled", done["plain"]),
                compared(f"{name}: time between batches", "% of the build", _percent([gap])),
                compared(
                    f"{name}: first batch", "s", [first[part]], note="with an empty cache on disk"
                ),
            ]
        return figures

    def _compiled(self, part: str) -> _Measured:
        """Return this model with a compiled copy of its network."""
        from factory.renderer.compiling import compile_network

        return self._with(lambda pipeline: compile_network(pipeline, part))

    def _with(self, change: Callable[[Any], object]) -> _Measured:
        """Return this model with a changed copy of its network."""
        from factory.renderer.diffusers_renderer import DiffusersRenderer

        made = copy.copy(self)
        made.pipeline = copy.copy(self.pipeline)
        made.pipeline.unet = copy.deepcopy(self.pipeline.unet)
        change(made.pipeline)
        made.renderer = DiffusersRenderer(made.pipeline, self.recipe)
        return made

    def _render(self, steps: int | None = None) -> None:
        from factory.planner.plan import plan

        rows = plan(self.recipe).rows(0, self.model.batch)
        rows = [row._replace(num_inference_steps=steps or self.steps) for row in rows]
        self.renderer.render(rows, batch_size=self.model.batch)

    def _stock_of(self, steps: int) -> None:
        self._stock(steps=steps)

    def _stock(self, images: int | None = None, *, steps: int | None = None) -> None:
        size = {"height": self.model.pixels, "width": self.model.pixels}
        self.pipeline(
            [_PROMPT] * (images or self.model.batch),
            guidance_scale=_GUIDANCE,
            num_inference_steps=steps or self.steps,
            output_type="np",
            **size,
        )

    def _rate(self, run: Callable[[], object], *, images: int | None = None) -> float:
        """Return images/s of one call; by default it generates a batch."""
        self._wait()
        started = time.perf_counter()
        run()
        self._wait()
        return (images or self.model.batch) / (time.perf_counter() - started)

    def _matmul_tflops(self) -> float:
        side, count = (8192, 50) if self.device == "cuda" else (256, 2)
        return limits.matmul_tflops(self.device, "bfloat16", side=side, count=count)

    def _build(self, passes: int, out: str) -> tuple[float, float]:
        """Build a dataset; return images/s and the share of the time between batches."""
        from factory.builder.build import build
        from factory.shards.settings import BuildSettings

        settings = BuildSettings(
            batch_size=self.model.batch,
            shard_size=4 * self.model.batch,
            dtype="bfloat16",
            device=self.device,
            # Random weights: an image that counts as flawed took its time all the same.
            attempts=1,
        )
        with Gaps(self.pipeline, passes, self.device) as gaps:
            build(
                self.recipe,
                # A folder that exists would be resumed.
                Path(tempfile.mkdtemp(prefix=out, dir=self.folder)) / "out",
                settings=settings,
                show_progress=False,
                renderer_factory=lambda _: self.renderer,
            )
            self._wait()
            seconds = time.perf_counter() - gaps.began
        return self.images / seconds, gaps.share()

    def _wait(self) -> None:
        wait_for(self.device)


def _percent(shares: Sequence[float]) -> list[float]:
    return [100 * share for share in shares]
