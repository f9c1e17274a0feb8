"""The tables of a section: comparisons, profiles, and a grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from .figures import number
from .timing import Figure, Spread

_COLUMNS = ("measured", "n", "data-factory", "alternative", "alternative's figure", "ratio")
_PROFILE = "profile"


def tables(figures: Sequence[Figure], grid_by: str = "") -> Iterator[str]:
    """Yield the lines of all tables.

    Args:
        figures: Of one section.
        grid_by: Text that separates row and column in the names of lines that form a grid.
    """
    cells = [one for one in figures if grid_by and grid_by in one.what]
    profiles = _profiles(figures)
    apart = {id(one) for group in (cells, *profiles.values()) for one in group}
    if rest := [one for one in figures if id(one) not in apart]:
        yield from table(_COLUMNS, map(_compared, rest), ["alternative"])
    for (name, unit), phases in profiles.items():
        yield from ("", *_profile(name, unit, phases))
    if cells:
        yield from ("", *_grid(cells, grid_by))


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], texts: Iterable[str] = ()
) -> Iterator[str]:
    """Yield the lines of a table whose columns are numbers, but for the first and `texts`."""
    left = {head[0], *texts}
    yield _line(head)
    yield f"|{'|'.join('---' if name in left else '---:' for name in head)}|"
    yield from map(_line, rows)


def _compared(one: Figure) -> tuple[str, ...]:
    # The page is too narrow for columns of units and notes.
    what = f"{one.what} ({one.unit}){f'; *{one.note}*' if one.note else ''}"
    other = f"limit: {one.other}" if one.is_limit else one.other
    figures = spread(one.ours), other, spread(one.others), spread(one.ratio)
    return (what, str(one.ours.count), *figures)


def _profiles(figures: Sequence[Figure]) -> Mapping[tuple[str, str], list[Figure]]:
    """Return the phases of each profile, by its name and unit."""
    found: dict[tuple[str, str], list[Figure]] = {}
    for one in figures:
        name, _, phase = one.what.partition(": ")
        if name.startswith(_PROFILE) and phase and not one.other:
            found.setdefault((name, one.unit), []).append(one)
    return {key: phases for key, phases in found.items() if len(phases) > 1}


def _profile(name: str, unit: str, phases: Sequence[Figure]) -> Iterator[str]:
    """Yield the phases, largest first, with their shares of the sum unless the unit is one."""
    phases = sorted(phases, key=lambda one: -one.ours.median)
    total = 0.0 if unit.startswith("%") else sum(one.ours.median for one in phases)
    yield f"{name.capitalize()}, n = {phases[0].ours.count}:\n"
    rows = []
    for one in phases:
        share = [f"{100 * one.ours.median / total:.1f} %"] if total else []
        rows.append([one.what.partition(": ")[2], spread(one.ours), *share])
    if total:
        rows.append(["sum of the medians", number(total), "100 %"])
    yield from table(["phase", unit, *(["share of the sum"] if total else [])], rows)


def _grid(cells: Sequence[Figure], between: str) -> Iterator[str]:
    """Yield a line per row of the grid; the notes, one per column, are in the head."""
    heads: dict[str, str] = {}
    rows: dict[str, dict[str, str]] = {}
    for one in cells:
        row, _, column = one.what.partition(between)
        heads[column] = f"{column}: {one.note}" if one.note else column
        rows.setdefault(row, {})[column] = spread(one.ours)
    head = f"{cells[0].unit}, n = {cells[0].ours.count}"
    yield from table(
        [head, *heads.values()],
        ([row, *(found.get(one, "") for one in heads)] for row, found in rows.items()),
    )


def spread(one: Spread | None) -> str:
    """Return median, lowest and highest; an empty text for nothing measured."""
    if one is None:
        return ""
    if one.count == 1:
        return number(one.median)
    return f"{number(one.median)} [{number(one.low)}, {number(one.high)}]"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
