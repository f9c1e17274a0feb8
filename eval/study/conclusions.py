"""Fill the texts of a study with values from its results.

Texts are Jinja templates with four functions. `score("cifar10", "base-class")`,
`diff("cifar10", "random-guidance", "base-class")` and `p("cifar10", "random-guidance",
"base-class")` give a value for each model, in order, or for the one in `model=`.
`gap("cifar10", "base-class")` gives the values of the gap.
"""

from __future__ import annotations

from collections.abc import Sequence

from eval.study.plan import REFERENCE
from eval.study.result_fields import Compared, Results, Row
from eval.study.spec import StudySpec
from eval.study.statistics import Estimate
from factory.common.errors import UserError


def filled_in(text: str, results: Results) -> str:
    """Return a text with its values filled in.

    Raises:
        UserError: It is not a valid template, or uses a dataset, row or comparison that the study
            does not have.
    """
    return _rendered(text, _Figures(results))


def check_texts(spec: StudySpec) -> None:
    """Check before a study runs that its texts use only values it will have.

    Raises:
        UserError: As `filled_in`.
    """
    for text in (spec.limits, *(one.note for one in spec.sets.values())):
        _rendered(text, _Names(spec))


def only(spec: StudySpec, names: Sequence[str]) -> StudySpec:
    """Return a study of some of its datasets; texts that give values of others are left out.

    Raises:
        UserError: As `filled_in`.
    """
    check_texts(spec)
    chosen = spec.model_copy(update={"sets": {name: spec.sets[name] for name in names}})

    def kept(text: str) -> str:
        try:
            _rendered(text, _Names(chosen))
        except UserError:
            return (
                f"Run with `--only`: a text with values of other datasets than {listed} is omitted."
            )
        return text

    listed = ", ".join(names)
    sets = {
        name: one.model_copy(update={"note": kept(one.note)}) for name, one in chosen.sets.items()
    }
    return chosen.model_copy(update={"limits": kept(spec.limits), "sets": sets})


def _rendered(text: str, functions: _Figures | _Names) -> str:
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    try:
        template = environment.from_string(text.strip())
        return template.render(
            {name: getattr(functions, name) for name in ("score", "diff", "p", "gap")}
        )
    except (jinja2.TemplateError, KeyError) as error:
        text = text.strip()[:60]
        raise UserError(f"text of the study: {error.args[0]}; correct it: {text!r}") from None


def interval(estimate: Estimate) -> str:
    """Return a difference with its interval: `+2.63 [+1.77, +3.49]`."""
    return f"{estimate.value:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"


def p_value(p: float | None) -> str:
    """Return an adjusted p-value: `0.013`, `< 0.001`; empty without a test."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


class _Figures:
    """The functions that a study's texts may call."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def score(self, name: str, row: str, model: str | None = None) -> str:
        """Return the mean score of a row for each model, `30.12 and 28.50`."""
        cells = self._row(name, row).cells
        return _joined([f"{cells[one].mean:.2f}" for one in self._models(model)])

    def diff(self, name: str, row: str, to: str, model: str | None = None) -> str:
        """Return a difference with its interval for each model."""
        found = [self._compared(name, row, to, one) for one in self._models(model)]
        return _joined([interval(one.estimate) for one in found])

    def p(self, name: str, row: str, to: str, model: str | None = None) -> str:
        """Return Holm's p-value for each model, `p = 0.013 and p < 0.001`."""
        found = [self._compared(name, row, to, one).adjusted_p for one in self._models(model)]
        texts = ["not tested" if one is None else f"p = {p_value(one)}" for one in found]
        return _joined([text.replace("= <", "<") for text in texts])

    def gap(self, name: str, row: str) -> str:
        """Return accuracy and spread of a row's gap, `0.80 and 0.47`."""
        gap = self._row(name, row).gap
        if gap is None:
            raise KeyError(f"{name} has no gap for {row}")
        return _joined([f"{gap.two_sample[0]:.2f}", f"{gap.spread[0] or 0:.2f}"])

    def _models(self, model: str | None) -> list[str]:
        return [model] if model else self._results.models

    def _row(self, name: str, row: str) -> Row:
        for one in self._results.sets[name].rows:
            if one.name == row:
                return one
        raise KeyError(f"{name} has no row {row}")

    def _compared(self, name: str, row: str, to: str, model: str) -> Compared:
        for one in self._results.sets[name].comparisons:
            if (one.row, one.to, one.model) == (row, to, model):
                return one
        raise KeyError(f"{name} does not compare {row} with {to}")


class _Names:
    """The same functions for a study that was not run: they only check their arguments."""

    def __init__(self, spec: StudySpec) -> None:
        self._spec = spec

    def score(self, name: str, row: str, model: str | None = None) -> str:
        """Check that the study has the row."""
        one = self._spec.sets.get(name)
        if one is None or row not in (*one.rows, *([REFERENCE] if one.reference else ())):
            raise KeyError(f"{name} has no row {row}")
        if model not in (None, *self._spec.models):
            raise KeyError(f"the study does not train {model}")
        return ""

    def diff(self, name: str, row: str, to: str, model: str | None = None) -> str:
        """Check that the study compares the rows."""
        self.score(name, row, model)
        pairs = [(one.row, one.to) for one in self._spec.sets[name].all_comparisons()]
        if (row, to) not in pairs:
            raise KeyError(f"{name} does not compare {row} with {to}")
        return ""

    def p(self, name: str, row: str, to: str, model: str | None = None) -> str:
        """Check that the study compares the rows."""
        return self.diff(name, row, to, model)

    def gap(self, name: str, row: str) -> str:
        """Check that the study measures the row's gap."""
        return self.score(name, row)


def _joined(texts: list[str]) -> str:
    return " and ".join(texts)
