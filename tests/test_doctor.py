"""`factory doctor` on this machine, with the embedded model and a loopback Hub."""

import json
from pathlib import Path

import pytest
from hub_parts import client_env, run_factory
from localhub import LocalHub

from factory.cli.main import main
from factory.inspection import machine
from factory.inspection.batch_sizes import measure_batch_sizes


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
    assert machine._may_write(token) is write


def test_batches_of_the_embedded_model_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = measure_batch_sizes("embedded", seconds=2)
    assert [one.batch_size for one in sizes.tried[:2]] == [1, 2]
    assert all(one.images_per_s > 0 for one in sizes.tried)
    fastest = max(one.images_per_s for one in sizes.tried)
    assert sizes.best.images_per_s >= 0.95 * fastest
    assert sizes.stopped == "the time of 2 s was used up"
    assert main(["doctor", "--model", "embedded", "--seconds", "1"]) == 0
    said = capsys.readouterr().out
    assert "measured with embedded, 2 steps" in said
    assert " build RECIPE OUT --model embedded --batch-size " in said


def test_batches_end_where_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from factory.renderer.diffusers_renderer import DiffusersRenderer

    whole = DiffusersRenderer.render

    def small(self: DiffusersRenderer, rows: list[object], *, batch_size: int) -> object:
        if batch_size > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")
        return whole(self, rows, batch_size=batch_size)  # type: ignore[arg-type]

    monkeypatch.setattr(DiffusersRenderer, "render", small)
    sizes = measure_batch_sizes("embedded", seconds=60)
    assert [one.batch_size for one in sizes.tried] == [1, 2]
    assert sizes.stopped == "4 images do not fit into memory"


def test_what_prevents_a_build_is_a_problem(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["doctor", "--model", "./nowhere"]) == 1
    said = capsys.readouterr().out
    assert "problem: " in said
    assert "./nowhere is not a directory" in said
    assert said.endswith("a build cannot run\n")
    monkeypatch.setattr(machine, "_LIBRARIES", (*machine._LIBRARIES, "no-such-library"))
    assert main(["doctor"]) == 1
    assert "problem: no-such-library is not installed" in capsys.readouterr().out


def test_missing_extras_come_with_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["torch>=2", "no-such-lora>=1; extra == 'lora'", "torch>=2; extra == 's3'"]
    monkeypatch.setattr(machine, "_requirements", lambda: [*lines, "gone; extra == 'dev'"])
    assert machine.missing_extras() == {"lora": ["no-such-lora"]}
    main(["doctor"])
    assert "extra, lora" in (said := capsys.readouterr().out)
    assert "pip install 'data-factory[lora]'" in said
