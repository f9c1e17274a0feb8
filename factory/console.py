"""Terminal output that the three packages share: log lines, progress bars, plain tables.

Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from factory.redaction import redacted


def write(text: str = "", *, stream: TextIO | None = None) -> None:
    """Write a line of results to stdout (or to `stream`)."""
    (stream or sys.stdout).write(f"{text}\n")


def launched_as() -> tuple[int, int]:
    """Return this process's rank and the number of processes as its launcher set them.

    (0, 1) for a process that is alone, whatever another launch has left in the environment.
    """
    rank, world_size = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    if not (rank.isdecimal() and world_size.isdecimal()) or int(world_size) < 2:
        return 0, 1
    return int(rank), int(world_size)


def log(text: str) -> None:
    """Write a line about the work to stderr, with the rank when there are several processes."""
    rank, world_size = launched_as()
    prefix = f"[rank {rank}] " if world_size > 1 else ""
    sys.stderr.write(f"{prefix}{redacted(text)}\n")
    sys.stderr.flush()


def progress(
    total: int,
    *,
    unit: str,
    description: str,
    initial: int = 0,
    show: bool = True,
    in_bytes: bool = False,
) -> Any:
    """Return a tqdm bar with rate and time left.

    Without a terminal it writes a line every 30 s, so that logs stay readable.

    Args:
        total: Units of work in all.
        unit: What is counted, singular, e.g. `image`.
        description: What is being done.
        initial: Units that were done before this run; they count in the bar but not in the rate.
        show: False on ranks that should stay silent.
        in_bytes: Units are bytes, shown as kB, MB, GB.
    """
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=initial,
        unit="B" if in_bytes else f" {unit}s",
        unit_scale=in_bytes,
        desc=description,
        disable=not show,
        dynamic_ncols=terminal,
        ncols=None if terminal else 100,
        mininterval=0.2 if terminal else 30.0,
        maxinterval=10.0 if terminal else 60.0,
        file=sys.stderr,
    )


def table(rows: Sequence[Sequence[str]], *, header: Sequence[str] = (), align: str = "") -> str:
    """Format rows as a plain text table.

    Args:
        rows: Cells as text, all rows of one length.
        header: Column titles, or nothing.
        align: A letter a column, `l` or `r`; missing ones are `l`.
    """
    lines = [list(header), *map(list, rows)] if header else [list(row) for row in rows]
    if not lines:
        return ""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    align = align.ljust(len(widths), "l")

    def one(line: Sequence[str]) -> str:
        cells = [
            c.rjust(w) if a == "r" else c.ljust(w)
            for c, w, a in zip(line, widths, align, strict=True)
        ]
        return "  ".join(cells).rstrip()

    text = [one(line) for line in lines]
    if header:
        text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text)
