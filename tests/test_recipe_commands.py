import json
from pathlib import Path
from types import ModuleType

import pytest
from recipe_texts import BASE, write

from factory.cli import check, new, recipes
from factory.cli import plan as plan_command
from factory.common.console import Parser
from factory.common.errors import UserError
from factory.planner.cost import duration, estimate
from factory.planner.plan import plan
from factory.recipe.library import load_recipe


def run(command: ModuleType, *arguments: str) -> None:
    parser = Parser()
    command.add_arguments(parser)
    command.run(parser.parse_args(arguments))


def test_check(capsys: pytest.CaptureFixture[str]) -> None:
    run(check, "quickstart")
    captured = capsys.readouterr()
    assert captured.out == "ok: 5 recipes, 4,000 images to generate\n"
    assert captured.err == ""


def test_check_warns_and_strict_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, r=BASE.replace("dog", "crane"))
    run(check, str(tmp_path))
    captured = capsys.readouterr()
    assert captured.out == "ok: 1 recipe, 4 images to generate\n"
    assert captured.err.startswith(
        f"warning: {tmp_path}/r.yaml:1:16: classes.1: 'crane' has several"
    )
    with pytest.raises(UserError, match="several meanings"):
        run(check, str(tmp_path), "--strict")


def test_check_reports_the_faults_of_all_references(tmp_path: Path) -> None:
    write(tmp_path, a=BASE + "x: 1\n", b=BASE + "y: 1\n")
    with pytest.raises(UserError) as raised:
        run(check, str(tmp_path / "a.yaml"), "quickstart", str(tmp_path / "b.yaml"))
    assert [fault.key for fault in raised.value.faults] == ["x", "y"]


def test_plan_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    run(plan_command, "quickstart", "--images-per-class", "5", "--rows", "2")
    out = capsys.readouterr().out
    assert "combines base-class, class-prompt, multi-domain, random-guidance" in out
    own = "DPMSolverMultistepScheduler  64 x 64"
    assert f"random-guidance  uniform from 1 to 5      8  {own}\n" in out
    assert max(map(len, out.partition("base-class:")[0].splitlines())) <= 100
    assert "in the first 50 images" in out
    assert "800 network calls (16 per image)" in out
    assert out.endswith("\ntotal: 200 images, about 11 seconds on one CPU core\n")
    assert "an image of a handwritten one" in out
    assert "handwritten two" not in out


def test_plan_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    run(plan_command, "quickstart/multi-domain", "--jsonl", "--range", "995:")
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    recipe = load_recipe("quickstart/multi-domain")
    assert found == [row.as_row() for row in plan(recipe).rows(995, 1000)]
    run(plan_command, "quickstart", "--jsonl", "--images-per-class", "1")
    assert len(capsys.readouterr().out.splitlines()) == 10 * 4 + 40
    run(plan_command, "quickstart/all-combined", "--jsonl", "--images-per-class", "1")
    assert len(capsys.readouterr().out.splitlines()) == 40
    run(plan_command, "quickstart", "--json", "--images-per-class", "1")
    configs = json.loads(capsys.readouterr().out)["configs"]
    assert [one["images"] for one in configs] == [10, 10, 10, 10, 40]
    assert configs[0]["cost"]["images"] == 10


def test_plan_accepts_the_options_of_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    base = "quickstart/base-class"
    run(plan_command, base, "--jsonl", "--range", ":2")
    lines = capsys.readouterr().out
    run(plan_command, base, "--json", "--range", ":2")
    assert capsys.readouterr() == (lines, "--json --range is now called --jsonl --range\n")
    run(plan_command, base, "--json")
    document = json.loads(capsys.readouterr().out)
    run(plan_command, base, "--json", "--configs")
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == document["configs"]
    assert err == "--json --configs is now --json alone, which prints one document\n"


def test_check_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, a=BASE + "x: 1\n", b=BASE.replace("dog", "crane"))
    with pytest.raises(UserError, match=r"a\.yaml"):
        run(check, str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"), "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["recipes"]) == (False, 1)
    assert [fault["key"] for fault in found["errors"]] == ["x"]
    assert "several meanings" in found["warnings"][0]["message"]
    run(check, "quickstart", "--json")
    assert json.loads(capsys.readouterr().out) == {
        **{"ok": True, "recipes": 5, "images": 4000},
        **{"errors": [], "warnings": []},
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--jsonl", "--range", "5"), "--range 5: expected A:B"),
        (("--jsonl", "--range", "3:1"), "--range 3:1: the config has images 0:1000"),
        (("--jsonl", "--range", "0:1001"), "--range 0:1001: the config has images 0:1000"),
        (("--range", "0:1"), "add --jsonl"),
        (("--json", "--jsonl"), "print different things"),
        (("--rows", "-1"), "--rows -1: expected 0 or more"),
    ],
)
def test_plan_refuses(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(plan_command, "quickstart/base-class", *arguments)


def test_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    run(recipes, "list")
    assert "quickstart/base-class" in capsys.readouterr().out
    run(recipes, "list", "--json")
    listed = json.loads(capsys.readouterr().out)["recipes"]
    assert "quickstart/base-class" in [one["name"] for one in listed]
    run(recipes, "models", "--json")
    models = json.loads(capsys.readouterr().out)["models"]
    assert "stabilityai/stable-diffusion-xl-base-1.0" in [one["id"] for one in models]
    run(recipes, "show", "quickstart/class-prompt")
    assert "extends: base-class" in capsys.readouterr().out
    run(recipes, "show", "quickstart/class-prompt", "--resolved")
    out = capsys.readouterr().out
    assert "extends" not in out
    assert "handwritten nine" in out
    with pytest.raises(UserError, match="takes one recipe: quickstart/NAME, with NAME one of all-"):
        run(recipes, "show", "quickstart")


def test_new(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(new, "birds", "--class", "heron", "--class", "crane", "--out", str(tmp_path))
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 8
    assert "several meanings" in captured.err
    run(check, str(tmp_path / "birds"))


def test_plan_shows_the_guided_part_of_the_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limited = "sampling: {guidance_interval: [0.2, 1]}\n"
    run(plan_command, str(write(tmp_path, one=BASE + limited, two=BASE)), "--rows", "0")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "config guidance interval steps scheduler size" in lines
    assert [line for line in lines if "DPMSolver" in line][:2] == [
        f"{name} 7.5 {interval} 50 DPMSolverMultistepScheduler 64 x 64"
        for name, interval in (("one", "[0.2, 1]"), ("two", "all steps"))
    ]
    assert lines.count("guidance_interval [0.2, 1]") == 1


def test_cost_counts_calls(tmp_path: Path) -> None:
    folder = write(
        tmp_path, r=BASE.replace("embedded", "org/x") + "sampling: {guidance_scale: 1}\n"
    )
    once = estimate(load_recipe(folder / "r.yaml"))
    assert (once.images, once.calls, once.seconds) == (4, 200, None)
    assert once.describe() == "200 network calls (50 per image); no speed known for this model"
    twice = estimate(
        load_recipe(folder / "r.yaml", overrides=["sampling.guidance_scale=2"], model="embedded")
    )
    # Each of the 50 steps runs with and without the prompt.
    assert twice.calls == 4 * 2 * 50
    assert twice.seconds is not None
    assert "about" in twice.describe()


def test_a_published_speed_is_named_and_scaled_by_pixels() -> None:
    base = estimate(load_recipe("cifar10/base-class"))
    # 50,000 images of 40 steps with guidance; 1.591 s for 50 steps.
    assert base.seconds == pytest.approx(50_000 * 1.591 * 40 / 50)
    assert "about 18 hours on one A100 80 GB (published in fal-ai/" in base.describe()
    half = estimate(load_recipe("cifar10/base-class", overrides=["model.height=256"]))
    assert half.seconds == pytest.approx(base.seconds / 2)
    assert half.describe().endswith(", scaled from 512 px)")


def test_a_twin_costs_nothing_beside_its_set(capsys: pytest.CaptureFixture[str]) -> None:
    run(plan_command, "cifar10", "--rows", "0")
    assert "none with base-class, which has the same images; alone 4," in capsys.readouterr().out
    run(plan_command, "cifar10/anti-aliased", "--rows", "0")
    assert "none with" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["sd15", "sdxl", "sdxl-turbo", "sd3", "flux"])
def test_presets_with_a_published_speed_have_an_estimate(name: str) -> None:
    cost = estimate(
        load_recipe("cifar10/base-class", model=name, images_per_class=1, sampling="model")
    )
    assert cost.seconds is not None
    assert "published" in cost.describe()
    if name == "flux":
        # Its guidance is an input of the network: one call a step.
        assert cost.calls == 10 * 28


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 second"), (90, "90 seconds"), (600, "10 minutes"), (9e4, "25 hours")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
