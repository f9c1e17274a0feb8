"""Report the number of images per class in one line, and warn about suspicious counts."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from factory.common.redaction import cut_line, one_line
from factory.common.text import plural, some

FEW = 10
"""Classes with fewer images are reported."""
IMBALANCE = 10
"""Ratio of the largest to the smallest class from which imbalance is reported."""
_LISTED = 20
_LONGEST = 80


def class_counts(labels: Iterable[int] | NDArray[np.int64], names: Sequence[str]) -> dict[str, int]:
    """Return the number of images per class, by name; classes without images included.

    Args:
        labels: Shape (N,); or of several labels per image, 1 for each of them, shape (N, C).
        names: Of the classes.
    """
    array = np.asarray(labels if isinstance(labels, np.ndarray) else [*labels], dtype=np.int64)
    several = array.ndim == 2
    found = array.sum(axis=0) if several else np.bincount(array, minlength=len(names))
    return dict(zip(names, found.tolist(), strict=True))


def counts_line(
    where: str, counts: Mapping[str, int], left_out: Mapping[str, int], *, total: int | None = None
) -> str:
    """Describe the images that were read in one line.

    Args:
        where: The dataset, as the user named it, with split and filter.
        counts: From `class_counts`.
        left_out: Number of files that were not read, by reason.
        total: Number of images, if they have several labels each.
    """
    total, classes = sum(counts.values()) if total is None else total, len(counts)
    line = f"{where}: {plural(total, 'image')}, {plural(classes, 'class', 'classes')}"
    if classes <= _LISTED:
        line += f": {', '.join(f'{_shown(name)} {count:,}' for name, count in counts.items())}"
    else:
        line += f" of {min(counts.values()):,} to {max(counts.values()):,} images"
    return f"{line}; not read: {left_out_line(left_out)}" if left_out else line


def left_out_line(left_out: Mapping[str, int]) -> str:
    """Return the number of files that were not read, by reason, on one line."""
    # A reason may list folders, whose names `shortened` has shortened.
    files = [f"{count:,} {one_line(reason)}" for reason, count in left_out.items()]
    more = f" and {len(files) - _LISTED} other types" if len(files) > _LISTED else ""
    return f"{', '.join(files[:_LISTED])}{more}"


def _alike(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of names that people read as one."""
    groups: dict[str, list[str]] = {}
    for name in names:
        plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        groups.setdefault(plain, []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def count_warnings(counts: Mapping[str, int]) -> list[str]:
    """Return warnings about classes without or with few images, and about imbalance."""
    warnings = []
    alike = [one for group in _alike(counts) for one in group]
    if alike:
        warnings.append(
            f"{_of(len(alike), counts)} with names that differ only in case, spaces or form of "
            f"letters: {some([repr(name) for name in alike])}"
        )
    empty = [name for name, count in counts.items() if not count]
    few = {name: count for name, count in counts.items() if 0 < count < FEW}
    if empty:
        warnings.append(f"{_of(len(empty), counts)} without images: {shortened(empty)}")
    if few:
        shown = [f"{_shown(name)} {count}" for name, count in few.items()]
        warnings.append(f"{_of(len(few), counts)} with fewer than {FEW} images: {shortened(shown)}")
    present = {name: count for name, count in counts.items() if count}
    if present and max(present.values()) >= IMBALANCE * min(present.values()):
        least, most = min(present, key=present.__getitem__), max(present, key=present.__getitem__)
        warnings.append(
            f"{_shown(most)} has {present[most]:,} images, {_shown(least)} has "
            f"{present[least]:,}: accuracy mostly measures the large classes"
        )
    return warnings


def shortened(names: Sequence[str]) -> str:
    """Return the first names, shortened and on one line, and the number of others."""
    return some([_shown(name) for name in names], 5)


def _shown(name: str) -> str:
    return cut_line(name, _LONGEST)


def _of(count: int, counts: Mapping[str, int]) -> str:
    return f"{count} of {plural(len(counts), 'class', 'classes')}"
