"""The one direction of docs/design.md, read from the imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GROUND_FLOOR = {
    "clip_model",
    "console",
    "devices",
    "embedded_model",
    "entry",
    "errors",
    "hub_client",
    "hub_fetch",
    "hub_plan",
    "hub_publish",
    "hub_target",
    "launch",
    "dataset_files",
    "inside",
    "markup",
    "model_config",
    "model_folder",
    "open_data",
    "outside",
    "pixels",
    "plot_text",
    "readable",
    "row_counts",
    "row_filter",
    "row_images",
    "schema",
    "score_file",
    "whole_files",
    "yaml_source",
}
# Each may import what stands on lines above its own, never below.
LAYERS = [
    {"errors"},
    {"console", "devices", "hub_client", "card_notes", "whole_files"},
    {"launch", "inside", "image_classes", "image_modes", "row_counts"},
    {"row_images", "image_folder"},
    {"left_out"},
    {"entry", "schema", "row_filter", "pixels", "embedded_model", "yaml_source", "sampling"}
    | {"clip_model", "plot_text"},
    {"outside"},
    {"dataset_files"},
    {"hub_target", "hub_plan"},
    {"hub_errors"},
    {"hub_session"},
    {"hub_meter", "hub_refs", "hub_fetch"},
    {"hub_commit", "hub_dataset"},
    {"hub_publish", "open_data", "recipe"},
    {"readable"},
    {"planner"},
    {"render"},
    {"shards"},
    {"builder", "push"},
    {"cli"},
]


def imports_of(path: Path) -> set[str]:
    """Return the dotted names that a module imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def modules_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize(("package", "other"), [("train", "eval"), ("eval", "train")])
def test_train_and_eval_see_only_the_ground_floor(package: str, other: str) -> None:
    allowed = {f"factory.{name}" for name in GROUND_FLOOR}
    for path in modules_of(package):
        names = imports_of(path)
        assert not {name for name in names if name.split(".")[0] == other}, path
        reached = {
            ".".join(name.split(".")[:2])
            for name in names
            if name.startswith("factory.") and name != "factory.__version__"
        }
        assert reached <= allowed, f"{path} imports {reached - allowed}"


def test_factory_imports_neither_train_nor_eval() -> None:
    for path in modules_of("factory"):
        assert not {n for n in imports_of(path) if n.split(".")[0] in {"train", "eval"}}, path


def test_layers_of_factory_import_downwards_only() -> None:
    level = {name: rank for rank, names in enumerate(LAYERS) for name in names}
    for name, rank in level.items():
        for imported in imports_of(ROOT / "factory" / f"{name}.py"):
            parts = imported.split(".")
            if parts[0] == "factory" and len(parts) > 1 and parts[1] in level:
                assert level[parts[1]] < rank or parts[1] == name, f"{name} imports {parts[1]}"


def test_accelerate_is_imported_where_processes_are_handled() -> None:
    users = {
        path.name
        for path in modules_of("factory")
        if "accelerate" in {name.split(".")[0] for name in imports_of(path)}
    }
    assert users <= {"builder.py", "devices.py", "processes.py"}


def test_the_command_line_starts_without_heavy_libraries() -> None:
    code = (
        "import sys\nfrom factory.cli import _parser\n_parser().format_help()\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'datasets', 'accelerate', 'pandas'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
