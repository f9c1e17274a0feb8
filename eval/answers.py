"""Answers about photos as a table, JSON or CSV."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.classifier import Answer
from factory.common.console import table
from factory.common.errors import Fault
from factory.common.whole_files import replace_file

NONE = "none of these"
_ORDINALS = ("label", "2nd", "3rd")


def is_rejected(answer: Answer, threshold: float | None) -> bool:
    """Whether the probability of the most likely class is below the threshold, if there is one."""
    return threshold is not None and answer.confidence < threshold


def answer_of(answer: Answer, threshold: float | None) -> str:
    """Return the most likely class, or `NONE` if the answer is rejected."""
    return NONE if is_rejected(answer, threshold) else answer.classes[0][0]


def to_table(answers: Sequence[Answer], threshold: float | None) -> str:
    """Return a text table: path, the answer if there is a threshold, classes with probabilities."""
    has_threshold = threshold is not None
    most = len(answers[0].classes)
    titles = [
        cell
        for place in range(most)
        for cell in (_ORDINALS[place] if place < len(_ORDINALS) else f"{place + 1}th", "%")
    ]
    rows = [
        [
            answer.photo.name,
            *([answer_of(answer, threshold)] if has_threshold else []),
            *(cell for name, score in answer.classes for cell in (name, f"{100 * score:.1f}")),
        ]
        for answer in answers
    ]
    before = ["image", "answer"] if has_threshold else ["image"]
    return table(rows, header=[*before, *titles], align="l" * len(before) + "lr" * most)


def to_json(answers: Sequence[Answer], threshold: float | None) -> list[dict[str, Any]]:
    """Return the answers as objects for JSON."""
    return [
        {
            "path": answer.photo.name,
            "answer": answer_of(answer, threshold),
            "predictions": [{"label": name, "score": score} for name, score in answer.classes],
        }
        for answer in answers
    ]


def write_csv(
    answers: Sequence[Answer], path: Path, threshold: float | None, *, skipped: Sequence[Fault] = ()
) -> None:
    """Write a CSV file atomically: path, answer, pairs of class and probability, then the fault.

    Args:
        answers: A row each.
        path: The file.
        threshold: See `answer_of`.
        skipped: Images and paths without an answer: further rows with path and reason only.
    """
    most = len(answers[0].classes)
    pairs = [f"{name}_{place}" for place in range(1, most + 1) for name in ("label", "probability")]

    def write(temporary: Path) -> None:
        # Paths stay the bytes that they are on the disk.
        with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(["path", "answer", *pairs, "skipped"])
            for answer in answers:
                cells = [cell for pair in answer.classes for cell in pair]
                rest = map(_no_formula, [answer_of(answer, threshold), *cells])
                lines.writerow([_no_formula(answer.photo.name, "./"), *rest, ""])
            for fault in skipped:
                place, reason = _no_formula(fault.file, "./"), _no_formula(fault.message)
                lines.writerow([place, *[""] * (1 + len(pairs)), reason])

    replace_file(path, write)


def _no_formula(cell: Any, mark: str = "'") -> Any:
    """Put a mark before a text that spreadsheets would compute; classes have any name."""
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"{mark}{cell}"
    return cell
