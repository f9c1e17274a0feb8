"""The documentation site builds without warnings and contains every command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "docs", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    home = (tmp_path / "index.html").read_text()
    assert 'href="quickstart.html"' in home and 'href="demo-generator.html"' in home
    commands = (tmp_path / "commands.html").read_text()
    assert all(f"data-factory {name}" in commands for name in ("build", "train", "score", "push"))
    assert (tmp_path / "searchindex.js").is_file()
