"""Untrusted models and secrets: no pickle, no code of a model, no token in any output."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_clip
import tiny_models
import torch
from build_parts import SETTINGS, FakeRenderer, recipe, tree
from diffusers import StableDiffusionPipeline
from hub_parts import ORG, run_python
from localhub import LocalHub
from quick_python import python
from safetensors.torch import load_file, save_file

from factory.builder.build import build
from factory.common import console, redaction
from factory.common.entry import run_main
from factory.common.errors import Failure, UserError
from factory.gates.safety import Safety
from factory.models.clip import load_clip
from factory.models.variants import needed_variant
from factory.recipe.model_files import settings_on_disk
from factory.recipe.schema import Adapter, Model
from factory.recipe.text_encoders import encoders_at_hand
from factory.renderer.adapters import load_adapters
from factory.renderer.pipelines import load_pipeline

ROOT = Path(__file__).parent.parent
HUB_TOKEN = "hf_" + "PlantedInTests1" * 2
OWN_TOKEN = "a-token/of+no=known/form"


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a tiny pipeline."""
    return tiny_models.save_stable_diffusion(tmp_path_factory.mktemp("untrusted") / "sd")


def load(path: Path, *, allow_pickle: bool = False) -> Any:
    model = Model(id=str(path))
    return load_pipeline(model, device="cpu", allow_pickle=allow_pickle)


def pickled(model: Path, folder: Path, part: str, *, payload: Payload | None = None) -> Path:
    """Copy a model with the weights of one part pickled."""
    copy = Path(shutil.copytree(model, folder / "pickled"))
    (weights,) = (copy / part).glob("*.safetensors")
    tensors: dict[str, Any] = dict(load_file(weights))
    weights.unlink()
    name = {"text_encoder": "pytorch_model.bin"}.get(part, "diffusion_pytorch_model.bin")
    torch.save(tensors | ({"payload": payload} if payload else {}), copy / part / name)
    return copy


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_pickled_weights_are_read_only_when_allowed(model: Path, tmp_path: Path, part: str) -> None:
    copy = pickled(model, tmp_path, part)
    with pytest.raises(UserError, match=r"only safetensors weights are loaded; .*--allow-pickle"):
        load(copy)
    found = load(copy, allow_pickle=True)
    whole = load(model)
    for name, tensor in getattr(whole, part).state_dict().items():
        assert torch.equal(tensor, getattr(found, part).state_dict()[name])


@pytest.mark.parametrize("shard_size", ["10GB", "50KB"])
def test_weights_of_another_name_are_found(model: Path, tmp_path: Path, shard_size: str) -> None:
    whole = load(model)
    half = StableDiffusionPipeline.from_pretrained(model).to(torch.float16)
    half.save_pretrained(tmp_path / "half", variant="fp16", max_shard_size=shard_size)
    found = load(tmp_path / "half")
    assert (whole.weights_variant, found.weights_variant) == (None, "fp16")
    for part in ("unet", "vae", "text_encoder"):
        tensors = getattr(whole, part).state_dict()
        for name, tensor in getattr(found, part).state_dict().items():
            torch.testing.assert_close(tensor.half().float(), tensors[name].half().float())
            assert tensor.dtype == torch.float32
    assert settings_on_disk(Model(id=str(tmp_path / "half"))).variant == "fp16"
    # One part has plain weights: these are read.
    shutil.rmtree(tmp_path / "half/vae")
    shutil.copytree(model / "vae", tmp_path / "half/vae")
    mixed = load(tmp_path / "half").vae.state_dict()
    assert all(torch.equal(mixed[name], one) for name, one in whole.vae.state_dict().items())


@pytest.mark.parametrize(
    ("files", "variant"),
    [
        (["unet/model.safetensors", "unet/model.fp16.safetensors"], None),
        (["unet/model.fp16.safetensors", "unet/model.bf16.safetensors"], "bf16"),
        (["unet/model.ema.safetensors", "vae/model.safetensors"], "ema"),
        (["unet/model.fp16.safetensors", "vae/model.bf16.safetensors"], None),
        (["unet/model.fp16-00001-of-00002.safetensors"], "fp16"),
        (["unet/model-00001-of-00002.fp16.safetensors"], "fp16"),
        (["unet/model-00001-of-00002.safetensors"], None),
        (["safety_checker/model.fp16.safetensors", "unet/model.safetensors"], None),
        (["other/model.fp16.safetensors", "unet/model.safetensors"], None),
        (["sd.fp16.safetensors", "unet/model.fp16.bin"], None),
    ],
)
def test_the_variant_follows_from_the_files(files: list[str], variant: str | None) -> None:
    assert needed_variant(files, {"unet", "vae", "safety_checker"}) == variant
    assert needed_variant(reversed(files), {"unet", "vae", "safety_checker"}) == variant


_HUB_VARIANT = """
import sys, torch
from huggingface_hub import HfApi
from factory.renderer.pipelines import load_pipeline
from factory.recipe.schema import Model

repo, folder = sys.argv[1:]
HfApi().create_repo(repo)
commit = HfApi().upload_folder(repo_id=repo, folder_path=folder).oid
load = lambda: load_pipeline(Model(id=repo, revision=commit), device="cpu")
print(load().weights_variant)
from huggingface_hub import constants
constants.HF_HUB_OFFLINE = True
print(load().weights_variant)
"""


@pytest.mark.slow
def test_weights_of_another_name_are_found_on_the_hub(model: Path, tmp_path: Path) -> None:
    half = StableDiffusionPipeline.from_pretrained(model)
    half.save_pretrained(tmp_path / "half", variant="fp16")
    with LocalHub() as hub:
        done = run_python(hub, tmp_path / "home", _HUB_VARIANT, f"{ORG}/half", tmp_path / "half")
    assert done.stdout.split() == ["fp16", "fp16"], done.stderr


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
@pytest.mark.parametrize("allowed", [False, True])
def test_code_in_pickled_weights_is_never_run(
    model: Path, tmp_path: Path, part: str, allowed: bool
) -> None:
    copy = pickled(model, tmp_path, part, payload=Payload(tmp_path / "ran"))
    with pytest.raises(UserError, match=r"only safetensors|more than tensors"):
        load(copy, allow_pickle=allowed)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("part", ["_class_name", "unet"])
def test_code_that_comes_with_a_model_is_never_run(model: Path, tmp_path: Path, part: str) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "coded"))
    code = (
        f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom diffusers import UNet2DConditionModel as Own\n"
    )
    index = json.loads((copy / "model_index.json").read_text())
    index[part] = ["own", "Own"]
    (copy / "model_index.json").write_text(json.dumps(index))
    (copy / "own.py").write_text(code)
    (copy / "unet" / "own.py").write_text(code)
    with pytest.raises(UserError, match="code that comes with a model is never run"):
        load(copy)
    assert not (tmp_path / "ran").exists()


JUDGES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "clip": (tiny_clip.save_clip, lambda folder: load_clip(str(folder))),
    "checker": (
        lambda folder: tiny_clip.save_safety_checker(folder, threshold=2.0),
        lambda folder: Safety(str(folder), device="cpu", batch_size=1),
    ),
    "classifier": (
        lambda folder: tiny_clip.save_image_classifier(folder, ["nsfw", "safe"]),
        lambda folder: Safety(str(folder), device="cpu", batch_size=1),
    ),
}


@pytest.mark.parametrize("kind", JUDGES)
def test_a_judge_with_pickled_weights_is_not_read(tmp_path: Path, kind: str) -> None:
    save, read = JUDGES[kind]
    folder = save(tmp_path / "judge")
    read(folder)
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(UserError, match="has no safetensors weights, and pickled") as caught:
        read(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", JUDGES)
@pytest.mark.parametrize("part", ["config.json", "preprocessor_config.json"])
def test_code_that_comes_with_a_judge_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, part: str
) -> None:
    save, read = JUDGES[kind]
    folder = save(tmp_path / "judge")
    names = ("AutoConfig", "AutoModel", "AutoModelForImageClassification", "AutoImageProcessor")
    path = folder / part
    keys = ("model_type", "architectures", "image_processor_type", "processor_class")
    values = {key: one for key, one in json.loads(path.read_text()).items() if key not in keys}
    path.write_text(json.dumps(values | {"auto_map": dict.fromkeys(names, "own.Own")}))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    # Asked whether to run it, the answer would be yes.
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    refused = pytest.raises(UserError, match="code that comes with the model, which is never run")
    # The image processor follows from the model then: its class in transformers is taken.
    with refused if part == "config.json" else contextlib.nullcontext():
        read(folder)
    assert not (tmp_path / "ran").exists()


def deep(values: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a `config.json` that describes the vision model."""
    found: dict[str, Any] = values.get("vision_config", values)
    return found


LARGER = "has more (parameters|layers) than the file of weights"
ODD_CONFIGS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "layers": (lambda values: deep(values).update(num_hidden_layers=300_000), LARGER),
    "width": (lambda values: deep(values).update(hidden_size=1_000_000), LARGER),
    "endless layers": (
        lambda values: deep(values).update(num_hidden_layers=10**10),
        r"config\.json: .*num_hidden_layers: 1e\+10 is more than 2,000,000",
    ),
    "a list": (lambda values: values.update(vision_config=[]), "cannot be loaded"),
    "a text": (lambda values: deep(values).update(hidden_size="x"), "cannot be loaded"),
    "code": (
        lambda values: deep(values).update(attn_implementation="evil/kernel"),
        "'evil/kernel' is code of another repository, which is never run",
    ),
    "depth": (lambda values: values.update(x=json.loads("[" * 60 + "]" * 60)), "deeper than 50"),
    "another file": (
        lambda values: values.update(model_args={"checkpoint_path": "/etc/passwd"}),
        "model_args.checkpoint_path: must not be set",
    ),
    "another model": (
        lambda values: values.update(backbone="resnet50", use_pretrained_backbone=True),
        "names another model",
    ),
}


@pytest.mark.parametrize("kind", JUDGES)
@pytest.mark.parametrize("change", ODD_CONFIGS)
def test_an_odd_config_of_a_judge_is_one_line(tmp_path: Path, kind: str, change: str) -> None:
    save, read = JUDGES[kind]
    folder = save(tmp_path / "judge")
    edit, message = ODD_CONFIGS[change]
    path = folder / "config.json"
    values = json.loads(path.read_text())
    if kind == "classifier" and change == "a list":
        values["model_type"] = "clip"
    edit(values)
    path.write_text(json.dumps(values))
    if change in ("layers", "width"):
        save_file({"x": torch.zeros(1)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=message) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", JUDGES)
def test_a_judge_does_not_enlarge_images_without_limit(tmp_path: Path, kind: str) -> None:
    save, read = JUDGES[kind]
    path = save(tmp_path / "judge") / "preprocessor_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"size": {"height": 8, "width": 1e6}})
    )
    with pytest.raises(UserError, match=r"preprocessor_config\.json: size\.width: 1e\+06 is more"):
        read(path.parent)


ODD_PARTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "layers": ("text_encoder/config.json", {"num_hidden_layers": 300_000}, LARGER),
    "width": ("unet/config.json", {"block_out_channels": [1_000_000, 64]}, "cannot be loaded"),
    "depth": ("unet/config.json", {"layers_per_block": 300_000}, LARGER),
    "steps": ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**9}, "is more than"),
    "a text": ("unet/config.json", {"block_out_channels": "x"}, "cannot be loaded"),
    "code": ("text_encoder/config.json", {"attn_implementation": "e/k"}, "is never run"),
}


@pytest.mark.parametrize("kind", ODD_PARTS)
def test_an_odd_config_of_a_pipeline_is_one_line(model: Path, tmp_path: Path, kind: str) -> None:
    name, change, message = ODD_PARTS[kind]
    folder = shutil.copytree(model, tmp_path / "odd")
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["AutoTokenizer", "AutoProcessor", "Own", "CLIPTextModel"])
def test_code_that_comes_with_a_tokenizer_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / "model" / "tokenizer"
    folder.mkdir(parents=True)
    index = {"_class_name": "StableDiffusionPipeline", "tokenizer": ["transformers", name]}
    (folder.parent / "model_index.json").write_text(json.dumps(index))
    own = {"auto_map": {"AutoTokenizer": ["own.Own", None], "AutoProcessor": "own.Own"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(own | {"model_max_length": 77}))
    (folder / "config.json").write_text(json.dumps({"model_type": "own"}))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    assert encoders_at_hand(Model(id=str(folder.parent))) == []
    assert not (tmp_path / "ran").exists()


def test_a_pickled_adapter_is_never_read(model: Path, tmp_path: Path) -> None:
    weights = tmp_path / "lora.bin"
    torch.save({"payload": Payload(tmp_path / "ran")}, weights)
    pipeline = load(model)
    with pytest.raises(UserError, match=r"lora\.bin is not a \.safetensors file"):
        load_adapters(pipeline, [Adapter(id=str(weights))])
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Set a token in a variable, in the Hub's token file and among its stored tokens."""
    home = tmp_path / "hf"
    home.mkdir()
    (home / "token").write_text("file-token-of-the-hub\n")
    (home / "stored_tokens").write_text("[mine]\nhf_token = stored-token-of-the-hub\n")
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("HF_TOKEN", OWN_TOKEN)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret/key/of/amazon")
    return [
        OWN_TOKEN,
        "file-token-of-the-hub",
        "stored-token-of-the-hub",
        "secret/key/of/amazon",
        HUB_TOKEN,
    ]


def message_of(error: BaseException, capsys: pytest.CaptureFixture[str]) -> str:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as stopped:
        run_main(main)
    assert stopped.value.code in (1, 2)
    return capsys.readouterr().err


@pytest.mark.parametrize("kind", [UserError, Failure, RuntimeError, OSError])
def test_no_error_contains_a_token(
    tokens: list[str], kind: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"cannot reach https://me:pass-word@hub.co/x with {' and '.join(tokens)}"
    printed = message_of(kind(words), capsys)
    assert "cannot reach https://***@hub.co/x with ***" in printed
    assert not [token for token in [*tokens, "pass-word"] if token in printed]


@pytest.mark.parametrize(
    "text",
    [
        "https://S3CRET-word@host/x",
        "https:/S3CRET-word@host/x",
        "memory://user:S3CRET-word@x",
        "s3://key:S3CRET/word@bucket/x",
        "https://host/x.parquet?sv=1&sig=S3CRET-word",
        "unrecognized arguments: --token S3CRET-word",
        "--hf-token=S3CRET-word",
        "secret_key=S3CRET-word",
        "https://me:S3CRET@S3CRET@host/x",
        "redis://:S3CRET-word@host/0",
        "hf://datasets/u:S3CRET-word@h/x",
        "me:S3CRET-word@host:/x",
        "git+https://me:S3CRET-word@host/x.git",
        "git+ssh://S3CRET-word@host/x.git",
        "https://host/x?X-Amz-Credential=S3CRET%2Fword&X-Amz-Signature=S3CRET-word",
        "https://host/x?a=1&whatever=S3CRET-word",
        "https://host/x#access_token=S3CRET-word",
        "{'token': 'S3CRET-word', \"client_secret\": \"S3CRET word\"}",
        "Authorization: Bearer S3CRET-word-x",
        "headers={'Authorization': 'Basic S3CRETwordx=='}",
    ],
)
def test_no_message_contains_a_secret_of_an_address_or_option(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    console.log(text)
    console.write(text)
    captured = capsys.readouterr()
    assert "S3CRET" not in captured.out + captured.err + message_of(UserError(text), capsys)
    assert redaction.SHOWN in captured.out


@pytest.mark.parametrize(
    "arguments", [["--auth", "S3CRET"], ["--auth=S3CRET"], ["--k", "a", "S3CRET"]]
)
def test_values_of_unknown_options_are_not_repeated(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        console.Parser(prog="factory").parse_args(arguments)
    printed = capsys.readouterr().err
    assert f"unrecognized arguments: {arguments[0].partition('=')[0]}" in printed
    assert "S3CRET" not in printed


def test_a_name_does_not_break_out_of_its_table_cell() -> None:
    shown = console.table([["cat\n\nERROR: run this", "1\t2"]], header=["class", "images"])
    assert len(shown.splitlines()) == 3
    assert "cat\\x0a\\x0aERROR" in shown


@pytest.mark.parametrize(
    "text", ["hf://datasets/a/b@main/x", "http://h:80/a@b", "hf-hub:a/b@v1", "local-dir:run@1"]
)
def test_a_revision_is_no_secret(text: str) -> None:
    assert redaction.redacted(text) == text


def test_no_log_line_contains_a_token(
    tokens: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    console.log(f"loading with {tokens[0]}")
    assert capsys.readouterr().err == "loading with ***\n"


def test_a_name_that_is_too_long_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    printed = message_of(OSError(errno.ENAMETOOLONG, "too long", "a" * 5000), capsys)
    assert "aaa...: the name is too long" in printed
    assert len(printed) < 500


def test_messages_contain_no_terminal_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert message_of(UserError("no file \x1b[2Jx\r"), capsys) == "no file \\x1b[2Jx\\x0d\n"


def test_text_without_secrets_is_unchanged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false and so on")
    text = f"{tmp_path / 'none'} hf_short false and so on s3://bucket/a@b"
    assert redaction.redacted(text) == text


def test_a_build_writes_no_token(tokens: list[str], tmp_path: Path) -> None:
    options: dict[str, Any] = {"settings": SETTINGS, "show_progress": False}
    build(recipe(tmp_path, "base"), tmp_path / "out", renderer_factory=FakeRenderer, **options)
    for name in tree(tmp_path / "out"):
        data = (tmp_path / "out" / name).read_bytes()
        assert not [token for token in tokens if token.encode() in data]


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "quickstart/base-class", "--set", f"prompt={HUB_TOKEN}"],
        ["check", "quickstart/base-class", "--model", HUB_TOKEN],
        ["check", f"nothing-{HUB_TOKEN}"],
        ["check", f"--{HUB_TOKEN}"],
        ["build", "quickstart/base-class", "out", "--model", f"org/name@{HUB_TOKEN}"],
        ["verify", f"memory://{HUB_TOKEN}"],
    ],
)
def test_no_command_line_is_repeated_with_its_token(arguments: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [python(), "-m", "factory", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr
    assert HUB_TOKEN not in done.stdout + done.stderr
