"""Label maps: files that map labels of a real dataset to a model's classes."""

import csv
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from factory.common.errors import Fault, UserError
from factory.common.outside import MAX_YAML_BYTES, read_text
from factory.common.text import some
from factory.common.yaml_reader import parse
from factory.data.class_names import SPELLING, plain

OPEN = "?"
"""Placeholder in a suggested map for a class that the user fills in."""
_COLUMNS = ["real", "model"]
_SHOWN = 8
_SHORTEST_PART = 3
_MOST_COMPARED = 120
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
        faults = []
        for label, name in self.pairs.items():
            if label not in real_names:
                problem = f"{real} has no label {label!r}; {_hint(label, real_names)}"
                faults.append(Fault(problem, file=self.source, key=label))
            if name not in model_names:
                problem = f"{model} has no class {name!r}; {_hint(name, model_names)}"
                faults.append(Fault(problem, file=self.source, key=label))
        if faults:
            raise UserError(faults)


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


def _same(name: str, known: Sequence[str]) -> str | None:
    """Return the only known name that has a synonym, or a singular, in common with a name."""
    for forms in (_synonyms, _singulars):
        found = [one for one in known if forms(name) & forms(one)]
        if len(found) == 1:
            return found[0]
    return None


def _ending(name: str, known: Sequence[str]) -> str | None:
    """Return the longest known name whose words are the last ones of a longer name."""
    words, by_words = _words(name), {_words(one): one for one in known}
    ends = (words[start:] for start in range(1, len(words)))
    return next((by_words[end] for end in ends if end in by_words), None)


@lru_cache(maxsize=100_000)
def _words(name: str) -> tuple[str, ...]:
    return tuple(filter(None, map(plain, SPELLING.split(name))))


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that most likely is the same, or None.

    It has the same spelling, synonym or singular, or a similar spelling. Part of a name matches if
    only one name contains it: `Sea` matches `Sea or Lake`.
    """
    same = _same(name, known)
    if same is not None:
        return same
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
    left, found = list(classes), dict.fromkeys(labels, OPEN)
    # Step by step for all labels: a similar spelling must not take the class of a synonym.
    for find, known in ((_same, left), (_ending, classes), (nearest, left)):
        still = [label for label in labels if found[label] == OPEN]
        # Comparing spellings takes long.
        for label in still[:_MOST_COMPARED] if find is nearest else still:
            name = find(label, known)
            found[label] = name or OPEN
            if name in left:
                left.remove(name)
    return found


def map_lines(pairs: Mapping[str, str], *, most: int | None = None) -> str:
    """Return a map as YAML, a line for each label.

    Args:
        pairs: The map.
        most: Number of labels to show; a comment counts the others.
    """
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
