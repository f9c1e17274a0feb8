"""Write the files for readers (manifest, recipes, card) from the newest generation."""

from collections.abc import Mapping
from contextlib import suppress

from factory.card.header import with_exact_files
from factory.card.page import FILE_NAME as CARD
from factory.card.page import write_card
from factory.common.errors import Failure
from factory.common.storage import AnyPath, write_bytes, write_text
from factory.recipe.resolved import ResolvedRecipe
from factory.shards.directory import recipe_path
from factory.shards.generations import Generation, latest, newest
from factory.shards.manifest import FILE_NAME as MANIFEST
from factory.shards.manifest import Manifest


def publish(
    out: AnyPath,
    *,
    card: bool,
    now: Generation | None = None,
    loaded: Mapping[str, ResolvedRecipe] | None = None,
) -> Generation:
    """Write the files for readers from the newest generation.

    A process may pause between reading and writing while others continue. So each process checks
    again after its last write: the last writer also finds the newest generation.

    Args:
        out: Dataset directory.
        card: Whether to write the card too; it shows complete configs only.
        now: The newest generation, where it was just read or made.
        loaded: Recipes by their text in a generation; the card reads others from their files.

    Returns:
        The generation that was written.
    """
    if now is not None and latest(out) != now.number:
        now = None
    while True:
        now = now or newest(out)
        _write(out, now, card=card, loaded=loaded or {})
        if latest(out) == now.number:
            return now
        now = None


def _write(
    out: AnyPath, now: Generation, *, card: bool, loaded: Mapping[str, ResolvedRecipe]
) -> None:
    """Write the copies of a generation while it is the newest."""
    for name, text in now.recipes.items():
        _write_recipe(out, name, text)
    for name in now.dropped:
        recipe_path(out, name).unlink(missing_ok=True)
    try:
        if card and now.written.in_order() and latest(out) == now.number:
            known = {name: loaded[text] for name, text in now.recipes.items() if text in loaded}
            write_card(out, now.written, known)
    except FileNotFoundError as error:
        # These shards are no longer in a newer generation.
        if latest(out) == now.number:
            raise Failure(
                f"{error.filename or error}: is listed in {MANIFEST} and does not exist; build its "
                "config again to generate it"
            ) from None
    if latest(out) == now.number:
        now.written.write(out)


def _write_recipe(out: AnyPath, name: str, text: str) -> None:
    path = recipe_path(out, name)
    # Another launch may remove it, if its generation has no such config.
    with suppress(FileNotFoundError):
        if path.is_file() and path.read_bytes() == text.encode():
            return
    write_text(path, text)


def name_files(out: AnyPath, old: Manifest) -> None:
    """Rewrite a card from an older version to list the files of each config one by one.

    Its globs would match the new files of a growing dataset and the files they replace. The rest of
    the card stays unchanged.
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
        # Another process was faster; its card is right.
        publish(out, card=True)
