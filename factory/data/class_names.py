"""Match class names of two datasets: exactly, by spelling, by the first synonym."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

How = Literal["exact", "spelling", "synonym", "map"]
# With the slash, which folder names cannot have, and zero-width characters.
SPELLING = re.compile(r"[\s_/\-\u00ad\u200b\u2060\ufeff]+")


def plain(name: str) -> str:
    """Normalise a spelling: `AnnualCrop`, `annual_crop` and `Annual Crop` become equal.

    Unicode forms become equal too; macOS names folders in another form than most systems.
    """
    return SPELLING.sub("", unicodedata.normalize("NFKC", name)).casefold()


def _first_synonym(name: str) -> str:
    return plain(name.partition(",")[0])


# Tried in this order until every class with images is found.
_STEPS: tuple[tuple[How, Callable[[str], str]], ...] = (
    ("exact", str),
    ("spelling", plain),
    ("synonym", _first_synonym),
)


def find_names(
    wanted: Sequence[str],
    known: Sequence[str],
    *,
    present: Collection[int],
    pairs: Mapping[str, str] | None = None,
) -> tuple[list[int | None], How]:
    """Return each name's position among the known ones, and the last matching step needed.

    A step applies only to names that are unambiguous on both sides.

    Args:
        wanted: Names to find.
        known: Names to find them among.
        present: Positions in `wanted` that must be found; further steps are tried for them.
        pairs: Names of `wanted` with a given name.
    """
    pairs = pairs or {}
    places = _places(known, str)
    found = [places.get(pairs[name]) if name in pairs else None for name in wanted]
    free = [name for name in wanted if name not in pairs]
    how: How = "exact"
    for step, key in _STEPS:
        how = step
        places, unique = _places(known, key), _places(free, key)
        found = [
            places.get(key(name)) if index is None and key(name) in unique else index
            for name, index in zip(wanted, found, strict=True)
        ]
        if all(found[label] is not None for label in present):
            break
    return found, how


def _places(names: Collection[str], key: Callable[[str], str]) -> dict[str, int]:
    """Return the position of every key that only one name has."""
    counts = Counter(map(key, names))
    return {key(name): place for place, name in enumerate(names) if counts[key(name)] == 1}
