"""Settings of the documentation site; `make docs` builds it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]

from command_reference import reference  # noqa: E402

from factory.command_line.cli import COMMANDS  # noqa: E402
from factory.common.commands import command_parsers  # noqa: E402
from factory.common.program import NAME  # noqa: E402
from factory.common.version import VERSION  # noqa: E402

project = "Data Factory"
release = VERSION
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
# The notebook is stored with its outputs; `make tour` runs it.
nb_execution_mode = "off"
# Indented blocks are commands.
highlight_language = "bash"
myst_heading_anchors = 3
# No long dashes: options begin with two short ones.
smartquotes_action = "qe"
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_title = project
html_show_sphinx = False
html_show_copyright = False
autodoc_typehints = "none"

# Pages whose text is a file that people also read outside the site.
SHARED = {
    "index": ROOT / "README.md",
    "demo-generator": ROOT / "factory/embedded/README.md",
    "train-the-demo-generator": ROOT / "train/generator/README.md",
    "contributing": ROOT / "CONTRIBUTING.md",
    "changes": ROOT / "CHANGELOG.md",
}
_PAGE_OF = {path: f"{page}.md" for page, path in SHARED.items()}
_CARDS = sorted((ROOT / "dataset_cards").glob("*.md"))
_PAGE_OF |= dict.fromkeys([ROOT / "dataset_cards", *_CARDS], "dataset-cards.md")
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)]*)?\)")


def _text(page: str, own: str) -> str:
    """Return a page with the text it shares, and links that hold inside the site."""
    if page == "dataset-cards":
        return _relinked(own, DOCS) + "\n".join(_card(path) for path in _CARDS)
    if page == "commands":
        parsers = command_parsers(COMMANDS, start=NAME).values()
        return own + "\n\n".join(reference(one) for one in parsers)
    path = SHARED.get(page)
    if path is None:
        return _relinked(own, DOCS)
    shared = re.sub(r"\A---\n.*?\n---\n", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return f"{_relinked(shared, path.parent)}\n{own}"


def _relinked(text: str, folder: Path) -> str:
    def inside(match: re.Match[str]) -> str:
        target = (folder / match[1]).resolve()
        page = _PAGE_OF.get(target) or os.path.relpath(target, DOCS)
        return f"]({page}{match[2] or ''})"

    return _LINK.sub(inside, text)


def _card(path: Path) -> str:
    """Return a card's text without its header, one level down."""
    text = re.sub(r"\A---\n.*?\n---\n", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return _relinked(re.sub(r"^#", "##", text, flags=re.MULTILINE), path.parent)


def setup(app: Any) -> None:
    """Fill in shared pages when Sphinx reads them."""

    def read(_: Any, page: str, source: list[str]) -> None:
        source[0] = _text(page, source[0])

    app.connect("source-read", read)
