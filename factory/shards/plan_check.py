"""Check that a dataset's plan is still the one that a process started with.

While a launch is running, another one may grow the dataset or add columns. A process may also be
suspended for hours and then continue. So each launch compares its plan with the newest generation
before each shard and each change, and stops if they differ.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from factory.common.errors import Failure
from factory.common.storage import AnyPath
from factory.shards.generations import latest, newest
from factory.shards.manifest import ConfigEntry, Manifest

_PLANNED = ("kind", "fingerprint", "images", "members")


def plan_hash(manifest: Manifest, configs: Iterable[str]) -> str:
    """Return a hash of the plan of some configs: ranks of one launch must have the same."""
    entries = [(name, _planned(manifest.configs.get(name))) for name in configs]
    what = entries, manifest.labels, sorted(manifest.variables.items()), manifest.settings
    return hashlib.sha256(repr(what).encode()).hexdigest()


@dataclass
class Fence:
    """The plan of one launch, compared with the newest generation.

    Attributes:
        out: Dataset directory.
        configs: Configs that the launch generates.
        manifest: The manifest when the launch started.
        seen: Number of its generation, which is not read again.
    """

    out: AnyPath
    configs: Collection[str]
    manifest: Manifest
    seen: int = -1

    def check(self) -> None:
        """Check that the plan is unchanged; the manifest is read only if it was replaced.

        Raises:
            Failure: Another process changed something this launch relies on.
        """
        number = latest(self.out)
        if number != self.seen:
            self.require_same(newest(self.out).manifest)
            self.seen = number

    def require_same(self, now: Manifest | None) -> None:
        """Reject a manifest that plans this launch's configs differently.

        Raises:
            Failure: The plans differ.
        """
        changed = next(self._changes(now), None)
        if changed is not None:
            raise has_changed(self.out, changed)

    def _changes(self, now: Manifest | None) -> Iterator[str]:
        if now is None:
            yield "its manifest is gone"
            return
        before = self.manifest
        for name in self.configs:
            if _planned(now.configs.get(name)) != _planned(before.configs[name]):
                yield f"config {name}"
        for what in ("labels", "variables", "settings"):
            if getattr(now, what) != getattr(before, what):
                yield what


def has_changed(out: AnyPath, what: str) -> Failure:
    """Return the error of a launch whose plan differs from the dataset's."""
    return Failure(
        f"{out}: another launch has changed this dataset since this one began ({what}); "
        "its changes were kept; run the same command again"
    )


def _planned(entry: ConfigEntry | None) -> tuple[object, ...]:
    return () if entry is None else tuple(getattr(entry, name) for name in _PLANNED)
