"""`factory doctor` on this machine, with the embedded model and a loopback Hub."""

import json
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hub_parts import client_env, run_factory
from localhub import LocalHub
from quick_python import python

from factory.cli.main import main
from factory.common.errors import UserError
from factory.inspection import doctor
from factory.inspection.batch_sizes import measure_batch_sizes
from factory.models.inference import InferenceSettings
from factory.recipe.resolved import ResolvedRecipe
from factory.renderer.pool import Renderers


def test_without_a_network_it_reports_all_facts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "token from HF_TOKEN; Hub not reachable" in said
    assert "hf_secret" not in said
    assert said.endswith("a build can run\n")
    assert main(["doctor", "--json"]) == 0
    text = capsys.readouterr().out
    assert "hf_secret" not in text
    found = json.loads(text)
    assert found["libraries"]["torch"]
    assert found["device"]["dtype"] in ("float32", "bfloat16")
    assert 0 < found["memory"]["available"] <= found["memory"]["total"]
    assert found["disks"]["current directory"]["free"] > 0
    assert (found["problems"], found["batch_sizes"]) == ([], None)


def test_the_hub_says_who_and_which_rights(either_hub: LocalHub, tmp_path: Path) -> None:
    done = run_factory(either_hub, tmp_path, "doctor", "--json")
    assert done.returncode == 0, done.stderr
    hub = json.loads(done.stdout)["hub"]
    assert (hub["user"], hub["write"]) == (either_hub.user, True)
    token = client_env(either_hub, tmp_path)["HF_TOKEN"]
    assert token
    assert token not in done.stdout
    refused = run_factory(either_hub, tmp_path, "doctor", token="hf_wrong")
    assert "the Hub refuses the token from HF_TOKEN" in refused.stdout
    assert "hf_wrong" not in refused.stdout
    assert refused.returncode == 0


@pytest.mark.parametrize(
    ("token", "write"),
    [
        ({"role": "write"}, True),
        ({"role": "read"}, False),
        ({"role": "fineGrained", "fineGrained": {"scoped": []}}, False),
        (
            {
                "role": "fineGrained",
                "fineGrained": {"scoped": [{"permissions": ["repo.content.read", "repo.write"]}]},
            },
            True,
        ),
        ({}, None),
    ],
)
def test_rights_of_tokens(token: dict[str, object], write: bool | None) -> None:
    assert doctor._may_write(token) is write


def test_batches_of_the_embedded_model_are_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = measure_batch_sizes("embedded", seconds=2)
    tried = sizes.tried.batches
    assert [one.batch_size for one in tried] == [2**n for n in range(len(tried))]
    assert all(one.images_per_s > 0 for one in tried)
    fastest = max(one.images_per_s for one in tried)
    assert sizes.best.images_per_s >= 0.95 * fastest
    assert sizes.tried.stopped == "the time of 2 s was used up"
    assert main(["doctor", "--model", "embedded", "--seconds", "1"]) == 0
    said = capsys.readouterr().out
    assert "measured with embedded, 2 steps" in said
    size = r"\d+ --processes 1" if sizes.device == "cpu" else r"\d+"
    assert re.search(rf" build RECIPE OUT --model embedded --batch-size {size}\n", said), said
    # Parts move to the CPU, in place of the accelerator that an offload needs.
    monkeypatch.setattr("factory.inspection.batch_sizes.require_offload", lambda *_: None)
    assert main(["doctor", "--model", "embedded", "--seconds", "0.1", "--offload", "group"]) == 0
    assert re.search(r" --batch-size \d+ --offload group\b", capsys.readouterr().out)


def test_batches_end_where_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from factory.renderer.diffusers_renderer import DiffusersRenderer

    whole = DiffusersRenderer.render

    def small(self: DiffusersRenderer, rows: list[object], *, batch_size: int) -> object:
        if batch_size > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")
        return whole(self, rows, batch_size=batch_size)  # type: ignore[arg-type]

    monkeypatch.setattr(DiffusersRenderer, "render", small)
    sizes = measure_batch_sizes("embedded", seconds=60)
    assert [one.batch_size for one in sizes.tried.batches] == [1, 2]
    assert sizes.tried.stopped == "4 images do not fit into memory"


def test_what_prevents_a_build_is_a_problem(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_LIBRARIES", (*doctor._LIBRARIES, "no-such-library"))
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "problem: no-such-library is not installed" in said
    assert said.endswith("a build cannot run\n")


def test_a_mistyped_model_is_a_usage_error() -> None:
    with pytest.raises(UserError, match=r"\./nowhere is not a directory") as caught:
        main(["doctor", "--model", "./nowhere"])
    assert caught.value.exit_status == 2


def test_a_model_is_measured_as_it_will_be_used() -> None:
    with pytest.raises(UserError, match=r"--offload group .* this machine computes on cpu"):
        measure_batch_sizes("embedded", seconds=1, device="cpu", offload="group")
    with pytest.raises(UserError, match="--quantize int4: expected int8 or nf4"):
        measure_batch_sizes("embedded", seconds=1, device="cpu", quantize="int4")


def test_weights_are_quantized_as_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []
    get = Renderers.get

    def plain(self: Renderers, recipe: ResolvedRecipe, inference: InferenceSettings) -> Any:
        asked.append(inference.quantize)
        return get(self, recipe, replace(inference, quantize=None))

    # The package that quantizes is optional; test_inference.py uses it.
    monkeypatch.setattr(Renderers, "get", plain)
    words = ["doctor", "--model", "embedded", "--seconds", "0.1", "--quantize", "int8"]
    assert main(words) == 0
    assert asked == ["int8"]
    assert re.search(r" --batch-size \d+ --quantize int8\b", capsys.readouterr().out)


@pytest.mark.parametrize(
    "words",
    [
        ["--quantize", "int4"],
        ["--offload", "group"],
        ["--allow-pickle"],
        ["--seconds", "20"],
        ["--device", "cpu"],
    ],
)
def test_options_of_a_measurement_need_a_model(words: list[str]) -> None:
    with pytest.raises(UserError, match=f"^{words[0]} needs --model: nothing is generated"):
        main(["doctor", *words])


def test_limits_of_the_container_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "cores", lambda: 3)
    monkeypatch.setattr(doctor, "free_memory", lambda: 2**19)
    monkeypatch.setattr(doctor, "memory_limit", lambda: 2**20)
    found = doctor.examine()
    assert found["device"]["cores"] == 3
    assert (found["memory"]["available"], found["memory"]["total"]) == (2**19, 2**20)


_PRINT_CACHES = """
import datasets.config, huggingface_hub.constants, torch.hub
from factory.inspection.doctor import cache_folders

hub, rows = huggingface_hub.constants.HF_HUB_CACHE, datasets.config.HF_DATASETS_CACHE
torch = torch.hub.get_dir().removesuffix("/hub")
found = {name: str(path) for name, path in cache_folders().items()}
assert found == {"Hub": hub, "datasets": str(rows), "torch": torch}, found
print(*found.values(), sep="\\n")
"""


@pytest.mark.parametrize(
    ("variables", "places"),
    [
        ({}, ("xdg/huggingface/hub", "xdg/huggingface/datasets", "xdg/torch")),
        ({"HF_HOME": "a"}, ("a/hub", "a/datasets", "xdg/torch")),
        ({"HUGGINGFACE_HUB_CACHE": "b"}, ("b", "xdg/huggingface/datasets", "xdg/torch")),
        ({"HF_HUB_CACHE": "b/c", "HF_DATASETS_CACHE": "d", "TORCH_HOME": "e"}, ("b/c", "d", "e")),
    ],
)
def test_caches_are_those_of_the_libraries(
    variables: dict[str, str], places: tuple[str, ...], tmp_path: Path
) -> None:
    own = {"HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE", "TORCH_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in own}
    given = {"XDG_CACHE_HOME": "xdg"} | variables
    environment |= {name: f"{tmp_path}/{value}" for name, value in given.items()}
    command = [python(), "-c", _PRINT_CACHES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [f"{tmp_path}/{place}" for place in places], done.stderr


def test_missing_extras_come_with_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["torch>=2", "no-such-lora>=1; extra == 'lora'", "torch>=2; extra == 's3'"]
    monkeypatch.setattr(doctor, "_requirements", lambda: [*lines, "gone; extra == 'dev'"])
    assert doctor.missing_extras() == {"lora": ["no-such-lora"]}
    main(["doctor"])
    assert "extra, lora" in (said := capsys.readouterr().out)
    assert "pip install 'data-factory[lora]'" in said
