"""Write a page as a static Space of the Hub."""

from __future__ import annotations

from pathlib import Path

import yaml

from eval.report_page import text
from factory.common.whole_files import replace_text

PAGE, CARD = "index.html", "README.md"


def write_space(folder: Path, page: str, *, title: str) -> None:
    """Write the page and the Space's header into a folder, which is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    header = {"title": text.name(f"{title}: report"), "sdk": "static", "app_file": PAGE}
    fields = yaml.safe_dump(header, sort_keys=False, allow_unicode=True)
    replace_text(folder / PAGE, page)
    replace_text(folder / CARD, f"---\n{fields}---\n")
