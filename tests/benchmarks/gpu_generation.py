"""Generation with real architectures, against the stock pipeline and the bare forward passes.

With `--device cpu` the same code runs with tiny models, to try it without a GPU.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from . import parts
from .gaps import Gaps
from .gpu_models import FULL, TINY, Model
from .passes import Passes
from .timing import Figure, Scale, compared, in_turn

_PROMPT = "a photo of a cat"
_GUIDANCE = 3.0
_BARE = "bare passes"


def run(folder: Path, scale: Scale, device: str) -> list[Figure]:
    """Measure one model after the other."""
    is_full = device == "cuda" and scale.name == "full"
    figures = []
    for number, model in enumerate(FULL if device == "cuda" else TINY):
        with torch.device(device):
            pipeline = model.make(folder / f"model-{number}")
        measured = _Measured(model, pipeline, folder / f"set-{number}", device, is_full=is_full)
        figures += measured.figures()
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
        tflop = self._tflop(passes)
        done = in_turn(
            {
                "render": lambda: self._rate(self._render),
                "stock": lambda: self._rate(self._stock),
                "one": lambda: self._rate(lambda: self._stock(1), images=1),
                "bare": lambda: self._rate(passes.run),
                "limit": lambda: self._matmul_tflops() / sum(tflop),
            },
            repeats=model.repeats,
        )
        built, gap = self._build(passes.count, "out")
        one, stock = "stock pipeline, one image per call", "stock pipeline, the same batch"
        bare = done["bare"][-1:]
        batch = f"batch of {model.batch}, {self.steps} steps"
        note = f"{tflop[0]:.3g} TFLOP in the network and {tflop[1]:.3g} in the decoder per image"
        return [
            compared(f"{name}: build", "images/s", [built], _BARE, bare, note=batch, is_limit=True),
            compared(f"{name}: build", "images/s", [built], one, done["one"][-1:]),
            compared(
                f"{name}: a batch", "images/s", done["render"], _BARE, done["bare"], is_limit=True
            ),
            compared(f"{name}: a batch", "images/s", done["render"], stock, done["stock"]),
            compared(
                f"{name}: a batch", "images/s", done["render"], "limit", done["limit"], note=note
            ),
            compared(f"{name}: time between batches", "% of the build", [100 * gap]),
        ]

    def compiled(self) -> list[Figure]:
        """Measure `build --compile network`, and what compiling takes."""
        from factory.renderer.compiling import compile_network

        plain = self._rate(self._render)
        compile_network(self.pipeline, "network")
        first = self.model.batch / self._rate(self._render)
        count = Passes.of(self.pipeline, self._render).count
        built, gap = self._build(count, "compiled")
        name = f"{self.model.name}, {self.model.pixels} px, --compile network"
        fast = [self._rate(self._render) for _ in range(self.model.repeats)]
        others = [plain] * len(fast)
        return [
            compared(f"{name}: build", "images/s", [built]),
            compared(f"{name}: a batch", "images/s", fast, "not compiled", others),
            compared(f"{name}: time between batches", "% of the build", [100 * gap]),
            compared(f"{name}: first batch", "s", [first], note="with an empty cache on disk"),
        ]

    def _render(self) -> None:
        from factory.planner.plan import plan

        rows = plan(self.recipe).rows(0, self.model.batch)
        self.renderer.render(rows, batch_size=self.model.batch)

    def _stock(self, images: int | None = None) -> None:
        size = {"height": self.model.pixels, "width": self.model.pixels}
        self.pipeline(
            [_PROMPT] * (images or self.model.batch),
            guidance_scale=_GUIDANCE,
            num_inference_steps=self.steps,
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

    def _tflop(self, passes: Passes) -> tuple[float, float]:
        """Return the operations per image, in the network and in the decoder."""
        counts = []
        for run in (passes.once, passes.decode_once):
            with torch.inference_mode(), _flop_counter() as counter:
                run()
            counts.append(counter.get_total_flops() / self.model.batch / 1e12)
        return passes.count * counts[0], counts[1]

    def _matmul_tflops(self) -> float:
        """Return the speed of large bfloat16 matrix products."""
        side, count = (8192, 50) if self.device == "cuda" else (256, 2)
        one = torch.randn(side, side, device=self.device, dtype=torch.bfloat16)
        torch.matmul(one, one)
        self._wait()
        started = time.perf_counter()
        for _ in range(count):
            torch.matmul(one, one)
        self._wait()
        return 2 * side**3 * count / (time.perf_counter() - started) / 1e12

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
                self.folder / out,
                settings=settings,
                show_progress=False,
                renderer_factory=lambda _: self.renderer,
            )
            self._wait()
            seconds = time.perf_counter() - gaps.began
        return self.images / seconds, gaps.share()

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def _flop_counter() -> Any:
    from torch.utils.flop_counter import FlopCounterMode

    return FlopCounterMode(display=False)
