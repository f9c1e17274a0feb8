"""Matches a model's classes to a real set's by name, never by number."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from factory.errors import UserError

_SHOWN = 8


@dataclass(frozen=True)
class LabelMatch:
    """One order of classes for both sides: the real set's, then what only the model knows.

    Attributes:
        names: Class names; the first `num_real` are the real set's, as it spells them.
        num_real: How many of `names` the real set has.
        model_indices: For each name, its output of the model.
        real_indices: For each label id of the real set, its place in `names`; None for a class
            without images that the model doesn't know.
        how: `exact`, or `spelling` if letter case, spaces, `_` or `-` had to be overlooked.
    """

    names: list[str]
    num_real: int
    model_indices: list[int]
    real_indices: list[int | None]
    how: Literal["exact", "spelling"]


def match_labels(
    model_names: Sequence[str],
    real_names: Sequence[str],
    *,
    present: Collection[int],
    model: str,
    real: str,
) -> LabelMatch:
    """Find each real class among the model's outputs.

    Args:
        model_names: Class names of the model, in the order of its outputs.
        real_names: Class names of the real set, in the order of its label ids.
        present: Label ids that have images; names of other classes need not match.
        model: What to call the model in a message.
        real: What to call the real set in a message.

    Raises:
        UserError: The model has two classes of one name, or doesn't know a class that has images.
    """
    twice = sorted({name for name in model_names if list(model_names).count(name) > 1})
    if twice:
        raise UserError(
            f"{model}: label_names has {_listed(twice)} more than once; make names unique"
        )
    how: Literal["exact", "spelling"] = "exact"
    found = _look_up(real_names, model_names)
    if any(found[label] is None for label in present):
        plain_model, plain_real = _plain_all(model_names), _plain_all(real_names)
        if _unique(plain_model) and _unique(plain_real):
            how, found = "spelling", _look_up(plain_real, plain_model)
    unknown = [real_names[label] for label in sorted(present) if found[label] is None]
    if unknown:
        raise UserError(_mismatch(unknown, model_names, real_names, model=model, real=real))
    return _join(model_names, real_names, found=found, how=how)


def missing_names(model_names: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return those of `names` that a model doesn't have, as `match_labels` compares spellings."""
    exact = [name for name in names if name not in set(model_names)]
    if not exact or not (_unique(_plain_all(model_names)) and _unique(_plain_all(names))):
        return exact
    known = set(_plain_all(model_names))
    return [name for name in names if _plain_all([name])[0] not in known]


def _join(
    model_names: Sequence[str],
    real_names: Sequence[str],
    *,
    found: Sequence[int | None],
    how: Literal["exact", "spelling"],
) -> LabelMatch:
    """Put the known real classes first and the rest of the model's after them."""
    names: list[str] = []
    model_indices: list[int] = []
    real_indices: list[int | None] = []
    for name, index in zip(real_names, found, strict=True):
        real_indices.append(None if index is None else len(names))
        if index is not None:
            names.append(name)
            model_indices.append(index)
    num_real, taken = len(names), set(model_indices)
    rest = [index for index in range(len(model_names)) if index not in taken]
    return LabelMatch(
        names=names + [model_names[index] for index in rest],
        num_real=num_real,
        model_indices=model_indices + rest,
        real_indices=real_indices,
        how=how,
    )


def _look_up(wanted: Sequence[str], known: Sequence[str]) -> list[int | None]:
    places = {name: index for index, name in enumerate(known)}
    return [places.get(name) for name in wanted]


def _plain_all(names: Sequence[str]) -> list[str]:
    """Drop what spellings differ in: `AnnualCrop`, `annual_crop` and `Annual Crop` are one."""
    return [re.sub(r"[\s_-]+", "", name).casefold() for name in names]


def _unique(names: Sequence[str]) -> bool:
    return len(set(names)) == len(names)


def _mismatch(
    unknown: Sequence[str],
    model_names: Sequence[str],
    real_names: Sequence[str],
    *,
    model: str,
    real: str,
) -> str:
    """Say which names don't meet, and which were perhaps meant."""
    extra = [name for name in model_names if name not in set(real_names)]
    near = []
    for name in unknown:
        close = difflib.get_close_matches(name, extra, n=1)
        near += [f"{name!r} is perhaps the model's {close[0]!r}"] if close else []
    parts = [f"{model} doesn't know {_listed(unknown)} of {real}"]
    parts.append(
        f"only the model has {_listed(extra)}" if extra else "the model has no other class"
    )
    parts += near[:_SHOWN]
    parts.append("rename classes so that they meet, or leave those images out with --filter")
    return "; ".join(parts)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
