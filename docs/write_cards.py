"""Write `dataset_cards/<set>.md`: cards of the packaged datasets, from their recipes alone.

Run it with `make cards`; with `--check` it only reports whether they are up to date. They contain
planned counts and the paper's scores, but no scores of this project.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from factory.card.facts import contents, model_ids, title
from factory.card.header import general_fields
from factory.card.page import render
from factory.common.console import write as write_line
from factory.common.entry import run_main
from factory.common.errors import UserError
from factory.common.yaml_reader import read
from factory.recipe.library import load_recipes
from factory.recipe.paths import packaged_dir, packaged_names

_PAPER = "paper.yaml"


def set_names() -> list[str]:
    """Return the packaged recipe folders; each one is a dataset."""
    return [name for name in packaged_names() if "/" not in name]


def card_text(name: str) -> str:
    """Return the card of a packaged dataset before it is built."""
    recipes = load_recipes(name)
    generated = [recipe for recipe in recipes if not recipe.is_combination]
    labels = recipes[0].labels
    num_images = sum(recipe.num_images for recipe in generated)
    header = general_fields(
        labels,
        models=model_ids(generated),
        num_images=num_images,
    )
    header["pretty_name"] = f"{name}: {title(labels)}"
    counts = {recipe.name: recipe.num_images for recipe in recipes}
    filled = contents(recipes, counts, sampling={}) | {
        "title": header["pretty_name"],
        "num_images": num_images,
        "location": f"out/{name}",
        "hub_note": "",
        "planned": {"name": name, "paper": _paper_figures(name)},
        "sheet": None,
        "plots": None,
        "scores": [],
        "failed": [],
        "facts": [],
    }
    return render(header, filled)


def _paper_figures(name: str) -> dict[str, Any] | None:
    listed: dict[str, Any] = read(packaged_dir("dataset_cards") / _PAPER).plain()
    return listed.get(name)


def stale(folder: Path) -> list[Path]:
    """Return the cards that are missing, outdated, or without a recipe folder."""
    wanted = {folder / f"{name}.md": card_text(name) for name in set_names()}
    old = [
        path
        for path, text in wanted.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    return old + [path for path in sorted(folder.glob("*.md")) if path not in wanted]


def write(folder: Path) -> list[Path]:
    """Write all cards; remove those without a recipe folder."""
    for path in stale(folder):
        path.unlink(missing_ok=True)
    paths = []
    for name in set_names():
        path = folder / f"{name}.md"
        path.write_text(card_text(name), encoding="utf-8")
        paths.append(path)
    return paths


def main() -> None:
    """Write the cards of the packaged datasets; --check only reports whether they are current.

    Raises:
        UserError: With --check, a card is out of date.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    folder = packaged_dir("dataset_cards")
    if parser.parse_args().check:
        old = stale(folder)
        if old:
            raise UserError(f"{', '.join(map(str, old))}: out of date; run `make cards`")
    else:
        write_line("\n".join(map(str, write(folder))))


if __name__ == "__main__":
    run_main(main)
