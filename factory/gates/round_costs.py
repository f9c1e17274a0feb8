"""The record of each round in `rounds.json`: its seconds, over all launches, and its result."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from factory.common.dataset_files import ROUNDS
from factory.common.errors import UserError
from factory.common.untrusted_files import read_json
from factory.common.whole_files import replace_text

_UNFINISHED = "unfinished"
Step = Literal["generation_seconds", "judging_seconds"]
_STEPS: tuple[Step, ...] = ("generation_seconds", "judging_seconds")


class RoundCosts:
    """The record of one round. Once the round is finished, it no longer changes."""

    def __init__(self, out: Path, name: str) -> None:
        """Read the record of a round, if an earlier launch has begun it.

        Raises:
            UserError: The file is not a record of rounds.
        """
        self._path, self._name = out / ROUNDS, name
        own = self._read().get(name, {})
        self._is_finished = bool(own) and not own.get(_UNFINISHED)
        self.seconds: dict[str, float] = {step: own.get(step, 0.0) for step in _STEPS}

    @contextmanager
    def timed(self, step: Step) -> Iterator[None]:
        """Add the time of a step, also if it fails or is stopped."""
        started = time.monotonic()
        try:
            yield
        finally:
            if not self._is_finished:
                self.seconds[step] = round(self.seconds[step] + time.monotonic() - started, 1)
                self._write({_UNFINISHED: True, **self.seconds})

    def finish(self, values: dict[str, Any]) -> None:
        """Write the values of a finished round; of one that was finished before, they stay."""
        if not self._is_finished:
            self._write(values)

    def _write(self, values: dict[str, Any]) -> None:
        found = self._read() | {self._name: values}
        replace_text(self._path, json.dumps(found, indent=2, ensure_ascii=False) + "\n")

    def _read(self) -> dict[str, dict[str, Any]]:
        found = read_json(self._path) if self._path.is_file() else {}
        rounds = list(found.values()) if isinstance(found, dict) else [None]
        if not all(isinstance(one, dict) and all(map(_is_time, _times(one))) for one in rounds):
            raise UserError(
                f"{self._path}: is not a record of rounds with their seconds; restore or remove it"
            )
        return dict(found)


def _times(values: dict[str, Any]) -> list[Any]:
    return [values.get(step, 0.0) for step in _STEPS]


def _is_time(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= 0
