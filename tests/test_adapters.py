"""LoRA adapters of a recipe's model: same images as in diffusers, pinning, error messages."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_models
import torch
from build_parts import SETTINGS
from doc_pages import blocks
from recipe_texts import BASE, write
from test_families import recipe_for
from test_render import SPECS

from factory.builder.build import build
from factory.cli.main import main
from factory.common.devices import torch_threads
from factory.common.errors import UserError
from factory.inspection.replay import replay
from factory.models.adapter_files import file_revision
from factory.models.inference import PLAIN, InferenceSettings
from factory.recipe.library import load_recipe
from factory.recipe.lint import lint
from factory.recipe.resolved import ResolvedRecipe
from factory.recipe.schema import Adapter
from factory.renderer.adapters import load_adapters, merge_adapters
from factory.renderer.diffusers_renderer import DiffusersRenderer
from factory.renderer.pipelines import Pipelines
from factory.shards.manifest import read_manifest

MERGED = replace(PLAIN, fuse_adapters=True)


def _save_adapter(
    pipeline: Any, folder: Path, *, seed: int, part: str = "unet", **config: Any
) -> None:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    network = getattr(pipeline, part)
    # peft cannot compute DoRA of convolutions in channels-last order.
    targets = ["to_q", "to_v", *([] if "use_dora" in config else ["conv1"])]
    made = LoraConfig(r=2, target_modules=targets, **config)
    network.add_adapter(made, adapter_name="new")
    _randomize(network, seed)
    layers = get_peft_model_state_dict(network, adapter_name="new")
    pipeline.save_lora_weights(folder, **{f"{part}_lora_layers": layers})
    network.unload_lora()


def _randomize(model: Any, seed: int) -> None:
    torch.manual_seed(seed)
    for name, weights in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model `sd` and adapters for it: `warm`, `cold`, `dora`."""
    from diffusers import DiffusionPipeline

    root = tmp_path_factory.mktemp("adapters")
    pipeline = DiffusionPipeline.from_pretrained(tiny_models.save_stable_diffusion(root / "sd"))
    _save_adapter(pipeline, root / "warm", seed=1)
    _save_adapter(pipeline, root / "cold", seed=2)
    _save_adapter(pipeline, root / "dora", seed=3, use_dora=True)
    return root


def adapted(folder: Path, adapters: str) -> ResolvedRecipe:
    model = f"{{id: ./sd, adapters: {adapters}}}"
    write(folder, r=BASE.replace("{id: embedded}", model))
    return load_recipe(folder / "r.yaml")


def generate(recipe: ResolvedRecipe, inference: InferenceSettings = PLAIN) -> torch.Tensor:
    pipeline = Pipelines(device="cpu").get(recipe, inference)
    return DiffusersRenderer(pipeline, recipe)._generate(SPECS[:2])


# peft remarks on a second adapter; that is what is asked for here.
@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
def test_adapters_are_applied_by_their_weights(folder: Path) -> None:
    from diffusers import DiffusionPipeline

    recipe = adapted(folder, "[{id: warm, weight: 0.8}, {id: ./cold, weight: 0.3}]")
    stock = DiffusionPipeline.from_pretrained(folder / "sd")
    stock.set_progress_bar_config(disable=True)
    stock.load_lora_weights(folder / "warm", adapter_name="warm")
    stock.load_lora_weights(folder / "cold", adapter_name="cold")
    stock.set_adapters(["warm", "cold"], [0.8, 0.3])
    plain = adapted(folder, "[]")
    expected = DiffusersRenderer(stock, plain)._generate(SPECS[:2])
    assert (generate(recipe) - expected).abs().max() < 1e-5
    assert (generate(plain) - expected).abs().max() > 1e-3, "adapters that do nothing prove nothing"


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
@pytest.mark.parametrize(
    ("adapters", "options"),
    [
        ("[{id: warm, weight: 0.125}, {id: ./cold, weight: -0.3}]", {}),
        ("[{id: dora, weight: 0.7}]", {"offload": "group"}),
    ],
)
def test_merged_adapters_give_the_same_images(
    folder: Path, adapters: str, options: dict[str, Any]
) -> None:
    recipe, plain = adapted(folder, adapters), adapted(folder, "[]")
    pipelines = Pipelines(device="cpu", **options)
    pipeline = pipelines.get(recipe, MERGED)
    assert not _adapter_layers(pipeline)
    found = DiffusersRenderer(pipeline, recipe)._generate(SPECS[:2])
    expected, without = generate(recipe), generate(plain)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (found - without).abs().max() > 1e-3
    # The weights that were changed are not those of other settings or recipes.
    assert _adapter_layers(pipelines.get(recipe))
    assert torch.equal(
        DiffusersRenderer(pipelines.get(plain, MERGED), plain)._generate(SPECS[:2]), without
    )


def test_all_parts_of_an_adapter_are_merged(saved: Callable[[str], Path], tmp_path: Path) -> None:
    """Of FLUX diffusers merges only the transformer by default, and takes the adapter's norms back.

    Layers of the text encoder are injected, because transformers loads them only with newer
    versions of peft.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from safetensors.torch import load_file, save_file

    plain = recipe_for(saved("flux"))
    pipeline = Pipelines(device="cpu").get(plain)

    def images() -> torch.Tensor:
        # A renderer keeps embeddings of prompts.
        return DiffusersRenderer(pipeline, plain)._generate(SPECS[:2])

    found = [images()]
    _save_adapter(pipeline, tmp_path, seed=1, part="transformer")
    (file,) = tmp_path.glob("*.safetensors")
    norm = "transformer_blocks.0.attn.norm_q.weight"
    weights = torch.full_like(pipeline.transformer.get_parameter(norm), 3)
    save_file(load_file(file) | {f"transformer.{norm}": weights}, file)
    load_adapters(pipeline, [Adapter(id=str(file), revision=file_revision(file), weight=0.5)])
    found.append(images())
    layers = LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    inject_adapter_in_model(layers, pipeline.text_encoder, "adapter_0")
    _randomize(pipeline.text_encoder, 2)
    expected = images()
    assert all((expected - one).abs().max() > 1e-3 for one in found)
    merge_adapters(pipeline, 1)
    assert not _adapter_layers(pipeline)
    assert torch.equal(pipeline.transformer.get_parameter(norm), weights)
    torch.testing.assert_close(images(), expected, atol=1e-4, rtol=0)


def test_merged_weights_do_not_depend_on_threads(folder: Path) -> None:
    """Merged in two threads, convolutions have other last digits, also these small ones."""
    recipe, merged = adapted(folder, "[{id: warm}]"), []
    for threads in (1, 2):
        with torch_threads(threads):
            merged.append(Pipelines(device="cpu").get(recipe, MERGED).unet.state_dict())
    one, two = merged
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def _adapter_layers(pipeline: Any) -> list[str]:
    models = [one for one in pipeline.components.values() if isinstance(one, torch.nn.Module)]
    return [name for model in models for name, _ in model.named_modules() if "lora" in name]


def test_adapters_that_cannot_be_merged_are_refused(folder: Path) -> None:
    recipe = adapted(folder, "[{id: dora}, {id: warm}]")
    with pytest.raises(UserError, match=r"cannot be merged \(of several, one is a DoRA .*; remove"):
        generate(recipe, MERGED)
    with pytest.raises(UserError, match=r"cannot be merged \(SimpleNamespace has no fuse_lora\)"):
        merge_adapters(SimpleNamespace(), 1)


@pytest.mark.filterwarnings("ignore:Already found a `peft_config` attribute:UserWarning")
def test_merging_is_recorded_replayed_and_measured(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = adapted(folder, "[{id: warm}]")
    merged = replace(SETTINGS, fuse_adapters=True)
    build(recipe, tmp_path / "merged", settings=merged, show_progress=False)
    manifest = read_manifest(tmp_path / "merged")
    assert manifest is not None
    assert str(manifest.settings.inference) == "dtype float32, fuse adapters"
    assert "fuse_adapters" in (tmp_path / "merged/README.md").read_text()
    where: dict[str, Any] = {"config": "r", "index": 0, "allow_local_model": True}
    assert replay(tmp_path / "merged", **where).regenerated.same_bytes
    import measure_few_steps

    monkeypatch.setattr(measure_few_steps, "_BATCH", recipe.num_images)
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "merged"), "--rounds", "2"])
    with torch_threads(1):
        measure_few_steps.main()
    row = rf"\| {tmp_path}/merged \| [\d.]+ \[[\d.]+, [\d.]+\] \|"
    assert re.fullmatch(row, capsys.readouterr().out.splitlines()[2])
    other = replace(SETTINGS, fuse_adapters=False)
    with pytest.raises(UserError, match=r"fuse_adapters False \(recorded: True\); remove"):
        build(recipe, tmp_path / "merged", settings=other, show_progress=False)
    plain = adapted(folder, "[]").model_copy(update={"name": "plain"})
    with pytest.raises(UserError, match=r"was started with .*, but plain has none; name adapters"):
        build([recipe, plain], tmp_path / "merged", settings=SETTINGS, show_progress=False)
    with pytest.raises(
        UserError, match=r"r\.yaml:.* merges .*, but plain has none; remove the opt"
    ):
        build([recipe, plain], tmp_path / "new", settings=merged, show_progress=False)
    assert not (tmp_path / "new").exists()


FEW_STEPS = [
    one.text for one in blocks("docs/faster.md") if one.language == "yaml" and "model:" in one.text
]


@pytest.mark.parametrize("text", FEW_STEPS, ids=[text.split()[3] for text in FEW_STEPS])
def test_recipes_of_few_step_models_fit_and_run(text: str, folder: Path) -> None:
    """As they are written; and with a tiny model, an adapter for it, and small images."""
    write(folder, few=text)
    recipe = load_recipe(folder / "few.yaml")
    # The commits of adapters are missing, and the parent's prompt says "a airplane".
    assert {one.key for one in lint([recipe])} <= {"model.adapters.0.id", "prompt"}
    small = re.sub(r"(?<=: )(512|1024)\b", "16", text)
    small = re.sub(r"(?<=[ {]id: )(stab[\w./-]+)", "./sd", small)
    small = re.sub(r"(?<=adapters: \[{id: ).*(?=}])", "./warm", small)
    write(folder, few=small)
    tiny = load_recipe(folder / "few.yaml")
    assert tiny.model.scheduler == recipe.model.scheduler
    assert len(tiny.model.adapters) == len(recipe.model.adapters)
    steps = int(recipe.sampling.num_inference_steps.bounds()[0])
    scale = recipe.sampling.guidance_scale.bounds()[1]
    pipeline = Pipelines(device="cpu").get(tiny)
    row = SPECS[0]._replace(num_inference_steps=steps, guidance_scale=scale)
    (image,) = DiffusersRenderer(pipeline, tiny).render([row], batch_size=1)
    assert image is not None
    assert len(set(pipeline.scheduler.timesteps.tolist())) == steps
    trailing = tiny.model.scheduler_config == {"timestep_spacing": "trailing"}
    assert not trailing or pipeline.scheduler.timesteps[0] == 999


@pytest.mark.parametrize(
    "options", [["--model", "embedded"], ["--set", "model.id=embedded"], ["--model", "./sd"]]
)
def test_settings_that_another_model_does_not_keep_are_named(
    folder: Path,
    options: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    adapted(folder, "[{id: warm}], scheduler_config: {steps_offset: 0}")
    for command in ("plan", "check"):
        main([command, "r.yaml", *options])
        said = "the recipe's model.scheduler_config and model.adapters belong to its own model"
        lines = [line for line in capsys.readouterr().err.splitlines() if said in line]
        assert len(lines) == 1 and lines[0].endswith("and are not used")
        main([command, "r.yaml", "--set", "sampling.seed=1"])
        assert said not in capsys.readouterr().err


def test_the_fingerprint_covers_file_and_weight(folder: Path) -> None:
    prints = [
        adapted(folder, adapters).fingerprint
        for adapters in ("[]", "[{id: warm}]", "[{id: warm, weight: 0.5}]", "[{id: cold}]")
    ]
    assert len(set(prints)) == 4
    recipe = adapted(folder, "[{id: warm}]")
    assert len(recipe.model.adapters[0].revision or "") == 40
    assert lint([recipe]) == []
    write(folder, again=recipe.to_yaml())
    assert load_recipe(folder / "again.yaml").fingerprint == recipe.fingerprint
    hub = adapted(folder, "[{id: org/lora}]")
    assert [warning.key for warning in lint([hub])] == ["model.adapters.0.id"]


def test_a_changed_file_is_refused(folder: Path, tmp_path: Path) -> None:
    recipe = adapted(folder, "[{id: warm}]")
    file = Path(recipe.model.adapters[0].id)
    before = file.read_bytes()
    try:
        file.write_bytes((folder / "cold" / file.name).read_bytes())
        with pytest.raises(UserError, match="the file differs from the recipe's revision"):
            generate(recipe)
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize(
    ("adapters", "message"),
    [
        ("[{id: ./none}]", "r.yaml:4:35: model.adapters.0.id: ./none not found"),
        ("[{id: ./sd}]", "has no *.safetensors file; name one file with `weight_name`"),
        ("[{id: ./warm, weight_name: x.safetensors}]", "has no file x.safetensors; correct"),
        ("[{id: ./warm, wieght: 1}]", "wieght: unknown key; did you mean 'weight'?"),
        ("[{id: ./warm, revision: abc}]", "abc does not match this file, whose hash is"),
        ("{id: ./warm}", "model.adapters: expected a list, found a mapping"),
    ],
)
def test_invalid_adapters_are_refused(folder: Path, adapters: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        adapted(folder, adapters)
    assert message in str(raised.value)


def test_missing_adapters_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="adapter nobody/lora: cannot be loaded"):
        generate(adapted(folder, f"[{{id: nobody/lora, revision: {'ab' * 20}}}]"))
    other = folder / "other"
    other.mkdir(exist_ok=True)
    from safetensors.torch import save_file

    save_file({"transformer.x.lora_A.weight": torch.ones(2, 2)}, other / "lora.safetensors")
    with pytest.raises(UserError, match=r"adapter .*: (cannot be loaded|contains no weights)"):
        generate(adapted(folder, "[{id: ./other}]"))
