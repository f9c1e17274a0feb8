"""Tables and sentences about the results of a study, for pages and recipes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "eurosat": "EuroSAT"}
_TRICKS = {
    "anti-aliased": "anti-aliased",
    "class-prompt": "class prompt",
    "multi-domain": "multi-domain",
    "random-guidance": "random guidance",
    "all-combined": "all combined (four times the images and training steps)",
}
_BASE = "base-class"
_LEVEL = 0.05
_EFFECT = re.compile(r"<!-- effect: (.*?) -->")
_NOT_MEASURED = "*Not measured.*"
_MODULE = '''"""Measured effects of guidance: from docs/study.json, written by `make figures`."""

LOW_ON_CIFAR10 = "{low_cifar10}"
LOW_AGAINST_3 = "{low_against_3}"
LOW_ON_EUROSAT = "{low_eurosat}"
RANDOM_ON_EUROSAT = "{random_eurosat}"
'''

Study = dict[str, Any]
Compared = dict[str, Any]


def compared(one: dict[str, Any], row: str, base: str = _BASE) -> dict[str, Compared]:
    """Return a dataset's comparison of two rows for each model that has it."""
    return {
        found["model"]: found
        for found in one["comparisons"]
        if (found["row"], found["to"]) == (row, base)
    }


def effect(study: Study, pair: str) -> str:
    """Return the table of a difference `ROW against BASE`: datasets by models."""
    row, base = pair.split(" against ")
    models = study["models"]
    lines = []
    for name, one in study["sets"].items():
        found = compared(one, row, base)
        if found:
            cells = [_cell(found[model]) if model in found else "" for model in models]
            paper = next(iter(found.values()))["paper"]
            cells.append("" if paper is None else f"{paper:+.2f}")
            lines.append(f"| {_NAMES.get(name, name)} | {' | '.join(cells)} |")
    if not lines:
        return _NOT_MEASURED
    return "\n".join([*_head("points", models), *lines])


def score(study: Study, name: str) -> str:
    """Return the scores of `SET/ROW` as a sentence."""
    dataset, row = name.split("/")
    rows = study["sets"].get(dataset, {"rows": []})["rows"]
    cells = next((one["cells"] for one in rows if one["name"] == row), {})
    if not cells:
        return "Score: not scored."
    shown = ", ".join(f"{cell['mean']:.2f} % (`{model}`)" for model, cell in cells.items())
    return f"Top-1 on real images, mean of all runs: {shown}."


def overview(study: Study, page: str) -> str:
    """Return the table of all tricks of a page: their first effect on the first dataset."""
    models = study["models"]
    first = next(iter(study["sets"].values()))
    lines = [
        f"| trick | when | {' | '.join(f'`{model}`' for model in models)} |",
        f"|---|---|{'---:|' * len(models)}",
    ]
    for section in page.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        when = re.search(r"^\*\*When:\*\* (.*?)\n\n", body, re.MULTILINE | re.DOTALL)
        if when is None:
            continue
        mark = _EFFECT.search(body)
        found = compared(first, *mark[1].split(" against ")) if mark else {}
        # A section without a mark may have figures of its own.
        unknown = "not measured" if mark or _NOT_MEASURED in body else "see there"
        cells = [_cell(found[one]) if one in found else unknown for one in models]
        link = f"[{title}](#{re.sub(r'[^a-z0-9 -]', '', title.lower()).replace(' ', '-')})"
        text = " ".join(when[1].split())
        lines.append(f"| {link} | {text[0].upper()}{text[1:]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tricks(study: Study, name: str) -> str:
    """Return the table of the paper's tricks on a dataset, and sentences about it."""
    one, models = study["sets"][name], study["models"]
    found = {row: compared(one, row) for row in _TRICKS}
    lines = [
        f"| {_TRICKS[row]} | {' | '.join(_cell(pairs[model]) for model in models)} "
        f"| {pairs[models[0]]['paper']:+.2f} |"
        for row, pairs in found.items()
    ]
    base = one["rows"][0]
    means = " and ".join(f"{base['cells'][model]['mean']:.2f}" for model in models)
    inside = _where(found, _contains_paper)
    below = _where(found, lambda pair: pair["estimate"]["high"] < pair["paper"])
    return "\n".join(
        [
            *(_settings(one, name), "", *_head("", models), *lines, ""),
            f"- `{_BASE}` reaches {means} % (chance: 10 %; paper: {base['paper']:g} %).",
            "- **Bold** differences are significant after correction for multiple comparisons.",
            f"- Intervals that contain the paper's figure: {inside}; below it: {below}.",
        ]
    )


def module(study: Study) -> str:
    """Return the Python module with the effects that `data-factory new` quotes."""
    return _MODULE.format(
        low_cifar10=_quoted(study, "cifar10", "low-guidance", " points on CIFAR-10"),
        low_against_3=_quoted(study, "cifar10", "low-guidance", base="constant-guidance"),
        low_eurosat=_quoted(study, "eurosat", "low-guidance", " points on EuroSAT"),
        random_eurosat=_quoted(study, "eurosat", "random-guidance"),
    )


def _quoted(study: Study, name: str, row: str, unit: str = "", base: str = _BASE) -> str:
    pairs = compared(study["sets"][name], row, base)
    values = " and ".join(f"{pairs[one]['estimate']['value']:+.1f}" for one in study["models"])
    significant = [model for model in study["models"] if _is_significant(pairs[model])]
    if len(significant) == len(pairs):
        return f"{values}{unit}"
    verdict = f"significant with {significant[0]} only" if significant else "not significant"
    return f"{values}{unit}, {verdict}"


def _settings(one: dict[str, Any], name: str) -> str:
    settings = one["rows"][0]["settings"]
    per_class = one["rows"][0]["images"] // len(settings["labels"])
    (steps,) = json.loads(settings["settings"]["num_inference_steps"][0])
    return (
        f"Top-1 accuracy on {one['real_images']:,} real {_NAMES[name]} images, {per_class} "
        f"generated images per class, {steps} steps:"
    )


def _head(corner: str, models: list[str]) -> list[str]:
    heads = " | ".join([corner, *(f"`{model}`" for model in models), "paper"])
    return [f"| {heads} |", f"|---|{'---:|' * (len(models) + 1)}"]


def _cell(pair: Compared) -> str:
    value, low, high = (pair["estimate"][key] for key in ("value", "low", "high"))
    # A no-break space keeps an interval on one line.
    text = f"{value:+.2f} [{low:+.2f},\u00a0{high:+.2f}]"
    return f"**{text}**" if _is_significant(pair) else text


def _is_significant(pair: Compared) -> bool:
    return bool(pair["adjusted_p"] < _LEVEL)


def _contains_paper(pair: Compared) -> bool:
    return bool(pair["estimate"]["low"] <= pair["paper"] <= pair["estimate"]["high"])


def _where(found: dict[str, dict[str, Compared]], holds: Callable[[Compared], bool]) -> str:
    """Return the rows for which something holds, with the model if not for all."""
    names = []
    for row, pairs in found.items():
        own = [model for model, pair in pairs.items() if holds(pair)]
        only = "" if len(own) == len(pairs) else f" (`{own[0]}` only)" if own else None
        names += [] if only is None else [f"{_TRICKS[row].partition(' (')[0]}{only}"]
    return ", ".join(names) or "none"
