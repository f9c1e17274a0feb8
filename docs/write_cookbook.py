"""Write the measured effects in `docs/cookbook.md` and `docs/gallery.md` from `docs/study.json`.

Run it with `make effects`; `make study` runs it after a study. A page has lines such as
`<!-- effect: ROW against BASE -->`; the text from there to `<!-- end -->` is replaced.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from factory.common.console import write
from factory.common.entry import run_main

DOCS = Path(__file__).resolve().parent
PAGES = (DOCS / "cookbook.md", DOCS / "gallery.md")
_NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "eurosat": "EuroSAT"}
_LEVEL = 0.05
_MARK = re.compile(
    r"(<!-- (effect|effects|score):[ ]*([^\n]*?)[ ]*-->\n).*?(<!-- end -->)", re.DOTALL
)
_EFFECT = re.compile(r"<!-- effect: (.*?) -->")
_NOT_MEASURED = "*Not measured.*"


def filled_in(text: str, study: dict[str, Any]) -> str:
    """Return a page with the effects and scores of a study."""

    def replaced(match: re.Match[str]) -> str:
        kind, name = match[2], match[3]
        content = {
            "effect": partial(effect, study, name),
            "effects": partial(_overview, study, text),
            "score": partial(score, study, name),
        }[kind]()
        return f"{match[1]}{content}\n{match[4]}"

    return _MARK.sub(replaced, text)


def effect(study: dict[str, Any], pair: str) -> str:
    """Return the table of a difference `ROW against BASE`: datasets by models."""
    row, base = pair.split(" against ")
    models = study["models"]
    lines = []
    for name, one in study["sets"].items():
        found = _compared(one, row, base)
        if found:
            cells = [_cell(found[model]) if model in found else "" for model in models]
            paper = next(iter(found.values()))["paper"]
            cells.append("" if paper is None else f"{paper:+.2f}")
            lines.append(f"| {_NAMES.get(name, name)} | {' | '.join(cells)} |")
    if not lines:
        return _NOT_MEASURED
    heads = " | ".join([*(f"`{model}`" for model in models), "paper"])
    return "\n".join([f"| points | {heads} |", f"|---|{'---:|' * (len(models) + 1)}", *lines])


def score(study: dict[str, Any], name: str) -> str:
    """Return the scores of `SET/ROW` as a sentence."""
    dataset, row = name.split("/")
    rows = study["sets"].get(dataset, {"rows": []})["rows"]
    cells = next((one["cells"] for one in rows if one["name"] == row), {})
    if not cells:
        return "Score: not scored."
    shown = ", ".join(f"{cell['mean']:.2f} % (`{model}`)" for model, cell in cells.items())
    return f"Top-1 on real images, mean of all runs: {shown}."


def _compared(one: dict[str, Any], row: str, base: str) -> dict[str, dict[str, Any]]:
    return {
        found["model"]: found
        for found in one["comparisons"]
        if (found["row"], found["to"]) == (row, base)
    }


def _cell(compared: dict[str, Any]) -> str:
    value, low, high = (compared["estimate"][key] for key in ("value", "low", "high"))
    # A no-break space keeps an interval on one line.
    text = f"{value:+.2f} [{low:+.2f},\u00a0{high:+.2f}]"
    return f"**{text}**" if compared["adjusted_p"] < _LEVEL else text


def _overview(study: dict[str, Any], page: str) -> str:
    """Return the table of all tricks of a page: their first effect on the first dataset."""
    models = study["models"]
    first = next(iter(study["sets"].values()))
    lines = [
        f"| trick | when | {' | '.join(f'`{model}`' for model in models)} |",
        f"|---|---|{'---:|' * len(models)}",
    ]
    for section in page.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        when = re.search(r"^\*\*When:\*\* (.*?)\n\n", body, re.MULTILINE | re.DOTALL)
        if when is None:
            continue
        mark = _EFFECT.search(body)
        found = _compared(first, *mark[1].split(" against ")) if mark else {}
        cells = [_cell(found[one]) if one in found else "not measured" for one in models]
        link = f"[{title}](#{re.sub(r'[^a-z0-9 -]', '', title.lower()).replace(' ', '-')})"
        text = " ".join(when[1].split())
        lines.append(f"| {link} | {text[0].upper()}{text[1:]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def current() -> dict[Path, str]:
    """Return the text that each page should have."""
    study = json.loads((DOCS / "study.json").read_text(encoding="utf-8"))
    return {path: filled_in(path.read_text(encoding="utf-8"), study) for path in PAGES}


def main() -> None:
    """Write the pages."""
    for path, text in current().items():
        path.write_text(text, encoding="utf-8")
        write(str(path))


if __name__ == "__main__":
    run_main(main)
