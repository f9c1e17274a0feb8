"""Directory state that a rank needs before it takes shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Start:
    """The shards that existed when a launch started.

    Attributes:
        present: By config, numbers of the existing shards, judged by their names.
    """

    present: dict[str, list[int]]

    def to_text(self) -> str:
        """Return it as JSON, with runs of numbers as pairs, because there may be 100,000 shards."""
        return json.dumps({name: _runs(numbers) for name, numbers in self.present.items()})

    @classmethod
    def from_text(cls, text: str) -> Start:
        """Parse the text of `to_text`."""
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
