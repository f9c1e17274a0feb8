"""Library versions and devices of a study's datasets, trainings and scores.

A study may be resumed after an upgrade or on another machine; the report then lists all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eval.scores_file import Scores


def all_versions(
    scores: Sequence[Scores], manifests: Sequence[Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Return all versions of each library, sorted by name; of one library in order of use."""
    builds = [one for manifest in manifests for one in manifest.get("versions") or ()]
    trainings = [one.get("versions") or {} for one in _environments(scores)]
    found: dict[str, list[str]] = {}
    for versions in (*builds, *trainings, *(one.versions for one in scores)):
        for name, version in versions.items():
            found.setdefault(name, []).append(str(version))
    return {name: _distinct(found[name]) for name in sorted(found)}


def all_devices(
    scores: Sequence[Scores], manifests: Sequence[Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Return the devices that generated images, trained and scored."""
    environments = _environments(scores)
    return {
        "generating": _distinct(manifest.get("device") for manifest in manifests),
        "training": _distinct(one.get("device_name") or one.get("device") for one in environments),
        "scoring": _distinct(one.settings.get("device") for one in scores),
    }


def _environments(scores: Sequence[Scores]) -> list[dict[str, Any]]:
    """Return the environments of all trainings; runs of version 0.1 have versions only."""
    trainings = [one.training or {} for one in scores]
    return [env for one in trainings for env in one.get("environments") or [one]]


def _distinct(values: Iterable[Any]) -> list[str]:
    return [*dict.fromkeys(str(value) for value in values if value)]
