"""`--cache cache-dit`: which blocks it computes, and that it leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_families
import torch
from build_parts import SETTINGS, recipe, tree
from test_families import recipe_for
from test_inference import renderer
from test_render import SPECS

from factory.builder.build import build
from factory.cli.main import main
from factory.common.errors import UserError
from factory.inspection.replay import replay
from factory.models.inference import PLAIN, Cache, InferenceSettings
from factory.renderer import block_caches
from factory.renderer.diffusers_renderer import DiffusersRenderer
from factory.renderer.guidance import network_of
from factory.renderer.pipelines import Pipelines, load_pipeline
from factory.renderer.placement import place
from factory.shards.manifest import read_manifest
from factory.shards.settings import BuildSettings, fix

needs_package = pytest.mark.skipif(
    block_caches.find_spec("cache_dit") is None,
    reason="cache-dit is not installed: the extra `cache-dit`",
)
WARM_UP, STEPS = 8, 12
ROWS = [row._replace(num_inference_steps=STEPS, negative_prompt="") for row in SPECS[:2]]
# Above every change of random weights.
ALWAYS = "cache-dit:0.99"
NEVER = "cache-dit:0.000000001"
SKIPPED = [1] * WARM_UP + [0] * (STEPS - WARM_UP)


def computed(made: DiffusersRenderer, rows: Any = ROWS) -> tuple[torch.Tensor, list[int]]:
    """Return the images of a batch, and for each call of the network whether its end ran."""
    network = network_of(made._pipeline)
    last = (getattr(network, "single_transformer_blocks", None) or network.transformer_blocks)[-1]
    calls: list[int] = []
    hooks = [
        network.register_forward_pre_hook(lambda *_: calls.append(0)),
        last.register_forward_pre_hook(lambda *_: calls.__setitem__(-1, 1)),
    ]
    try:
        return made._generate(rows), calls
    finally:
        for hook in hooks:
            hook.remove()


def attributes(pipeline: Any) -> list[Any]:
    """Return what the package changes: names, and what is called."""
    parts = [type(pipeline), *network_of(pipeline).modules()]
    called = [type(pipeline).__call__, *(vars(one).get("forward") for one in parts)]
    return [*(sorted(vars(one)) for one in parts), *called]


@needs_package
@pytest.mark.parametrize("family", ["deep_flux", "deep_sd3", "deep_pixart"])
def test_blocks_are_skipped_and_nothing_is_left(
    family: str, saved: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """The package changes the class of pipelines, and prints what it does."""
    plain = renderer(saved(family))
    full, calls = computed(plain)
    assert calls == [1] * STEPS
    cached = renderer(saved(family), cache=ALWAYS)
    before = attributes(cached._pipeline)
    images, calls = computed(cached)
    assert calls == SKIPPED
    assert not torch.equal(images, full)
    assert torch.equal(computed(plain)[0], full), "another pipeline of the class"
    cached._generate([row._replace(seed=row.seed + 9) for row in ROWS])
    assert torch.equal(computed(cached)[0], images), "state of another batch"
    assert attributes(cached._pipeline) == before
    never, calls = computed(renderer(saved(family), cache=NEVER))
    assert calls == [1] * STEPS
    assert torch.equal(never, full)
    said = capfd.readouterr()
    assert "Cache" not in said.out + said.err


@needs_package
def test_a_batch_that_fails_leaves_nothing(saved: Callable[[str], Path]) -> None:
    cached = renderer(saved("deep_sd3"), cache=ALWAYS)
    images = cached._generate(ROWS)
    block = network_of(cached._pipeline).transformer_blocks[-1]
    hook = block.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cached._generate(ROWS)
    hook.remove()
    assert torch.equal(cached._generate(ROWS), images)
    assert not hasattr(cached._pipeline, "_is_cached")


@needs_package
@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.filterwarnings("ignore:.*FluxPosEmbed:FutureWarning")
def test_separate_passes_have_a_cache_each(guided: bool, tmp_path: Path) -> None:
    """cache-dit takes every second call for the other pass, whether there is one or not."""
    pipeline = tiny_families.deep_chroma(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    calls: list[int] = []
    pipeline.transformer.register_forward_pre_hook(lambda *_: calls.append(0))
    last = pipeline.transformer.single_transformer_blocks[-1]
    last.register_forward_pre_hook(lambda *_: calls.__setitem__(-1, 1))
    with block_caches.blocks_cached(pipeline, Cache.parse(ALWAYS), two_passes=guided):
        pipeline(
            "cat", guidance_scale=3 if guided else 1, num_inference_steps=STEPS, height=16, width=16
        )
    assert calls == [one for one in SKIPPED for _ in range(2 if guided else 1)]


@needs_package
def test_a_batch_of_another_size_is_computed(saved: Callable[[str], Path]) -> None:
    """Guidance ends after nine steps, and the batch has half the size from then on."""
    cached = renderer(saved("deep_sd3"), guidance_interval="0,0.75", cache=ALWAYS)
    assert computed(cached)[1] == [*SKIPPED[:9], 1, 0, 0]


@needs_package
def test_a_process_decides_alone(
    saved: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes have other images; cache-dit would average over them."""
    cached = renderer(saved("deep_flux"), cache=ALWAYS)
    images = cached._generate(ROWS)

    def averaged(*_: Any, **__: Any) -> None:
        raise AssertionError("asked the other processes")

    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    monkeypatch.setattr("torch.distributed.all_reduce", averaged)
    assert torch.equal(cached._generate(ROWS), images)


@needs_package
@pytest.mark.parametrize("family", ["deep_flux", "deep_pixart"])
def test_an_offload_stays(family: str, saved: Callable[[str], Path]) -> None:
    """With the CPU in place of an accelerator."""
    expected = renderer(saved(family), cache=ALWAYS)._generate(ROWS)
    made = recipe_for(saved(family))
    pipeline = Pipelines(device="cpu").get(made)
    place(pipeline, "cpu", "model")
    moves = pipeline.transformer.forward
    cached = DiffusersRenderer(pipeline, made, replace(PLAIN, cache=ALWAYS))
    assert torch.equal(cached._generate(ROWS), expected)
    assert pipeline.transformer.forward is moves


@needs_package
@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("stable_diffusion", "cache-dit has no cache for StableDiffusionPipeline with UNet2D"),
        ("flux", "cache-dit computes 8 blocks in every step, but FluxTransformer2DModel has 2;"),
    ],
)
def test_models_without_a_cache_are_refused(
    family: str, reason: str, saved: Callable[[str], Path]
) -> None:
    with pytest.raises(UserError, match=f"cannot use --cache cache-dit:0.08: {reason}") as raised:
        renderer(saved(family), cache="cache-dit")
    assert raised.value.faults[0].key == "model.id"


@needs_package
def test_no_step_to_skip_is_refused(saved: Callable[[str], Path]) -> None:
    keys = {"sampling": {"guidance_scale": 3, "num_inference_steps": WARM_UP}}
    with pytest.raises(UserError, match=r"computes the first 8 steps, .* no effect on images of 8"):
        renderer(saved("deep_sd3"), keys=keys, cache="cache-dit")


def test_a_missing_package_is_named_before_the_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(block_caches, "find_spec", lambda name: None)
    inference = InferenceSettings(dtype="float32", cache="cache-dit")
    model = recipe_for(Path("/nowhere")).model
    with pytest.raises(UserError, match=r"needs cache-dit; .*'data-factory\[cache-dit\]'"):
        load_pipeline(model, inference, device="cpu")


def test_an_offload_that_the_package_does_not_support_is_refused() -> None:
    where: dict[str, Any] = {"device": "cpu", "out": "out"}
    recorded = fix(BuildSettings(batch_size=4, cache="cache-dit"), recorded=None, **where)
    wanted = BuildSettings(offload="group")
    with pytest.raises(UserError, match=r"cache-dit cannot be used with --offload group, .* model"):
        fix(wanted, recorded=recorded, **where)
    assert fix(BuildSettings(offload="model"), recorded=recorded, **where) == recorded


@needs_package
def test_a_build_records_the_cache_and_is_replayed_to_the_same_bytes(
    saved: Callable[[str], Path], tmp_path: Path
) -> None:
    tiny = recipe(
        tmp_path,
        "tiny",
        model={"id": str(saved("deep_sd3")), "height": 16, "width": 16},
        sampling={"guidance_scale": 3, "num_inference_steps": WARM_UP + 1},
        output={"size": 16},
        images_per_class=4,
    )
    one, plain = tmp_path / "one", tmp_path / "plain"
    settings = replace(SETTINGS, cache=ALWAYS)
    build(tiny, one, settings=settings, show_progress=False)
    build(tiny, plain, settings=SETTINGS, show_progress=False)
    assert tree(plain).keys() != tree(one).keys()
    manifest = read_manifest(one)
    assert manifest is not None
    assert manifest.settings.cache == ALWAYS
    assert "cache-dit" in manifest.versions[0]
    where: dict[str, Any] = {"config": "tiny", "index": 3, "allow_local_model": True}
    assert replay(one, **where).regenerated.same_bytes
    assert main(["verify", str(one), "--rebuild", "50%", "--allow-local-model"]) == 0
