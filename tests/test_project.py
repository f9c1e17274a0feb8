"""The Python package: declared dependencies, version, licence, content of the wheel."""

import ast
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from pathlib import Path

import write_figures
from study_figures import compared, module, tricks

import factory
from factory.recipe.styles import LOW_GUIDANCE

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS = ("factory", "train", "eval")
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cache_dit": "cache-dit",
    "pillow_heif": "pillow-heif",
    "pydantic_core": "pydantic",
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "upath": "universal_pathlib",
}


@cache
def nodes(path: Path) -> tuple[set[ast.AST], set[ast.AST]]:
    """Return the imports of a module, and those inside its functions."""
    tree, imports = ast.parse(path.read_text()), (ast.Import, ast.ImportFrom)
    everywhere = [*ast.walk(tree)]
    functions = [one for one in everywhere if isinstance(one, ast.FunctionDef)]
    inside = {node for one in functions for node in ast.walk(one) if isinstance(node, imports)}
    return {node for node in everywhere if isinstance(node, imports)}, inside


def imported_distributions(*, in_functions: bool) -> set[str]:
    """Return the distributions imported inside functions, and those imported always."""
    names = set()
    for package in OURS:
        for path in (ROOT / package).rglob("*.py"):
            everywhere, inside = nodes(path)
            for node in inside if in_functions else everywhere - inside:
                if isinstance(node, ast.Import):
                    names |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names.add(node.module.split(".")[0])
    names -= set(sys.stdlib_module_names) | {*OURS, "__future__"}
    return {DISTRIBUTIONS.get(name, name) for name in names}


def test_every_direct_dependency_is_declared_with_a_lower_bound() -> None:
    declared = {line.split(">=")[0]: line for line in PYPROJECT["project"]["dependencies"]}
    assert all(">=" in line for line in declared.values())
    extras = PYPROJECT["project"]["optional-dependencies"]
    optional = [line for name, lines in extras.items() if name != "dev" for line in lines]
    known = {*declared, *(line.split(">=")[0] for line in optional)}
    assert imported_distributions(in_functions=False) - {*declared} == set(), "extras may lack"
    assert imported_distributions(in_functions=True) - known == set()


def test_the_version_is_defined_once_and_has_a_changelog_entry() -> None:
    assert PYPROJECT["project"]["version"] == factory.__version__
    assert f"## {factory.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_licence_is_apache() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0" in text


def test_the_wheel_carries_recipes_cards_metrics_and_the_generator(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for wanted in (
        "factory/_recipes/quickstart/base-class.yaml",
        "factory/_recipes/classes/digits.yaml",
        "factory/_recipes/schema.json",
        "factory/_recipes/_paper.yaml",
        "factory/_recipes/beyond/cifar10/captions.csv",
        "factory/embedded/model_index.json",
        "factory/embedded/unet/diffusion_pytorch_model.safetensors",
        "eval/metrics/top_k_accuracy.py",
        "eval/report_page/templates/page.html.jinja",
        "eval/report_page/templates/page.css",
        "eval/report_page/templates/page.js",
        "train/generator/__init__.py",
        "factory/command_line/cli.py",
    ):
        assert wanted in names
    assert any(name.startswith("factory/_dataset_cards/") for name in names)
    assert not any(name.startswith("tests/") for name in names)


def test_no_path_of_one_machine_is_in_the_tree() -> None:
    command = ["git", "grep", "-nIE", "(/wor[k]/|/root[/]|/tmp[/])"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert listed.stdout == ""


def test_figures_of_the_study_are_written_from_its_results() -> None:
    for path, text in write_figures.current().items():
        assert path.read_text() == text, f"{path.name}: run `make figures`"
    for path, kinds in zip(
        write_figures.PAGES, ({"study"}, {"effects", "effect"}, {"score"}), strict=True
    ):
        text = path.read_text()
        found = [match[2] for match in write_figures.MARK.finditer(text)]
        marks = re.findall(r"<!-- (?!end )(\w+)", text)
        wanted = [one for one in marks if one != "time"]
        assert {*found} == kinds and found == wanted, f"{path.name}: a misspelt or open mark"
    study = json.loads((ROOT / "docs/study.json").read_text())
    (own,) = {
        text
        for row in study["sets"]["cifar10"]["rows"]
        if row["name"] == "low-guidance"
        for text in row["settings"]["settings"]["guidance_scale"]
    }
    assert json.loads(own) == [{"uniform": list(LOW_GUIDANCE)}]


def test_the_verdicts_of_figures_follow_the_results() -> None:
    study = json.loads((ROOT / "docs/study.json").read_text())
    cifar10, eurosat = study["sets"]["cifar10"], study["sets"]["eurosat"]
    for one, row in ((cifar10, "class-prompt"), (eurosat, "low-guidance")):
        compared(one, row)["test_resnet"]["adjusted_p"] = 0.04
    assert "on EuroSAT, significant with test_resnet only" in module(study)
    line = next(one for one in tricks(study, "cifar10").splitlines() if "| class prompt |" in one)
    first, second = line.split(" | ")[1:3]
    assert first.startswith("**") and not second.startswith("**")
    for pair in compared(eurosat, "low-guidance").values():
        pair["adjusted_p"], pair["estimate"]["value"] = 0.01, 2.0
    assert 'LOW_ON_EUROSAT = "+2.0 and +2.0 points on EuroSAT"' in module(study)
    pair = compared(cifar10, "anti-aliased")["test_resnet"]
    pair["estimate"] |= {"value": -1.234, "low": -2, "high": 9}
    block = tricks(study, "cifar10")
    assert "| anti-aliased | -1.23 [-2.00,\u00a0+9.00] |" in block
    assert "figure: anti-aliased (`test_resnet` only), class prompt; below it: anti-al" in block
