"""The one direction of docs/design.md, read from the imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GROUND_FLOOR = {
    "models.clip",
    "common.console",
    "common.devices",
    "models.embedded",
    "common.entry",
    "common.errors",
    "hub.client",
    "hub.download",
    "hub.changes",
    "hub.publish",
    "hub.ids",
    "common.launch",
    "common.dataset_files",
    "common.inside",
    "common.markup",
    "models.model_config",
    "models.model_folder",
    "data.open",
    "common.outside",
    "data.pixels",
    "common.plot_text",
    "data.readable",
    "data.row_counts",
    "data.row_filter",
    "common.row_images",
    "data.columns",
    "common.score_file",
    "common.whole_files",
    "common.yaml_reader",
}
# Each may import what stands on lines above its own, never below.
LAYERS = [
    {"common.errors"},
    {"common.console", "common.devices", "hub.client", "common.card_notes", "common.whole_files"},
    {
        "common.launch",
        "common.inside",
        "data.image_classes",
        "common.image_modes",
        "data.row_counts",
    },
    {"common.row_images", "data.image_folder"},
    {"data.left_out"},
    {
        "common.entry",
        "data.columns",
        "data.row_filter",
        "data.pixels",
        "models.embedded",
        "common.yaml_reader",
        "distributions.scalar",
    }
    | {"models.clip", "common.plot_text"},
    {"common.outside"},
    {"common.dataset_files"},
    {"hub.ids", "hub.changes"},
    {"hub.errors"},
    {"hub.session"},
    {"hub.meter", "hub.refs", "hub.download"},
    {"hub.upload", "data.hub_dataset"},
    {"hub.publish", "data.open", "recipe.resolved"},
    {"data.readable"},
    {"planner.plan"},
    {"renderer.diffusers_renderer"},
    {"shards.parquet"},
    {"builder.build", "sharing.push_dataset"},
    {"cli.main"},
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
            ".".join(name.split(".")[:3])
            for name in names
            if name.startswith("factory.") and name != "factory.__version__"
        }
        # `from factory.common import console` names the package too.
        reached -= {f"factory.{one.name}" for one in (ROOT / "factory").iterdir() if one.is_dir()}
        assert reached <= allowed, f"{path} imports {reached - allowed}"


def test_factory_imports_neither_train_nor_eval() -> None:
    for path in modules_of("factory"):
        assert not {n for n in imports_of(path) if n.split(".")[0] in {"train", "eval"}}, path


def test_layers_of_factory_import_downwards_only() -> None:
    level = {name: rank for rank, names in enumerate(LAYERS) for name in names}
    for name, rank in level.items():
        for imported in imports_of(ROOT / "factory" / f"{name.replace('.', '/')}.py"):
            other = imported.removeprefix("factory.")
            if imported.startswith("factory.") and other in level:
                assert level[other] < rank or other == name, f"{name} imports {other}"


def test_accelerate_is_imported_where_processes_are_handled() -> None:
    users = {
        path.relative_to(ROOT / "factory").as_posix()
        for path in modules_of("factory")
        if "accelerate" in {name.split(".")[0] for name in imports_of(path)}
    }
    assert users <= {"builder/build.py", "builder/ranks.py", "common/devices.py"}


def test_the_command_line_starts_without_heavy_libraries() -> None:
    code = (
        "import sys\nfrom factory.cli.main import _parser\n_parser().format_help()\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'datasets', 'accelerate', 'pandas'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
