"""Lists of image indexes as text: `0-99, 104, 107-109`."""

import re
import textwrap
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator

Ranges = tuple[tuple[int, int], ...]
"""Index ranges, first and last inclusive, ascending, with gaps between them."""

MAX_ROWS = 10_000_000
"""Maximum images of one list; their indexes are kept in memory."""
_WIDTH = 90
_RANGE = re.compile(r"([0-9]{1,12})(?:-([0-9]{1,12}))?")


def parse_ranges(given: Any) -> Any:
    """Parse a text, or a list of texts that continue each other.

    Raises:
        ValueError: There is no part, one is not a number or range, or indexes are not ascending.
    """
    if isinstance(given, tuple):
        return given
    texts = given if isinstance(given, list) else [given]
    if not texts:
        raise ValueError("is an empty list; write e.g. 0-99, 104, 107-109")
    parts = [part.strip() for text in texts for part in str(text).split(",")]
    ranges: list[tuple[int, int]] = []
    for part in parts:
        found = _RANGE.fullmatch(part)
        if found is None:
            raise ValueError(f"{part[:40]!r} is no index or range; write e.g. 0-99, 104, 107-109")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first or (ranges and first <= ranges[-1][1]):
            raise ValueError(f"{part}: write each index once, in ascending order")
        if ranges and first == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))
    if count_rows(tuple(ranges)) > MAX_ROWS:
        raise ValueError(f"lists more than {MAX_ROWS:,} images; list fewer")
    return tuple(ranges)


def write_ranges(ranges: Ranges) -> str | list[str]:
    """Return the text of some ranges, as a list of lines if it is long."""
    parts = [str(first) if first == last else f"{first}-{last}" for first, last in ranges]
    lines = [line.rstrip(",") for line in textwrap.wrap(", ".join(parts), _WIDTH)]
    return lines[0] if len(lines) == 1 else lines


def ranges_of(indexes: list[int]) -> Ranges:
    """Return the ranges of ascending indexes."""
    ranges: list[tuple[int, int]] = []
    for index in indexes:
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], index)
        else:
            ranges.append((index, index))
    return tuple(ranges)


def count_rows(ranges: Ranges) -> int:
    """Return the number of indexes in some ranges."""
    return sum(last - first + 1 for first, last in ranges)


def count_per_class(lists: Iterable[Ranges], num_classes: int) -> tuple[int, ...]:
    """Return the number of listed images of each class; the class is index % num_classes."""
    import numpy as np

    counts = np.zeros(num_classes, np.int64)
    for first, last in (one for ranges in lists for one in ranges):
        whole, rest = divmod(last - first + 1, num_classes)
        counts += whole
        counts[np.arange(first, first + rest) % num_classes] += 1
    return tuple(counts.tolist())


RowRanges = Annotated[
    Ranges, BeforeValidator(parse_ranges, json_schema_input_type=int | str | list[int | str])
]
