"""Check that a dataset is still planned as it was when a process started.

A process may be suspended for hours. Meanwhile its claims expire, and others grow the dataset or
add columns. So it checks the plan before each shard and each change, and stops if the plan has
changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from factory.common.errors import Failure
from factory.common.storage import AnyPath
from factory.shards.generations import latest, newest
from factory.shards.manifest import ConfigEntry, Manifest

_PLANNED = ("kind", "fingerprint", "images", "members")


class Fence:
    """The plan of one launch, compared with the newest generation."""

    def __init__(self, out: AnyPath, configs: Iterable[str], manifest: Manifest) -> None:
        """Remember the plan.

        Args:
            out: Dataset directory.
            configs: Configs that the launch generates.
            manifest: The manifest when the launch started.
        """
        self._out = out
        self._configs = tuple(configs)
        self._manifest = manifest
        self._seen = -1

    def check(self) -> None:
        """Check that the plan is unchanged; the manifest is read only if it was replaced.

        Raises:
            Failure: Another process changed something this launch relies on.
        """
        number = latest(self._out)
        if number != self._seen:
            self.require_same(newest(self._out).manifest)
            self._seen = number

    def require_same(self, now: Manifest | None) -> None:
        """Reject a manifest that plans this launch's configs differently.

        Raises:
            Failure: The plans differ.
        """
        changed = next(self._changes(now), None)
        if changed is not None:
            raise Failure(
                f"{self._out}: another process changed this dataset after this one started "
                f"({changed}); nothing was overwritten; run the same command again"
            )

    def _changes(self, now: Manifest | None) -> Iterator[str]:
        if now is None:
            yield "its manifest is gone"
            return
        before = self._manifest
        for name in self._configs:
            if _planned(now.configs.get(name)) != _planned(before.configs[name]):
                yield f"config {name}"
        for what in ("labels", "variables", "settings"):
            if getattr(now, what) != getattr(before, what):
                yield what


def _planned(entry: ConfigEntry | None) -> tuple[object, ...]:
    return () if entry is None else tuple(getattr(entry, name) for name in _PLANNED)
