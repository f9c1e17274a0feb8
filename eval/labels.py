"""Match a model's classes to a real dataset's by name, never by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from factory.common.errors import UserError
from factory.common.row_options import row_option
from factory.data.class_names import How, find_names
from factory.data.folder_level import refuse_level_above
from factory.data.label_map import (
    WRITE_A_MAP,
    LabelMap,
    UnmatchedLabelsError,
    listed,
    suggested_map,
)
from factory.data.row_filter import is_comparable

if TYPE_CHECKING:
    from eval.real import RealImages

_MOST_EXCLUDED = 3


@dataclass(frozen=True)
class LabelMatch:
    """Common class order: the real dataset's classes, then those only the model has.

    Attributes:
        names: Class names; the first `num_real` are the real dataset's, as it spells them. A
            class in the label map has the map's name.
        num_real: Number of classes of the real dataset.
        model_indices: For each name, its model output.
        real_indices: For each label id of the real dataset, its position in `names`; None for a
            class without images that is unknown to the model.
        how: `exact`; `spelling` if letter case, spaces, `_` or `-` had to be ignored; `synonym` if
            only the part before the first comma agrees; `map` with a label map.
        map: The label map, real label -> model class; None without one.
        merged: Groups of real labels that count as one class.
    """

    names: list[str]
    num_real: int
    model_indices: list[int]
    real_indices: list[int | None]
    how: How
    map: Mapping[str, str] | None
    merged: list[list[str]]


def match_real(
    model_names: Sequence[str],
    real: RealImages,
    *,
    model: str,
    labels: LabelMap | None = None,
    remedy: str = WRITE_A_MAP,
) -> LabelMatch:
    """Match the classes of opened real images to a model's. No image is decoded.

    Call it before anything expensive: it reports every mismatch that scoring would report.

    Arguments and errors are those of `match_labels`; for a folder named one level too high no label
    map is suggested (`factory.data.folder_level`). The names may also be those of the recipe whose
    images the model will be trained on.
    """
    try:
        return match_labels(
            model_names,
            real.opened.label_names,
            present=set(real.labels.tolist()),
            model=model,
            real=real.opened.reference,
            labels=labels,
            remedy=remedy,
            column=real.opened.label_column,
        )
    except UnmatchedLabelsError as error:
        refuse_level_above(real.opened, error.labels, model_names)
        raise


def match_labels(
    model_names: Sequence[str],
    real_names: Sequence[str],
    *,
    present: Collection[int],
    model: str,
    real: str,
    labels: LabelMap | None = None,
    remedy: str = WRITE_A_MAP,
    column: str | None = None,
) -> LabelMatch:
    """Match each real class to a model output.

    Args:
        model_names: Class names of the model, in the order of its outputs.
        real_names: Class names of the real dataset, in the order of its label ids.
        present: Label ids that have images; names of other classes need not match.
        model: Name of the model in messages.
        real: Name of the real dataset in messages.
        labels: Map applied to real labels first; labels not in it are matched as without a map.
        remedy: How to use a label map, for the message without one.
        column: The real dataset's column of labels, for the message.

    Raises:
        UnmatchedLabelsError: The model lacks a class that has images.
        UserError: Two classes of the model have the same name, or a label or class in the map does
            not exist.
    """
    twice = [name for name, count in Counter(model_names).items() if count > 1]
    if twice:
        raise UserError(
            f"{model}: label_names contains {listed(twice)} more than once; make names unique"
        )
    pairs = labels.pairs if labels else {}
    if labels:
        labels.check(real_names, model_names, real=real, model=model)
    found, how = find_names(real_names, model_names, present=present, pairs=pairs)
    unknown = [real_names[label] for label in sorted(present) if found[label] is None]
    if unknown:
        used = set(found)
        rest = [name for index, name in enumerate(model_names) if index not in used]
        matched = "every class of the model is matched"
        only = f"only the model has {listed(rest)}" if rest else matched
        leave_out = f"exclude those images with {row_option('filter')}"
        raise UnmatchedLabelsError(
            f"{model} has no class for {listed(unknown)} of {real}; {only}",
            suggested_map(unknown, rest),
            given=labels,
            remedy=remedy,
            otherwise=f"{leave_out}{_expression(unknown, column)}",
        )
    return _join(
        model_names,
        real_names,
        found,
        how="map" if labels else how,
        pairs=dict(pairs) if labels else None,
    )


def _expression(unknown: Sequence[str], column: str | None) -> str:
    """Return the value of a filter that excludes labels; none if it is long or hard to type."""
    excluded = f"!= {unknown[0]!r}" if len(unknown) == 1 else f"not in {tuple(unknown)}"
    # A shell replaces some characters, and quotes end the text.
    is_plain = column and is_comparable(column) and not set("".join(unknown)) & set("'\"$`\\!")
    return f' "{column} {excluded}"' if is_plain and len(unknown) <= _MOST_EXCLUDED else ""


def missing_names(model_names: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the names that a model lacks, with the spelling rules of `match_labels`."""
    found, _ = find_names(names, model_names, present=range(len(names)))
    return [name for name, place in zip(names, found, strict=True) if place is None]


def _join(
    model_names: Sequence[str],
    real_names: Sequence[str],
    found: Sequence[int | None],
    *,
    how: How,
    pairs: Mapping[str, str] | None,
) -> LabelMatch:
    """Return the class order: matched real classes first, then the model's other classes."""
    groups: dict[int, list[str]] = {}
    names: list[str] = []
    for name, index in zip(real_names, found, strict=True):
        if index is None:
            continue
        if index not in groups:
            names.append(model_names[index] if pairs and name in pairs else name)
        groups.setdefault(index, []).append(name)
    places = {index: place for place, index in enumerate(groups)}
    rest = [index for index in range(len(model_names)) if index not in groups]
    return LabelMatch(
        names=names + [model_names[index] for index in rest],
        num_real=len(names),
        model_indices=[*groups, *rest],
        real_indices=[None if index is None else places[index] for index in found],
        how=how,
        map=pairs,
        merged=[group for group in groups.values() if len(group) > 1],
    )
