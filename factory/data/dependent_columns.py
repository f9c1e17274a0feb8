"""Find columns that vary only because another column does, such as the article of a class name."""

from collections.abc import Hashable, Mapping, Sequence

ROWS = 2000
"""Number of rows that are compared, from the beginning."""
# Rows beyond the first of each value that must agree: fewer may agree by chance.
_LEAST_REPEATS = 8


def dependent_columns(
    columns: Mapping[str, Sequence[Hashable]], labels: Sequence[Hashable]
) -> set[str]:
    """Return the columns whose value follows from the class, or from another column.

    These are variables with one value per class, and linked variables but one. A chart of them
    repeats another chart. The first `ROWS` rows decide.

    Args:
        columns: Values of each column, row by row.
        labels: Class of each row.
    """
    values = {name: some[:ROWS] for name, some in columns.items()}
    found: set[str] = set()
    for name, own in values.items():
        others = [one for other, one in values.items() if other != name and other not in found]
        keys = [labels[:ROWS], *others]
        if len(set(own)) > 1 and any(_follows(own, one) for one in keys):
            found.add(name)
    return found


def _follows(values: Sequence[Hashable], keys: Sequence[Hashable]) -> bool:
    distinct = len(set(keys))
    repeats = len(keys) - distinct
    return repeats >= _LEAST_REPEATS and len(set(zip(keys, values, strict=True))) == distinct
