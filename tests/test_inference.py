"""Inference settings: what they compute, and models that cannot use them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from build_parts import SETTINGS, FakeRenderer, recipe, shard, tree
from diffusers import HeunDiscreteScheduler
from test_families import PIPELINES, recipe_for
from test_render import SPECS

from factory.builder.build import build
from factory.builder.compatible import require_whole_batches
from factory.builder.jobs import make_jobs
from factory.common.errors import UserError
from factory.common.image_arrays import ImageArray
from factory.common.image_bytes import load_image
from factory.inspection.preview import preview
from factory.inspection.regenerate import Regenerator
from factory.inspection.replay import replay
from factory.models.inference import (
    PLAIN,
    QUANTIZE_WITH,
    Cache,
    GuidanceInterval,
    InferenceSettings,
)
from factory.planner.plan import ImageSpec
from factory.renderer.compiling import compile_network
from factory.renderer.diffusers_renderer import DiffusersRenderer
from factory.renderer.guidance import GuidancePerImage, network_of
from factory.renderer.guidance_interval import _guided_calls, guidance_in
from factory.renderer.pipelines import Pipelines, _cannot_load, load_pipeline
from factory.renderer.placement import decode_one_by_one, place, require_offload
from factory.renderer.pool import Renderers
from factory.renderer.quantization import quantization
from factory.shards.manifest import parse_manifest, read_manifest
from factory.shards.parquet import read_rows
from factory.shards.settings import BuildSettings, fix
from factory.shards.stamp import read_stamp

STEPS = 4
ROWS = [row._replace(num_inference_steps=STEPS) for row in SPECS[:3]]


def renderer(folder: Path, *, keys: dict[str, Any] | None = None, **used: Any) -> DiffusersRenderer:
    """Load a model for a recipe with inference settings."""
    made = recipe_for(folder, **(keys or {}))
    inference = InferenceSettings(dtype="float32", **used)
    return DiffusersRenderer(PIPELINES.get(made), made, inference)


@pytest.mark.parametrize(
    ("text", "shown", "steps"),
    [
        ("0,0.6", "0,0.6", range(6)),
        (" .20, 0.80", "0.2,0.8", range(2, 8)),
        # 0.29 * 100 is 28.999... in floating point.
        ("0.29,1.0", "0.29,1", range(2, 10)),
        ("0.00001,0.123456789", "0.00001,0.123456789", range(1)),
    ],
)
def test_an_interval_is_a_range_of_steps(text: str, shown: str, steps: range) -> None:
    found = GuidanceInterval.parse(text)
    assert str(found) == shown
    assert GuidanceInterval.parse(shown) == found
    assert found.steps(10) == steps
    assert GuidanceInterval.parse("0.29,1").steps(100) == range(29, 100)


@pytest.mark.parametrize("text", ["", "0.5", "0.5,0.5", "0.6,0.2", "0,1.1", "-1,1", "0;1", "a,b"])
def test_other_intervals_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"give START,STOP, fractions .* such as 0,0\.6"):
        GuidanceInterval.parse(text)


class _Scheduled(GuidancePerImage):
    """Guides fully in every step, with a scale of 1 in steps outside an interval."""

    guided: Sequence[bool] = ()

    def __mul__(self, prediction: torch.Tensor) -> torch.Tensor:
        now, *self.guided = self.guided
        return super().__mul__(prediction) if now else prediction

    __rmul__ = __mul__


@pytest.mark.parametrize("family", ["stable_diffusion", "sdxl", "sd3", "pixart"])
def test_outside_its_interval_guidance_is_not_computed(
    family: str, saved: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compared with two halves in every step and a scale of 1 outside."""
    limited = renderer(saved(family), guidance_interval="0.25,0.75")
    sizes: list[int] = []
    network = network_of(limited._pipeline)
    first = getattr(network, "conv_in", None) or network.pos_embed
    first.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    found = limited._generate(ROWS)
    assert sizes == [3, 6, 6, 3]

    full = renderer(saved(family))
    everywhere = full._generate(ROWS)
    monkeypatch.setattr(_Scheduled, "guided", [False, True, True, False])
    monkeypatch.setattr("factory.renderer.diffusers_renderer.GuidancePerImage", _Scheduled)
    torch.testing.assert_close(found, full._generate(ROWS), atol=1e-4, rtol=0)
    assert (found - everywhere).abs().max() > 1e-3, "the interval would have no effect"


def test_an_image_does_not_depend_on_its_batch(saved: Callable[[str], Path]) -> None:
    """Not even if no other image of the batch is guided."""
    limited = renderer(saved("stable_diffusion"), guidance_interval="0,0.5")
    unguided = [row._replace(guidance_scale=1.0) for row in ROWS]
    alone = limited.render(unguided[:1], batch_size=3)
    for others in (unguided[1:], ROWS[1:]):
        together = limited.render([unguided[0], *others], batch_size=3)
        assert np.array_equal(alone[0], together[0])


def test_all_calls_of_a_step_are_guided_alike() -> None:
    """Heun's method calls the network twice per step, but for the last one."""
    scheduler = HeunDiscreteScheduler()
    scheduler.set_timesteps(4)
    calls = _guided_calls(scheduler.timesteps.tolist(), GuidanceInterval.parse("0.25,0.75"))
    assert calls == [False, True, True, True, True, False, False]


@pytest.mark.parametrize("family", ["lcm", "flux"])
def test_a_scale_that_is_an_input_cannot_be_limited(
    family: str, saved: Callable[[str], Path]
) -> None:
    with pytest.raises(UserError, match=r"through an input .* remove the interval \(--guidance"):
        renderer(saved(family), guidance_interval="0,0.5")


def test_an_interval_without_a_step_is_refused(saved: Callable[[str], Path]) -> None:
    keys = {"sampling": {"guidance_scale": 3, "num_inference_steps": {"integers": [4, 9]}}}
    with pytest.raises(UserError, match=r"no step of 4 is in \[0, 0\.2\]") as raised:
        renderer(saved("stable_diffusion"), keys=keys, guidance_interval="0,0.2")
    assert raised.value.faults[0].key == "sampling.guidance_interval"


def test_an_interval_without_guidance_is_refused(saved: Callable[[str], Path]) -> None:
    keys = {"sampling": {"guidance_scale": 1, "num_inference_steps": 4}}
    with pytest.raises(UserError, match=r"\[0, 0\.5\] has no effect without a guidance") as raised:
        renderer(saved("stable_diffusion"), keys=keys, guidance_interval="0,0.5")
    assert raised.value.faults[0].key == "sampling.guidance_interval"


@pytest.mark.parametrize(
    ("inputs", "culprit"),
    [
        ({"sample": torch.zeros(3, 1)}, "sample"),
        ({"sample": torch.zeros(6, 1), "rotary": torch.zeros(6, 1)}, "rotary"),
        ({"sample": torch.zeros(6, 1), "rotary": [torch.zeros(6, 1)]}, "rotary"),
    ],
)
def test_pipelines_without_two_halves_are_refused(inputs: dict[str, Any], culprit: str) -> None:
    """Some call their network twice per step; others have inputs that are not per image."""

    class Network(torch.nn.Module):
        def forward(self, sample: torch.Tensor, rotary: Any = None) -> torch.Tensor:
            return sample

    scheduler = SimpleNamespace(timesteps=torch.arange(2))
    pipeline = SimpleNamespace(unet=Network(), scheduler=scheduler)
    interval = GuidanceInterval.parse("0.5,1")
    wanted = pytest.raises(UserError, match=rf"two halves of one batch \({culprit}\)")
    with wanted, guidance_in(pipeline, interval, 3):
        pipeline.unet(**inputs)


def test_more_calls_than_timesteps_are_refused() -> None:
    class Network(torch.nn.Module):
        def forward(self, sample: torch.Tensor) -> torch.Tensor:
            return sample

    scheduler = SimpleNamespace(timesteps=torch.arange(2))
    pipeline = SimpleNamespace(unet=Network(), scheduler=scheduler)
    interval = GuidanceInterval.parse("0,0.5")
    wanted = pytest.raises(UserError, match=r"two halves .* \(its network is called more than 2")
    with wanted, guidance_in(pipeline, interval, 3):
        for _ in range(3):
            pipeline.unet(sample=torch.zeros(6, 1))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("first-block", "first-block:0.05"),
        ("first-block:.20", "first-block:0.2"),
        ("first-block:0.00005", "first-block:0.00005"),
        ("first-block:100", "first-block:100"),
        ("first-block:999999999.123456789", "first-block:999999999.123456836"),
        ("taylorseer", "taylorseer:5"),
        ("taylorseer:3", "taylorseer:3"),
        ("cache-dit", "cache-dit:0.08"),
        ("cache-dit:.20", "cache-dit:0.2"),
    ],
)
def test_a_cache_is_a_kind_with_a_number(text: str, shown: str) -> None:
    assert str(Cache.parse(text)) == shown
    assert Cache.parse(shown) == Cache.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "deep",
        "first-block:",
        "first-block:0",
        "first-block:-1",
        "taylorseer:1",
        "taylorseer:2.5",
        "cache-dit:0",
        "cache-dit:1",
    ],
)
def test_other_caches_are_refused(text: str) -> None:
    with pytest.raises(
        UserError, match=f"--cache {text}: expected first-block, first-block:THRESHOLD"
    ):
        Cache.parse(text)


@pytest.mark.parametrize(
    ("cache", "computed"),
    [
        # Above every change: after the first step nothing but the first block is computed.
        ("first-block:99", [1, 0, 0, 0, 0, 0]),
        pytest.param("first-block:0.000000001", [1, 1, 1, 1, 1, 1], marks=pytest.mark.soak),
        ("taylorseer:2", [1, 1, 1, 0, 1, 0]),
    ],
)
def test_a_cache_skips_parts_of_some_steps(
    cache: str, computed: list[int], saved: Callable[[str], Path]
) -> None:
    rows = [row._replace(num_inference_steps=6, negative_prompt="") for row in SPECS[:2]]
    full = renderer(saved("flux"))._generate(rows)
    cached = renderer(saved("flux"), cache=cache)
    # The last block; in it, its attention.
    block = cached._pipeline.transformer.single_transformer_blocks[-1]
    counts: list[int] = []
    cached._pipeline.transformer.register_forward_pre_hook(lambda *_: counts.append(0))
    block.attn.to_q.register_forward_hook(lambda *_: counts.__setitem__(-1, 1))
    first = cached._generate(rows)
    assert counts == computed
    assert ((first - full).abs().max() < 1e-4) == all(computed)
    other = [row._replace(seed=row.seed + 9) for row in rows]
    cached._generate(other)
    assert torch.equal(cached._generate(rows), first), "state of another batch"
    assert not cached._pipeline.transformer.is_cache_enabled


@pytest.mark.parametrize("family", ["stable_diffusion", "sd3", "pixart"])
def test_models_without_a_cache_are_refused(family: str, saved: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match="diffusers has no cache for") as raised:
        renderer(saved(family), cache="first-block")
    assert raised.value.faults[0].key == "model.id"


def test_a_cache_without_an_effect_is_refused(saved: Callable[[str], Path]) -> None:
    keys = {"sampling": {"guidance_scale": 3, "num_inference_steps": {"integers": [3, 9]}}}
    with pytest.raises(UserError, match="no effect on images of 3"):
        renderer(saved("flux"), keys=keys, cache="taylorseer")
    renderer(saved("flux"), keys=keys, cache="first-block")


class _WholeBatch(FakeRenderer):
    """An image depends on the others of its batch, which is padded with copies."""

    def render(self, rows: Sequence[ImageSpec], *, batch_size: int) -> list[ImageArray]:
        seeds = [row.seed for row in [*rows, *[rows[-1]] * (batch_size - len(rows))]]
        mean = sum(seeds) // batch_size
        return super().render([one._replace(seed=one.seed ^ mean) for one in rows], batch_size=4)


def test_images_of_a_whole_batch_do_not_change_when_a_dataset_grows(tmp_path: Path) -> None:
    """One built at once has the same bytes; a short last batch would have others."""

    def made(name: str, count: int) -> None:
        build(
            recipe(tmp_path, "base", images_per_class=count),
            tmp_path / name,
            settings=replace(SETTINGS, cache="first-block"),
            show_progress=False,
            renderer_factory=_WholeBatch,
        )

    for count in (4, 8):
        made("grown", count)
    made("once", 8)
    assert tree(tmp_path / "grown") == tree(tmp_path / "once")
    wanted = r"base: --cache first-block:0\.05 .* of 27 images has 3 of 4; .* such as 3, .* of 4 "
    with pytest.raises(UserError, match=wanted):
        made("grown", 9)
    with pytest.raises(UserError, match="of 15 images has 3 of 4"):
        made("new", 5)
    assert not (tmp_path / "new").exists()
    taylor = replace(SETTINGS, cache="taylorseer")
    jobs = make_jobs([recipe(tmp_path, "base", images_per_class=5)])
    require_whole_batches(jobs, fix(taylor, recorded=None, device="cpu", out=""))


def test_settings_are_recorded_in_one_spelling(tmp_path: Path) -> None:
    """The interval is recorded in the recipe."""
    first = {"guidance_interval": " .20, 0.80", "cache": "first-block:.00005"}
    same = {"guidance_interval": "0.2,.8", "cache": "first-block:0.000050"}
    for given in (first, same):
        build(
            recipe(tmp_path, "base", images_per_class=4),
            tmp_path / "out",
            settings=replace(SETTINGS, **given),
            show_progress=False,
            renderer_factory=FakeRenderer,
        )
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    found = manifest.settings
    assert (found.guidance_interval, found.cache) == (None, "first-block:0.00005")
    assert str(found.inference) == "dtype float32, cache first-block:0.00005"
    other = replace(SETTINGS, guidance_interval="0.2,0.9", cache="taylorseer")
    wanted = r"requested: cache taylorseer:5 \(recorded: first-block:0\.00005\); remove"
    with pytest.raises(UserError, match=wanted):
        build(recipe(tmp_path, "base", images_per_class=4), tmp_path / "out", settings=other)


def test_quantize_is_blamed_only_if_it_was_given() -> None:
    error = ValueError("Unknown quantization type")
    assert "; remove --quantize, or" in _cannot_load("m", None, error, quantizes=True)
    assert "--quantize" not in _cannot_load("m", None, error, quantizes=False)


def test_int8_weights_are_used_recorded_and_replayed(tmp_path: Path) -> None:
    pytest.importorskip("torchao", reason="torchao is not installed: the extra `int8`")
    model = tiny_models.save_stable_diffusion(tmp_path / "sd")
    tiny = recipe(tmp_path, "tiny", model={"id": str(model)}, output={"size": 16})
    for name, quantize in (("plain", None), ("int8", "int8")):
        settings = replace(SETTINGS, quantize=quantize)
        build(tiny, tmp_path / name, settings=settings, show_progress=False)
    manifest = read_manifest(tmp_path / "int8")
    assert manifest is not None
    assert manifest.settings.quantize == "int8"
    assert "torchao" in manifest.versions[0]
    where: dict[str, Any] = {"config": "tiny", "index": 3, "allow_local_model": True}
    assert replay(tmp_path / "int8", **where).regenerated.same_bytes
    plain, int8 = (read_rows(shard(tmp_path / name, "tiny"))[3] for name in ("plain", "int8"))
    assert plain["image"] != int8["image"]
    pipeline = load_pipeline(tiny.model, replace(PLAIN, quantize="int8"), device="cpu")
    kinds = {name: type(one).__name__ for name, one in pipeline.unet.named_parameters()}
    assert kinds["time_embedding.linear_1.weight"] == "Int8Tensor"


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_a_missing_package_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factory.renderer.quantization.find_spec", lambda name: None)
    wanted = rf"--quantize {kind} needs {QUANTIZE_WITH[kind]}; .*data-factory\[{kind}\]"
    with pytest.raises(UserError, match=wanted):
        quantization(kind, {"unet": []}, device="cpu", dtype=torch.float32)


@pytest.mark.parametrize(
    ("kind", "parts", "message"),
    [
        ("nf4", {"unet": []}, "nf4 needs an accelerator, but this machine has cpu"),
        ("int8", {"_class_name": "XPipeline", "prior": []}, "XPipeline has neither a transformer"),
    ],
)
def test_what_cannot_be_quantized_is_refused(
    kind: str, parts: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.renderer.quantization.find_spec", lambda name: name)
    with pytest.raises(UserError, match=message):
        quantization(kind, parts, device="cpu", dtype=torch.float32)


def test_an_offload_needs_an_accelerator(tmp_path: Path) -> None:
    require_offload("group", "cuda:1")
    settings = replace(SETTINGS, offload="group", device="cpu")
    with pytest.raises(UserError, match=r"--offload group .* this machine computes on cpu; remove"):
        build(recipe(tmp_path, "base"), tmp_path / "out", settings=settings)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="offload disk: expected group, model or sequential"):
        require_offload("disk", "cuda")


def test_a_model_is_previewed_and_generated_again_with_an_offload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"--offload group .* this machine computes on cpu"):
        preview(recipe(tmp_path, "base"), device="cpu", offload="group")
    build(
        recipe(tmp_path, "base"),
        tmp_path / "out",
        settings=SETTINGS,
        show_progress=False,
        renderer_factory=FakeRenderer,
    )
    plain = read_manifest(tmp_path / "out")
    assert plain is not None
    manifest = plain.model_copy(update={"offload": ("model", "group")})
    for found, device, expected in (
        (manifest, "cpu", None),
        (manifest, "cuda:1", "group"),
        (plain, "cuda:1", None),
    ):
        place = torch.device(device)
        monkeypatch.setattr("factory.builder.ranks.own_device", lambda _, place=place: place)
        assert Regenerator(tmp_path / "out", found)._renderers._offload == expected


@pytest.mark.parametrize("offload", ["group", "model"])
def test_an_offload_changes_no_image(offload: str, saved: Callable[[str], Path]) -> None:
    """With the CPU in place of an accelerator."""
    expected = renderer(saved("stable_diffusion"))._generate(ROWS)
    made = recipe_for(saved("stable_diffusion"))
    pipeline = Pipelines(device="cpu").get(made)
    offloaded = DiffusersRenderer(pipeline, made)
    place(pipeline, "cpu", offload)
    moves = [one for one in pipeline.unet.modules() if _is_hooked(one)]
    assert len(moves) == 1 if offload == "model" else len(moves) > 10
    assert torch.equal(offloaded._generate(ROWS), expected)
    assert torch.equal(offloaded._generate(ROWS), expected), "the second batch"


def test_a_sequential_offload_is_that_of_diffusers() -> None:
    """accelerate's cannot run with the CPU in place of an accelerator."""
    devices: list[torch.device] = []
    pipeline = SimpleNamespace(enable_sequential_cpu_offload=lambda device: devices.append(device))
    place(pipeline, "cuda:1", "sequential")
    assert devices == [torch.device("cuda:1")]


def _is_hooked(module: torch.nn.Module) -> bool:
    return hasattr(module, "_hf_hook") or hasattr(module, "_diffusers_hook")


def test_an_offload_is_recorded_and_may_differ_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.builder.build.require_offload", lambda *_: None)
    options: dict[str, Any] = {"show_progress": False, "renderer_factory": FakeRenderer}
    for count, offload in ((1, "model"), (2, "group")):
        small = recipe(tmp_path, "base", images_per_class=count)
        settings = replace(SETTINGS, offload=offload)
        build(small, tmp_path / "out", settings=settings, **options)
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    assert manifest.offload == ("model", "group")
    assert "- Offload: model, group" in (tmp_path / "out/README.md").read_text()
    assert "offload" not in read_stamp(shard(tmp_path / "out")).settings
    unused = manifest.model_copy(update={"offload": ()})
    assert "offload" not in unused.text()
    assert parse_manifest(tmp_path, manifest.text()) == manifest


@pytest.mark.parametrize(
    ("used", "shown"),
    [
        ({"compile": "blocks"}, "dtype float32, compile blocks"),
        ({"compile": "network", "guidance_interval": "0,0.5"}, "float32, compile network"),
        ({"vae_slicing": True}, "dtype float32, vae slicing"),
    ],
)
def test_other_ways_to_compute_are_recorded_and_replayed(
    used: dict[str, Any], shown: str, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    """Without translating, which takes a minute; see the soak test below."""
    model = saved("stable_diffusion")
    tiny = recipe(tmp_path, "tiny", model={"id": str(model)}, output={"size": 16})
    out = tmp_path / "out"
    with torch.compiler.set_stance("force_eager"):
        build(tiny, out, settings=replace(SETTINGS, **used), show_progress=False)
        where: dict[str, Any] = {"config": "tiny", "index": 3, "allow_local_model": True}
        assert replay(out, **where).regenerated.same_bytes
    manifest = read_manifest(out)
    assert manifest is not None
    assert str(manifest.settings.inference).endswith(shown)
    with pytest.raises(UserError, match=rf"{next(iter(used))} \w+ \(recorded: "):
        build(tiny, out, settings=replace(SETTINGS, **_other(used)), show_progress=False)


def _other(used: dict[str, Any]) -> dict[str, Any]:
    """Return another value for the first setting."""
    name = next(iter(used))
    return {name: {"blocks": "network", "network": "blocks", True: False}[used[name]]}


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("part", ["blocks", "network"])
def test_compiled_code_gives_the_same_bytes_in_every_process(
    part: str, saved: Callable[[str], Path], tmp_path: Path
) -> None:
    model = saved("stable_diffusion")
    tiny = recipe(tmp_path, "tiny", model={"id": str(model)}, output={"size": 16})
    file, first = tmp_path / "tiny.yaml", tmp_path / "first"
    for out in (first, tmp_path / "second"):
        words = ["build", str(file), str(out), "--processes", "2", "--compile", part]
        words += ["--batch-size", "4", "--shard-size", "8", "--dtype", "float32"]
        subprocess.run([sys.executable, "-m", "factory", *words], check=True)
    assert tree(first) == tree(tmp_path / "second")
    build(tiny, tmp_path / "plain", settings=SETTINGS, show_progress=False)
    images = [read_rows(shard(out, "tiny"))[0]["image"] for out in (first, tmp_path / "plain")]
    assert images[0] != images[1], "nothing was compiled"
    pixels = [np.asarray(load_image(one["bytes"]), np.int16) for one in images]
    assert abs(pixels[0] - pixels[1]).max() <= 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compile": "all"}, "--compile all: expected blocks or network"),
        ({"compile": "blocks", "cache": "taylorseer"}, "--compile cannot be used with --cache"),
        ({"compile": "blocks", "offload": "group"}, "--compile cannot be used with --offload"),
        (
            {"fuse_adapters": True, "quantize": "int8"},
            "--fuse-adapters cannot be used with --quantize: .*; remove one of them",
        ),
        ({"batch_size": "auto", "compile": "blocks"}, "auto cannot be used with --compile, which"),
        (
            {"batch_size": "auto", "cache": "first-block"},
            "--batch-size auto cannot be used with --cache first-block, .*; give one",
        ),
    ],
)
def test_settings_that_exclude_each_other_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        fix(BuildSettings(**settings), recorded=None, device="cpu", out="out")


def test_settings_of_a_dataset_and_of_a_launch_are_judged_together() -> None:
    where: dict[str, Any] = {"device": "cpu", "out": "out"}
    recorded = fix(BuildSettings(batch_size=4, compile="blocks"), recorded=None, **where)
    with pytest.raises(UserError, match=r"--compile cannot be used with --offload.*; remove --off"):
        fix(BuildSettings(offload="group"), recorded=recorded, **where)
    # Another launch has begun the dataset while this one measured.
    wanted = BuildSettings(batch_size="auto")
    assert fix(wanted, recorded=recorded, automatic=8, **where) == recorded
    assert fix(wanted, recorded=None, automatic=8, **where).batch_size == 8
    # A number alone would set the first inherited setting.
    with pytest.raises(TypeError, match="positional"):
        BuildSettings(8)  # type: ignore[misc]


def test_a_model_loaded_before_another_launch_recorded_its_settings_is_not_used(
    saved: Callable[[str], Path],
) -> None:
    made, renderers = recipe_for(saved("stable_diffusion")), Renderers(None, device="cpu")
    # Renderers of recipes that are generated together are all kept.
    with renderers.together([made]):
        for dtype in ("float32", "bfloat16", "float32"):
            found: Any = renderers.get(made, InferenceSettings(dtype=dtype))
            assert found._pipeline.unet.dtype == getattr(torch, dtype)
            assert renderers.get(made, InferenceSettings(dtype=dtype)) is found


def test_what_cannot_be_compiled_or_sliced_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = SimpleNamespace(unet=torch.nn.Linear(1, 1), vae=None)
    with pytest.raises(UserError, match=r"Linear names no repeated blocks .* --compile network"):
        compile_network(pipeline, "blocks")
    with pytest.raises(UserError, match=r"SimpleNamespace has no decoder, .*; remove the option"):
        decode_one_by_one(pipeline)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    for system, compiler, how in (
        ("linux", r"g\+\+", "Debian"),
        ("darwin", r"clang\+\+", "xcode"),
        ("win32", "cl", "Build Tools"),
    ):
        monkeypatch.setattr(sys, "platform", system)
        message = rf"there is no {compiler} on the PATH; install one \({how}"
        with pytest.raises(UserError, match=message):
            compile_network(pipeline, "network")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"there is no no-such-compiler on the PATH; install one"):
        compile_network(pipeline, "network")
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(torch._inductor, "config", SimpleNamespace())
    with pytest.raises(UserError, match=r"--compile needs torch 2\.10 or newer, not \d"):
        compile_network(pipeline, "network")


def test_code_is_chosen_without_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch._inductor.config, "deterministic", False)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    # Nothing is compiled before its first call.
    compile_network(SimpleNamespace(unet=torch.nn.Linear(1, 1)), "network")
    assert torch._inductor.config.deterministic is True
