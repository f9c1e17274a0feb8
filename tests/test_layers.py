"""Which modules of a package the others may import; import-linter keeps the direction.

The layers are contracts in `pyproject.toml`, checked by `make lint`.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Everybody may import every module of `common`.
FACES = {
    "models": (
        "adapter_files clip embedded model_config model_folder presets scheduler_families "
        "scheduler_names variants"
    ),
    "hub": "changes client download errors ids place publish refs session small_files upload",
    "data": "columns open pixels readable row_counts row_filter",
    "distributions": "base caption_texts captions continuous discrete scalar template variables",
    "recipe": (
        "known_words library lint loader merge model_checks model_files paths remote "
        "resolved scaffold schema text_encoders"
    ),
    "planner": "cost cut_prompts plan sampling_summary",
    "shards": (
        "directory fence generations hub_limits layout manifest parquet repair settings "
        "stamp versions"
    ),
    "renderer": "contact_sheet diffusers_renderer flaws out_of_memory pool",
    "card": "derived header page scores",
    "builder": "build claim_files claims jobs owner ranks signals tidy",
    "gates": "base clip_score duplicates run safety",
    "inspection": "diff preview replay status verify",
    "sharing": "pull_recipes push_dataset push_recipes",
    "cli": "main",
}


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


def imports_between_packages() -> Iterator[tuple[Path, str, str]]:
    """Yield each importing file, with package and name of a module of another package."""
    for path in (*modules_of("factory"), *modules_of("train"), *modules_of("eval")):
        for name in imports_of(path):
            parts = name.split(".")
            if parts[0] != "factory" or len(parts) < 3:
                continue
            _, package, module, *_ = parts
            is_module = (ROOT / "factory" / package / f"{module}.py").is_file()
            if is_module and path.parent != ROOT / "factory" / package:
                yield path, package, module


def test_packages_are_imported_through_their_faces() -> None:
    used: dict[str, set[str]] = {package: set() for package in FACES}
    for path, package, module in imports_between_packages():
        if package != "common":
            assert module in FACES[package].split(), f"{path} imports {package}.{module}"
            used[package].add(module)
    # A module that nobody imports any more is no longer part of the face.
    assert {package: " ".join(sorted(modules)) for package, modules in used.items()} == FACES


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
