"""Write the study's figures into pages and recipes, from `docs/study.json`.

Run it with `make figures`; `make study` runs it after a study. A page has lines such as
`<!-- effect: ROW against BASE -->`; the text from there to `<!-- end -->` is replaced.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from study_figures import Study, effect, module, overview, score, tricks

from factory.common.console import write
from factory.common.entry import run_main

ROOT = Path(__file__).resolve().parent.parent
PAGES = tuple(ROOT / name for name in ("README.md", "docs/cookbook.md", "docs/gallery.md"))
MARK = re.compile(
    r"(<!-- (effect|effects|score|study):[ ]*([^\n]*?)[ ]*-->\n).*?(<!-- end -->)", re.DOTALL
)


def filled_in(text: str, study: Study) -> str:
    """Return a page with the figures of a study."""

    def replaced(match: re.Match[str]) -> str:
        kind, name = match[2], match[3]
        if kind == "effects":
            content = overview(study, text)
        else:
            content = {"effect": effect, "score": score, "study": tricks}[kind](study, name)
        return f"{match[1]}{content}\n{match[4]}"

    return MARK.sub(replaced, text)


def current() -> dict[Path, str]:
    """Return the text that each file should have."""
    study = json.loads((ROOT / "docs/study.json").read_text(encoding="utf-8"))
    pages = {path: filled_in(path.read_text(encoding="utf-8"), study) for path in PAGES}
    return {**pages, ROOT / "factory/recipe/measured.py": module(study)}


def main() -> None:
    """Write the files."""
    for path, text in current().items():
        path.write_text(text, encoding="utf-8")
        write(str(path.relative_to(ROOT)))


if __name__ == "__main__":
    run_main(main)
