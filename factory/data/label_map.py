"""Label maps: files that map labels of a real dataset to a model's classes."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from factory.common.errors import Fault, UserError
from factory.common.text import some
from factory.common.untrusted_files import MAX_YAML_BYTES, read_text
from factory.common.yaml_reader import parse
from factory.data.class_names import SPELLING, plain

WRITE_A_MAP = "write a label map (--suggest-labels FILE writes one) and pass it with --labels FILE"
OPEN = "?"
"""Placeholder in a suggested map for a class that the user fills in."""
_COLUMNS = ["real", "model"]
_SHOWN = 8
_SHORTEST_PART = 3
_MOST_COMPARED = 120
_MOST_LINES = 120
_MOST_COMPARISONS = 200_000
_PLURALS = (("ies", "y"), ("es", ""), ("s", ""))


@dataclass(frozen=True)
class LabelMap:
    """Real label -> model class; several labels may map to one class."""

    pairs: Mapping[str, str]
    source: str

    def translated(self, names: Sequence[str]) -> list[str]:
        """Return real labels translated to the model's; labels missing in the map stay."""
        return [self.pairs.get(name, name) for name in names]

    def check(
        self, real_names: Sequence[str], model_names: Sequence[str], *, real: str, model: str
    ) -> None:
        """Check both sides of the map.

        Raises:
            UserError: A real label or class does not exist; all faults at once.
        """
        labels, classes = set(real_names), set(model_names)
        faults: list[Fault] = []

        def add(problem: str, key: str, name: str, known: Sequence[str]) -> None:
            hint = f"; {_hint(name, known)}" if len(faults) < _most_compared(known) else ""
            faults.append(Fault(f"{problem} {name!r}{hint}", file=self.source, key=key))

        for label, name in self.pairs.items():
            if label not in labels:
                add(f"{real} has no label", label, label, real_names)
            if name not in classes:
                add(f"{model} has no class", label, name, model_names)
        if faults:
            raise UserError(faults)


class UnmatchedLabelsError(UserError):
    """Labels of images that a model or another dataset lacks.

    Attributes:
        suggested: A complete label map to start from: the given one, and a line for each label.
        labels: These labels.
    """

    def __init__(
        self,
        problem: str,
        lines: Mapping[str, str],
        *,
        given: LabelMap | None = None,
        remedy: str = WRITE_A_MAP,
        otherwise: str,
    ) -> None:
        """Put the message together."""
        remedy = f"add them to {given.source}" if given else remedy
        super().__init__(
            f"{problem}; {remedy}, or {otherwise}. Suggested lines for the map (most similar "
            f"names; check each):\n{map_lines(lines, most=_MOST_LINES).rstrip()}"
        )
        self.suggested = {**(given.pairs if given else {}), **lines}
        self.labels = tuple(lines)
        self._parts = problem, lines, otherwise

    def advising(self, remedy: str) -> UnmatchedLabelsError:
        """Return this error with another remedy."""
        problem, lines, otherwise = self._parts
        other = UnmatchedLabelsError(problem, lines, remedy=remedy, otherwise=otherwise)
        other.suggested = self.suggested
        return other


def read_labels(path: Path) -> LabelMap:
    """Read a map: a YAML mapping, or CSV with the columns `real` and `model`.

    Raises:
        UserError: The file is missing, not text, or not a label map.
    """
    text = read_text(path, max_bytes=MAX_YAML_BYTES, shown=f"--labels {path}")
    if not text.strip():
        raise UserError(Fault(f"is empty; {_FORM}", file=str(path)))
    is_csv = path.suffix.lower() == ".csv"
    pairs = _from_csv(text, str(path)) if is_csv else _from_yaml(text, str(path))
    left_open = [label for label, name in pairs.items() if name == OPEN]
    if left_open:
        problem = f"is still {OPEN!r}; fill in a class, or remove the line"
        raise UserError(Fault(problem, file=str(path), key=label) for label in left_open)
    return LabelMap(pairs, str(path))


_FORM = "write lines `real label: model class`, or CSV with the header `real,model`"


def _from_yaml(text: str, file: str) -> dict[str, str]:
    root = parse(text, file=file)
    if not isinstance(root.value, dict):
        raise UserError(root.place.fault(f"is not a mapping; {_FORM}"))
    pairs, faults = {}, []
    for label, node in root.value.items():
        # Classes may look like numbers (`1`) or booleans (`on`): use the typed text.
        name = node.value if isinstance(node.value, str) else node.raw
        if not name:
            faults.append(node.place.fault("expected the name of one class", key=label))
        pairs[label] = name or ""
    if faults:
        raise UserError(faults)
    return pairs


def _from_csv(text: str, file: str) -> dict[str, str]:
    lines = csv.reader(text.splitlines(), skipinitialspace=True)
    header = [cell.strip() for cell in next(lines)]
    if header != _COLUMNS:
        raise UserError(Fault(f"has the header {','.join(header)!r}; {_FORM}", file=file, line=1))
    pairs: dict[str, str] = {}
    faults = []
    for cells in filter(None, lines):
        row = [cell.strip() for cell in cells]
        if len(row) != len(_COLUMNS) or not all(row):
            problem = "expected a label and a class; quote names with commas"
            faults.append(Fault(problem, file=file, line=lines.line_num))
        elif row[0] in pairs:
            faults.append(Fault(f"{row[0]!r} occurs twice", file=file, line=lines.line_num))
        else:
            pairs[row[0]] = row[1]
    if faults:
        raise UserError(faults)
    return pairs


@lru_cache(maxsize=100_000)
def _synonyms(name: str) -> frozenset[str]:
    """Return the spellings of a name and of its synonyms, which ImageNet separates by commas."""
    return frozenset(map(plain, [name, *name.split(",")])) - {""}


@lru_cache(maxsize=100_000)
def _singulars(name: str) -> frozenset[str]:
    """Return the same, and what they are without the endings of English plurals."""
    forms = _synonyms(name)
    return forms | {
        one.removesuffix(end) + start
        for one in forms
        for end, start in _PLURALS
        if one.endswith(end) and len(one) > _SHORTEST_PART
    }


class _Known:
    """Known names by what they have in common with others, so that none is compared with all.

    Attributes:
        left: Names that may still be found, in order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.left = dict.fromkeys(names)
        self._by_words = {_words(one): one for one in names}
        self._by_forms: list[dict[str, list[str]]] = []
        for forms in _FORMS:
            owners: dict[str, list[str]] = {}
            for one in self.left:
                for form in forms(one):
                    owners.setdefault(form, []).append(one)
            self._by_forms.append(owners)

    def same(self, name: str) -> str | None:
        """Return the only name left that has a synonym, or a singular, in common with a name."""
        for forms, owners in zip(_FORMS, self._by_forms, strict=True):
            found: set[str] = set()
            for form in forms(name):
                found.update(one for one in owners.get(form, ()) if one in self.left)
            if len(found) == 1:
                return found.pop()
        return None

    def ending(self, name: str) -> str | None:
        """Return the longest name, used or not, whose words are the last ones of a longer name."""
        words = _words(name)
        ends = (words[start:] for start in range(1, len(words)))
        return next((self._by_words[end] for end in ends if end in self._by_words), None)

    def nearest(self, name: str) -> str | None:
        """Return `nearest` of the names left."""
        return self.same(name) or _similar(name, self.left)


_FORMS = (_synonyms, _singulars)


@lru_cache(maxsize=100_000)
def _words(name: str) -> tuple[str, ...]:
    return tuple(filter(None, map(plain, SPELLING.split(name))))


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that most likely is the same, or None.

    It has the same spelling, synonym or singular, or a similar spelling. Part of a name matches if
    only one name contains it: `Sea` matches `Sea or Lake`.
    """
    return _Known(known).nearest(name)


def _similar(name: str, known: Iterable[str]) -> str | None:
    """Return the known name of the most similar spelling, or the only one that contains a name."""
    wanted = plain(name)
    by_spelling = {plain(one): one for one in known}
    found = difflib.get_close_matches(wanted, by_spelling, n=1)
    if not found and len(wanted) >= _SHORTEST_PART:
        parts = [one for one in by_spelling if wanted in one]
        found = parts if len(parts) == 1 else []
    return by_spelling[found[0]] if found else None


def suggested_map(labels: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """Return a map to start from: each label with the most similar class, or `OPEN`.

    A class is suggested once, except for labels that end in its name (`honey bee`: `bee`).
    """
    known, found = _Known(classes), dict.fromkeys(labels, OPEN)
    # Step by step for all labels: a similar spelling must not take the class of a synonym.
    for find in (known.same, known.ending, known.nearest):
        still = [label for label in labels if found[label] == OPEN]
        if find == known.nearest:
            still = still[: _most_compared(classes)]
        for label in still:
            name = find(label)
            found[label] = name or OPEN
            known.left.pop(name or "", None)
    return found


def _most_compared(known: Sequence[str]) -> int:
    """Return how many names may be compared with each known one, which takes long."""
    return min(_MOST_COMPARED, _MOST_COMPARISONS // max(1, len(known)))


def map_lines(pairs: Mapping[str, str], *, most: int | None = None) -> str:
    """Return a map as YAML, a line per label; a comment counts those after the first `most`."""
    shown = dict(list(pairs.items())[:most])
    text: str = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=2**16)
    more = len(pairs) - len(shown)
    return text + (f"# and {more} more labels\n" if more else "")


def listed(names: Sequence[str]) -> str:
    """Return the first few names, quoted."""
    return some([repr(name) for name in names], _SHOWN)


def _hint(name: str, known: Sequence[str]) -> str:
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else f"it has {listed(known)}"
