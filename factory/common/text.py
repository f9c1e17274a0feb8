"""Short texts for messages: long values are cut, long lists are counted."""

import difflib
from collections.abc import Collection, Iterable

_SHORT = 2
_MOST_NEAR = 3


def cut(text: str, most: int) -> str:
    """Return a text of at most `most` characters; a longer one ends in dots."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def some(names: Collection[str], most: int = 3, *, separator: str = ", ") -> str:
    """Return the first names and the number of others: `a, b, c and 4 more`."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return separator.join(listed[:most]) + more


def suggest(word: str, known: Iterable[str], *, otherwise: str = "it has") -> str:
    """Return a hint with the most similar known name, or `otherwise` and the known names.

    If none is similar, up to three names that contain the word are the hint.
    """
    names = [str(name) for name in known]
    near = difflib.get_close_matches(word, names, n=1)
    if not near and len(word) > _SHORT:
        near = [name for name in names if word.lower() in name.lower()]
    if near:
        return f"did you mean {one_of(near[:_MOST_NEAR])}?"
    return f"{otherwise}: {', '.join(names) or 'none'}"


def one_of(known: Iterable[object]) -> str:
    """Return names as a choice: `a, b or c`."""
    *first, last = map(str, known)
    return f"{', '.join(first)} or {last}" if first else last


def expected_word(word: str, known: Iterable[object]) -> str:
    """Say which words are allowed, and which of them is most similar to another one."""
    names = [str(name) for name in known]
    near = difflib.get_close_matches(word, names, n=1)
    return f"expected {one_of(names)}" + (f"; did you mean {near[0]}?" if near else "")


def plural(number: int, what: str, many: str = "") -> str:
    """Return a number with its noun: `1 image`, `1,000 images`, `2 classes`.

    Args:
        number: The number.
        what: The noun in the singular.
        many: Its plural, if that is not formed with `s`.
    """
    return f"{number:,} {what if number == 1 else many or what + 's'}"


def agree(number: int, one: str, many: str) -> str:
    """Return the form of a verb that fits a number: `is` or `are`."""
    return one if number == 1 else many


def size(num_bytes: float) -> str:
    """Return a number of bytes in a suitable unit: `12 B`, `3.4 kB`, `5.6 GB`."""
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.1f} GB"
