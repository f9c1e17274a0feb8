"""The documentation site builds without warnings and contains every command."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import write_figures
from doc_pages import blocks
from quick_python import python

from factory.data.columns import DIFFERENCE_HASH, EMBEDDING_HASH, TEMPLATE, fixed_columns
from factory.gates import class_margin, clip_score, duplicates, judge, label_issues, marked, safety
from factory.gates import embedding_duplicates as embedded
from factory.recipe.library import load_recipe

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    command = [python(), "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "docs", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    home = (tmp_path / "index.html").read_text()
    assert 'href="quickstart.html"' in home and 'href="demo-generator.html"' in home
    commands = (tmp_path / "commands.html").read_text()
    assert all(f"data-factory {name}" in commands for name in ("build", "train", "score", "push"))
    assert "a name from `data-factory models`" in commands and "python -m" not in commands
    assert "with --jsonl: only images A to B-1" in commands, "no long dashes"
    assert (tmp_path / "searchindex.js").is_file()


def test_effects_are_those_of_the_study() -> None:
    page = (ROOT / "docs/cookbook.md").read_text()
    study = json.loads((ROOT / "docs/study.json").read_text())
    wanted = ("random-guidance", "base-class", "test_resnet")
    found = [
        one["estimate"]
        for one in study["sets"]["cifar10"]["comparisons"]
        if (one["row"], one["to"], one["model"]) == wanted
    ]
    text = "{value:+.2f} [{low:+.2f},\u00a0{high:+.2f}]".format(**found[0])
    assert re.search(rf"## Random guidance\n.*\| CIFAR-10 \| \**{re.escape(text)}", page, re.DOTALL)


def test_effects_that_a_study_lacks_are_not_measured() -> None:
    study = {"models": ["a"], "sets": {"cifar10": {"comparisons": [], "rows": []}}}
    page = "# x\n\n## T\n\n**When:** now.\n\n<!-- effect: r against s -->\nold\n<!-- end -->\n"
    assert write_figures.filled_in(page, study) == page.replace("old", "*Not measured.*")
    overview = "<!-- effects: -->\n<!-- end -->\n"
    assert "| [T](#t) | Now. | not measured |\n" in write_figures.filled_in(overview + page, study)
    found = {"value": 1.0, "low": -0.5, "high": 2.5}
    compared = {"row": "r", "to": "s", "model": "a", "paper": None, "estimate": found}
    study["sets"]["cifar10"]["comparisons"] = [compared | {"adjusted_p": 0.01}]
    row = "| CIFAR-10 | **+1.00 [-0.50,\u00a0+2.50]** |  |"
    assert row in write_figures.filled_in(page, study)


def test_recipes_of_the_cookbook_load(tmp_path: Path) -> None:
    recipes = [one for one in blocks("docs/cookbook.md") if one.language == "yaml"]
    assert len(recipes) > 10
    (tmp_path / "captions.csv").write_text(
        (ROOT / "recipes/beyond/cifar10/captions.csv").read_text()
    )
    for number, block in enumerate(recipes):
        path = tmp_path / f"try-{number}.yaml"
        path.write_text(block.text)
        assert load_recipe(path).labels


def test_images_of_the_gallery_exist_and_are_small() -> None:
    page = (ROOT / "docs/gallery.md").read_text()
    names = re.findall(r"\]\(images/gallery/(.*?)\)", page)
    assert len(names) == page.count("<!-- time: -->") == page.count("\n## ")
    files = {path.name: path.stat().st_size for path in (ROOT / "docs/images/gallery").iterdir()}
    assert set(files) == set(names)
    assert max(files.values()) < 80_000


def test_the_page_of_columns_lists_all() -> None:
    page = (ROOT / "docs/columns.md").read_text()
    gates = [clip_score.COLUMN, class_margin.COLUMN, class_margin.NEAREST]
    gates += [safety.FLAG, safety.SCORE, label_issues.FLAG, label_issues.QUALITY]
    gates += [duplicates.FLAG, duplicates.OF, duplicates.OTHER_LABEL]
    gates += [embedded.FLAG, embedded.NEAREST, embedded.SIMILARITY, embedded.OTHER_LABEL]
    gates += [EMBEDDING_HASH, judge.ENTROPY, judge.MARGIN, judge.WEIGHTS]
    gates += [DIFFERENCE_HASH, marked.COLUMN]
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [
        *(fixed := list(fixed_columns()))[: fixed.index("guidance_scale")],
        TEMPLATE,
        *fixed[fixed.index("guidance_scale") :],
        *gates,
    ]
