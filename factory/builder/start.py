"""The state of the directory that a rank needs before it takes shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Start:
    """The state of the directory when a launch began.

    Attributes:
        present: By config, numbers of the existing shards, judged by their names.
        others: By config and number, further files of shards: of other counts, columns or versions.
        plan: Hash of the plan that the lead has read or written.
        is_shared: Whether there were markers: another launch is at work, or was killed.
    """

    present: dict[str, list[int]]
    others: dict[str, dict[int, list[str]]]
    plan: str
    is_shared: bool

    def to_text(self) -> str:
        """Return it as JSON, with runs of numbers as pairs, because there may be 100,000 shards."""
        runs = {name: _runs(numbers) for name, numbers in self.present.items()}
        return json.dumps(
            {
                "present": runs,
                "others": self.others,
                "plan": self.plan,
                "is_shared": self.is_shared,
            }
        )

    @classmethod
    def from_text(cls, text: str) -> Start:
        """Parse the text of `to_text`."""
        read = json.loads(text)
        present = {
            name: [number for start, stop in runs for number in range(start, stop)]
            for name, runs in read["present"].items()
        }
        others = {
            name: {int(number): files for number, files in found.items()}
            for name, found in read["others"].items()
        }
        return cls(present, others, read["plan"], read["is_shared"])


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Return sorted numbers as pairs [first, one past the last]."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1][1] = number + 1
        else:
            runs.append([number, number + 1])
    return runs
