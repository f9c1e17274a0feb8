"""Refuse tables that would compare or average scores that are not comparable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from eval.sampling import is_recorded, sampling_settings
from eval.scores_file import Scores
from factory.common.errors import UserError
from factory.common.text import plural

# Older runs do not have it; square images, as most synthetic ones are, do not depend on it.
_FIT = "hyperparameters.fit"
# Differences allowed between runs of one cell: the seed, and the dataset of another base seed.
_FREE = {"seed", "data.reference", "data.pixels_sha256"}
_SAMPLING = "sampling."


def check_columns(scores: Sequence[Scores]) -> None:
    """Reject a column whose scores are not of the same test images.

    Raises:
        UserError: They are of two datasets, or with other merged classes or another `--fit`.
    """
    seen: dict[str, Scores] = {}
    for one in scores:
        first = seen.setdefault(one.real.name, one)
        if first.real.fingerprint != one.real.fingerprint:
            raise UserError(
                f"{one.real.name}: {first.run} and {one.run} were scored on different images "
                f"({first.real.num_images} of {first.real.reference}, {one.real.num_images} of "
                f"{one.real.reference}); score both on the same dataset"
            )
        if sorted(first.labels.merged) != sorted(one.labels.merged):
            raise UserError(
                f"{one.real.name}: {first.run} and {one.run} were scored with different merged "
                f"classes ({_merged(first)}; {_merged(one)}); score both again with the same "
                "--labels"
            )
        _check_fit(first, one)


def several_names(scores: Iterable[Scores]) -> list[str]:
    """Return a line for each set of test images that was scored under several names."""
    names: dict[str, dict[str, int]] = {}
    for one in scores:
        names.setdefault(one.real.fingerprint, {})[one.real.name] = one.real.num_images
    return [
        f"{' and '.join(sorted(found))} are the same {plural(max(found.values()), 'image')} under "
        f"{len(found)} names; score with one --real-name to compare all runs"
        for found in names.values()
        if len(found) > 1
    ]


def _check_fit(first: Scores, other: Scores) -> None:
    """Reject scores of test images that `--fit` changed differently.

    Without the option each run is scored as it was trained, which is a difference of the rows.
    """
    fits = first.preprocessing.fit, other.preprocessing.fit
    if fits[0] == fits[1] or None in fits or not (_fit_option(first) or _fit_option(other)):
        return
    raise UserError(
        f"{other.real.name}: {first.run} and {other.run} were scored with different --fit "
        f"({fits[0]} and {fits[1]}); score both again with the same --fit"
    )


def _fit_option(scores: Scores) -> bool:
    """Return whether test images were fitted in another way than the training images."""
    trained = ((scores.training or {}).get("hyperparameters") or {}).get("fit")
    return trained is not None and scores.preprocessing.fit != trained


def _merged(scores: Scores) -> str:
    groups = [" with ".join(group) for group in scores.labels.merged]
    return ", ".join(groups) or "each label by itself"


def check_same_training(group: Sequence[Scores], row: str) -> None:
    """Reject averages over runs that differ in more than their seed.

    Raises:
        UserError: Two of them have other settings, or images of other settings.
    """
    first, *others = (_flat(_settings(one.training or {})) for one in group)
    for one, other in zip(group[1:], others, strict=True):
        differing = sorted(
            key for key in first.keys() | other.keys() if first.get(key) != other.get(key)
        )
        differing = [key for key in differing if key not in _FREE]
        if None in (first.get(_FIT), other.get(_FIT)) and _FIT in differing:
            differing.remove(_FIT)
        if not (is_recorded(group[0].training) and is_recorded(one.training)):
            differing = [key for key in differing if not key.startswith(_SAMPLING)]
        if differing:
            found = differing[0]
            raise UserError(
                f"{row} on {one.real.name}: {group[0].run} and {one.run} differ in {found} "
                f"({first.get(found)} and {other.get(found)}), not only in their seed; "
                "pass one of them, or use --row-per run"
            )


def _settings(training: dict[str, Any]) -> dict[str, Any]:
    """Return a run's settings and last library versions, without its machines."""
    settings = dict(training) | {"sampling": sampling_settings(training)}
    data = settings.get("data")
    if isinstance(data, dict):
        # Counts follow from the rows, and older runs lack them.
        counted = ("class_counts", "left_out", "num_unreadable", "num_real_images", "sampling")
        settings["data"] = {key: one for key, one in data.items() if key not in counted}
        # Datasets of other base seeds are other references.
        settings["data"]["sources"] = [
            {key: one.get(key) for key in ("config_name", "split", "real", "num_images")}
            for one in data.get("sources") or ()
        ]
    # The hyperparameters contain them, and older runs lack them.
    settings.pop("overrides", None)
    environments = settings.pop("environments", None)
    if environments:
        settings["versions"] = environments[-1].get("versions")
    return settings


def _flat(mapping: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping's values under dotted keys."""
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
