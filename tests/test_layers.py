"""The modules of a package that other packages may import.

The order of the packages is a contract in `pyproject.toml`, checked by `make lint`.
"""

import re
import subprocess
import sys
from pathlib import Path

import draw_packages

ROOT = Path(__file__).parent.parent
# Everybody may import every module of `common`.
FACES = {
    "models": (
        "adapter_files classifier clip embedded folder_configs inference instruct model_config "
        "model_folder model_size presets quiet scheduler_families small_stem timm_names variants"
    ),
    "hub": (
        "changes client download errors ids publish ranges recipe_references refs session "
        "small_files upload"
    ),
    "data": (
        "class_names columns dependent_columns early_checks folder_level image_folder image_stream "
        "image_table label_map label_options left_out marks open open_stream pixels readable "
        "row_counts row_filter row_subsets sampling_record"
    ),
    "distributions": "base caption_texts captions continuous discrete scalar template variables",
    "recipe": (
        "caption_writer known_words library lint loader model_checks model_files paths remote "
        "resolved row_ranges scaffold schema styles text_encoders"
    ),
    "planner": "cost cut_prompts plan sampling_summary",
    "shards": (
        "directory generations hub_limits layout manifest parquet plan_check png repair settings "
        "stamp"
    ),
    "renderer": "batch_speed contact_sheet diffusers_renderer flaws out_of_memory placement pool",
    "card": "header licences page plots_ahead reader_files scores",
    "builder": "build jobs launcher markers partial_shards processes ranks tidy",
    "gates": "base choice class_margin clip_score duplicates embedding_duplicates embeddings judge "
    "label_issues marked rounds run safety",
    "inspection": "batch_sizes diff doctor preview replay status verify",
    "sharing": "pull_recipes push_dataset push_recipes",
    "cli": "arguments build_result main",
}


def test_packages_are_imported_through_their_faces() -> None:
    faces = {name: " ".join(sorted(modules)) for name, modules in draw_packages.faces().items()}
    assert {name: faces[name] for name in FACES} == FACES
    assert {name for name, modules in faces.items() if modules} == {*FACES, "common"}


def test_the_table_of_packages_is_that_of_the_code() -> None:
    assert draw_packages.table() in (ROOT / "docs/design.md").read_text(), "run make graph"


def test_accelerate_is_imported_where_processes_are_handled() -> None:
    users = {
        path.relative_to(ROOT / "factory").as_posix()
        for path in (ROOT / "factory").rglob("*.py")
        if re.search(r"^ *(from|import) accelerate\b", path.read_text(), re.MULTILINE)
    }
    assert users <= {"builder/build.py", "builder/ranks.py", "common/devices.py"}


def test_the_command_line_starts_without_heavy_libraries() -> None:
    """Help without any command's module; the options of a command without torch and its like."""
    code = (
        "import sys\nfrom factory.command_line.cli import COMMANDS, GROUPS\n"
        "from factory.common.commands import make_parser\n"
        "make_parser(GROUPS, ['--help'], start='x').format_help()\n"
        "assert not {one.module for one in COMMANDS.values()} & set(sys.modules)\n"
        "assert not {'pydantic', 'yaml', 'numpy'} & set(sys.modules)\n"
        "[make_parser(GROUPS, [name], start='x') for name in COMMANDS]\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'datasets', 'accelerate', 'pandas'}\n"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
