"""LoRA adapters of a recipe's model: same images as in diffusers, pinning, error messages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from doc_pages import blocks
from recipe_texts import BASE, write
from test_render import SPECS

from factory.cli.main import main
from factory.common.errors import UserError
from factory.recipe.library import load_recipe
from factory.recipe.lint import lint
from factory.recipe.resolved import ResolvedRecipe
from factory.renderer.diffusers_renderer import DiffusersRenderer
from factory.renderer.pipelines import Pipelines


def _save_adapter(pipeline: Any, folder: Path, *, seed: int) -> None:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    unet = pipeline.unet
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"]), adapter_name="new")
    torch.manual_seed(seed)
    for name, weights in unet.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weights, std=0.5)
    layers = get_peft_model_state_dict(unet, adapter_name="new")
    pipeline.save_lora_weights(folder, unet_lora_layers=layers)
    unet.delete_adapters("new")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model `sd` and two adapters for it, `warm` and `cold`."""
    from diffusers import DiffusionPipeline

    root = tmp_path_factory.mktemp("adapters")
    pipeline = DiffusionPipeline.from_pretrained(tiny_models.save_stable_diffusion(root / "sd"))
    _save_adapter(pipeline, root / "warm", seed=1)
    _save_adapter(pipeline, root / "cold", seed=2)
    return root


def adapted(folder: Path, adapters: str) -> ResolvedRecipe:
    model = f"{{id: ./sd, adapters: {adapters}}}"
    write(folder, r=BASE.replace("{id: embedded}", model))
    return load_recipe(folder / "r.yaml")


def generate(recipe: ResolvedRecipe) -> torch.Tensor:
    pipeline = Pipelines(device="cpu", dtype=torch.float32).get(recipe)
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
    pipeline = Pipelines(device="cpu", dtype=torch.float32).get(tiny)
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
