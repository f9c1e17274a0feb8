"""The files that readers see, written from the newest generation: manifest, recipes and card."""

from __future__ import annotations

from factory.card.header import with_exact_files
from factory.card.page import FILE_NAME as CARD
from factory.card.page import write_card
from factory.common.storage import AnyPath, write_bytes, write_text
from factory.shards.directory import recipe_path
from factory.shards.generations import Generation, latest, newest
from factory.shards.manifest import Manifest


def publish(out: AnyPath, *, card: bool, now: Generation | None = None) -> Generation:
    """Write what follows from the newest generation.

    A process may sleep between reading and writing while others go on. So each looks again after
    its last write: whoever writes last also finds the newest generation, and leaves its files.

    Args:
        out: The dataset's directory.
        card: Whether to write the card too; it shows complete configs only.
        now: The newest generation, where it was just read or made.

    Returns:
        The generation that was written.
    """
    while True:
        now = now or newest(out)
        _write(out, now, card=card)
        if latest(out) == now.number:
            return now
        now = None


def _write(out: AnyPath, now: Generation, *, card: bool) -> None:
    """Write the copies of a generation, as long as it is the newest."""
    assert now.manifest is not None, "a generation was written before"
    for name, text in now.recipes.items():
        _write_recipe(out, name, text)
    for name in now.dropped:
        recipe_path(out, name).unlink(missing_ok=True)
    try:
        if card and now.manifest.in_order() and latest(out) == now.number:
            write_card(out, now.manifest)
    except FileNotFoundError:
        # Shards that a newer generation no longer has.
        if latest(out) == now.number:
            raise
    if latest(out) == now.number:
        now.manifest.write(out)


def _write_recipe(out: AnyPath, name: str, text: str) -> None:
    path = recipe_path(out, name)
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def name_files(out: AnyPath, old: Manifest) -> None:
    """Make a card that an older version wrote name the files of each config one by one.

    Its globs would find the new files of a dataset that grows beside those they take the place of.
    Nothing else of the card changes.

    Args:
        out: The dataset's directory.
        old: Its manifest before it grows.
    """
    path = out / CARD
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    changed = with_exact_files(text, old)
    if changed == text:
        return
    write_bytes(path, changed.encode(errors="surrogateescape"))
    if latest(out) != 0:
        # Another launch was faster; its card is right.
        publish(out, card=True)
