"""`build --batch-size auto`: measured once, agreed between launches, and no larger than memory."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from build_parts import SETTINGS, FakeRenderer, recipe

import factory.builder.build as builder
import factory.builder.prepare as preparing
import factory.renderer.batch_speed as batch_speed
from factory.builder.build import build
from factory.common.image_arrays import ImageArray
from factory.planner.plan import ImageSpec
from factory.renderer.batch_speed import try_sizes
from factory.shards.manifest import read_manifest

AUTO = replace(SETTINGS, batch_size="auto", shard_size=None)


class _SlowCalls(FakeRenderer):
    """Takes the same time for every batch, so that larger ones are faster."""

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[ImageArray]:
        time.sleep(0.02)
        return super().render(rows, batch_size=batch_size)


def test_an_automatic_batch_size_is_measured_once_and_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for images in (5, 8):
        build(
            recipe(tmp_path, "base", images_per_class=images),
            out,
            settings=AUTO,
            show_progress=False,
            renderer_factory=_SlowCalls,
        )
        manifest = read_manifest(out)
        assert manifest is not None
        # Of 15 images; a larger config keeps it.
        assert manifest.settings.batch_size == 8
        assert manifest.settings.shard_size == 504
    said = capsys.readouterr().err
    assert said.count("tests/none: batch size 8 (images/s with 2 steps: 1: ") == 1
    assert "--batch-size auto: the dataset keeps its recorded batch size, 8\n" in said


def test_each_kind_of_batch_is_measured_with_its_largest_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unguided: dict[str, Any] = {"sampling": {"guidance_scale": 1, "num_inference_steps": 3}}
    guided = {"guidance_scale": 3, "num_inference_steps": 3, "guidance_interval": [0.6, 0.8]}
    recipes = [
        recipe(tmp_path, "few", images_per_class=2),
        recipe(tmp_path, "many", images_per_class=5, sampling=guided),
        recipe(tmp_path, "unguided", images_per_class=7, **unguided),
    ]
    settings = replace(AUTO, device="cpu")
    build(
        recipes,
        tmp_path / "out",
        settings=settings,
        show_progress=False,
        renderer_factory=_SlowCalls,
    )
    said = capsys.readouterr().err
    # Of two steps none would be guided by the interval.
    assert re.findall(r"batch size (\d+) \(images/s with (\d) steps", said) == [
        ("8", "3"),
        ("16", "2"),
    ]


class _Stopped(FakeRenderer):
    """Stops a build that has prepared its directory."""

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[ImageArray]:
        raise KeyboardInterrupt


@pytest.mark.parametrize("late", ["while it measures", "after it has read the directory again"])
def test_launches_that_start_together_agree(
    late: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, out = recipe(tmp_path, "base", images_per_class=8), tmp_path / "out"

    def launch(measured: int, renderer: Any) -> None:
        monkeypatch.setattr(builder, "batch_size_of", lambda *_: measured)
        build(images, out, settings=AUTO, show_progress=False, renderer_factory=renderer)

    def other() -> None:
        """Begin the dataset as another launch, which has no shard yet."""
        monkeypatch.setattr(preparing, "_manifest", manifest)
        with pytest.raises(KeyboardInterrupt):
            launch(4, _Stopped)

    manifest = preparing._manifest
    if late == "while it measures":

        def measure(*_: object) -> int:
            other()
            return 8

        monkeypatch.setattr(builder, "batch_size_of", measure)
        build(images, out, settings=AUTO, show_progress=False, renderer_factory=FakeRenderer)
    else:

        def plan(state: preparing.State) -> Any:
            other()
            return manifest(state)

        monkeypatch.setattr(preparing, "_manifest", plan)
        launch(8, FakeRenderer)
    written = read_manifest(out)
    assert written is not None
    assert written.settings.batch_size == 4


class _Memory:
    """A machine with 1,000 bytes free, on which a model has 100 and each image takes 20."""

    def __init__(self) -> None:
        self.peak = 500

    def forget(self) -> None:
        self.peak = 100

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[ImageArray]:
        self.peak = max(self.peak, 100 + 20 * len(rows))
        return []


@pytest.mark.parametrize(
    ("sharing", "largest"),
    [
        # 2 * 20 * 32 is more than 1,000.
        (1, 32),
        # Each may use (1,000 - 100) / 2 = 450, since the other one loads the model too.
        (2, 16),
        # The device has its own memory, and says itself when it is used up.
        (None, 64),
    ],
)
def test_processes_share_the_memory_of_their_machine(
    sharing: int | None, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = _Memory()
    monkeypatch.setattr(batch_speed, "_peak_memory", lambda: memory.peak)
    # What loading the model took for a while does not count.
    monkeypatch.setattr(batch_speed, "_forget_peak_memory", memory.forget)
    monkeypatch.setattr(batch_speed, "free_memory", lambda: 1000)
    rows: Callable[[int], Any] = range
    tried = try_sizes(memory, rows, name="it", seconds=60, sharing=sharing, largest=64)  # type: ignore[arg-type]
    assert tried.batches[-1].batch_size == largest


@pytest.mark.skipif(sys.platform != "linux", reason="needs the peak of Linux")
def test_the_peak_begins_again() -> None:
    block = bytearray(200 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    before = batch_speed._peak_memory()
    del block
    batch_speed._forget_peak_memory()
    assert batch_speed._peak_memory() < before - 100 * 2**20
