"""What a rank must know of the directory before it takes shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Start:
    """The shards that were there when a launch began.

    Attributes:
        present: By config, numbers of the shards that were there, going by their names.
    """

    present: dict[str, list[int]]

    def to_text(self) -> str:
        """Return it as JSON, runs of numbers as pairs: a set may have a hundred thousand shards."""
        return json.dumps({name: _runs(numbers) for name, numbers in self.present.items()})

    @classmethod
    def from_text(cls, text: str) -> Start:
        """Read what `to_text` wrote."""
        return cls(
            {
                name: [number for start, stop in runs for number in range(start, stop)]
                for name, runs in json.loads(text).items()
            }
        )


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Return sorted numbers as pairs [first, one past the last]."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1][1] = number + 1
        else:
            runs.append([number, number + 1])
    return runs
