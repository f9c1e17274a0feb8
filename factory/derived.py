"""The files that readers see, written from the newest generation: manifest, recipes and card."""

from __future__ import annotations

from factory.card import write_card
from factory.existing import recipe_path
from factory.generations import Generation, latest, newest
from factory.storage import AnyPath, write_text


def publish(out: AnyPath, *, card: bool) -> Generation:
    """Write what follows from the newest generation.

    A process may sleep between reading and writing while others go on. So each looks again after
    its last write: whoever writes last also finds the newest generation, and leaves its files.

    Args:
        out: The dataset's directory.
        card: Whether to write the card too; it shows complete configs only.

    Returns:
        The generation that was written.
    """
    while True:
        now = newest(out)
        assert now.manifest is not None, "a generation was written before"
        for name, text in now.recipes.items():
            _write_recipe(out, name, text)
        try:
            # Scores of other rows are removed with the card that shows them.
            if card and now.manifest.in_order() and latest(out) == now.number:
                write_card(out, now.manifest)
        except FileNotFoundError:
            # Shards that were replaced meanwhile.
            if latest(out) == now.number:
                raise
            continue
        now.manifest.write(out)
        if latest(out) == now.number:
            return now


def _write_recipe(out: AnyPath, name: str, text: str) -> None:
    path = recipe_path(out, name)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
