"""Write the study's figures into README.md and `factory/recipe/measured.py`.

Run it with `make figures` after a study; a test fails if they differ from `docs/study.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from factory.common.console import write
from factory.common.entry import run_main

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"(<!-- study -->\n).*?(\n<!-- end -->)", re.DOTALL)
_ROWS = {
    "anti-aliased": "anti-aliased",
    "class-prompt": "class prompt",
    "multi-domain": "multi-domain",
    "random-guidance": "random guidance",
    "all-combined": "all combined (four times the images and training steps)",
}
_BASE = "base-class"
_LEVEL = 0.05
_SET = "cifar10"
_MODULE = '''"""Measured effects of guidance: from docs/study.json, written by `make figures`."""

LOW_ON_CIFAR10 = "{low_cifar10}"
LOW_AGAINST_3 = "{low_against_3}"
LOW_ON_EUROSAT = "{low_eurosat}"
RANDOM_ON_EUROSAT = "{random_eurosat}"
'''

Study = dict[str, Any]
Compared = dict[str, Any]


def current() -> dict[Path, str]:
    """Return the text that each file should have."""
    study = json.loads((ROOT / "docs/study.json").read_text(encoding="utf-8"))
    readme = ROOT / "README.md"
    text = _BLOCK.sub(rf"\g<1>{readme_block(study)}\g<2>", readme.read_text(encoding="utf-8"))
    return {readme: text, ROOT / "factory/recipe/measured.py": module(study)}


def readme_block(study: Study) -> str:
    """Return the table of the paper's tricks on CIFAR-10, and sentences about it."""
    one, models = study["sets"][_SET], study["models"]
    found = {row: compared(study, _SET, row) for row in _ROWS}
    lines = [
        f"| | {' | '.join(f'`{model}`' for model in models)} | paper |",
        f"|---|{'---:|' * (len(models) + 1)}",
    ]
    for row, name in _ROWS.items():
        cells = [_interval(pair) for pair in found[row]]
        lines.append(f"| {name} | {' | '.join(cells)} | {found[row][0]['paper']:+.2f} |")
    base = one["rows"][0]["cells"]
    means = " and ".join(f"{base[model]['mean']:.2f}" for model in models)
    significant = _where(found, models, lambda pair: pair["adjusted_p"] < _LEVEL)
    inside = _where(found, models, _contains_paper)
    below = _where(found, models, lambda pair: pair["estimate"]["high"] < pair["paper"])
    sentences = [
        f"- `{_BASE}` reaches {means} % (chance: 10 %; paper: {one['rows'][0]['paper']:g} %).",
        f"- Significant after correction for multiple comparisons: {significant}.",
        f"- Intervals that contain the paper's figure: {inside}; below it: {below}.",
    ]
    return "\n".join([_settings(one), "", *lines, "", *sentences])


def _settings(one: dict[str, Any]) -> str:
    settings = one["rows"][0]["settings"]
    per_class = one["rows"][0]["images"] // len(settings["labels"])
    (steps,) = json.loads(settings["settings"]["num_inference_steps"][0])
    return (
        f"Top-1 accuracy on {one['real_images']:,} real CIFAR-10 images, {per_class} generated "
        f"images per class, {steps} steps:"
    )


def module(study: Study) -> str:
    """Return the Python module with the effects that `data-factory new` quotes."""
    return _MODULE.format(
        low_cifar10=_effect(study, "cifar10", "low-guidance", " points on CIFAR-10"),
        low_against_3=_effect(study, "cifar10", "low-guidance", to="constant-guidance"),
        low_eurosat=_effect(study, "eurosat", "low-guidance", " points on EuroSAT"),
        random_eurosat=_effect(study, "eurosat", "random-guidance"),
    )


def compared(study: Study, name: str, row: str, to: str = _BASE) -> list[Compared]:
    """Return a row's comparison with another for each model."""
    pairs = {
        one["model"]: one
        for one in study["sets"][name]["comparisons"]
        if (one["row"], one["to"]) == (row, to)
    }
    return [pairs[model] for model in study["models"]]


def _effect(study: Study, name: str, row: str, unit: str = "", to: str = _BASE) -> str:
    pairs = compared(study, name, row, to)
    values = " and ".join(f"{pair['estimate']['value']:+.1f}" for pair in pairs)
    significant = [pair["model"] for pair in pairs if pair["adjusted_p"] < _LEVEL]
    if len(significant) == len(pairs):
        return f"{values}{unit}"
    verdict = f"significant with {significant[0]} only" if significant else "not significant"
    return f"{values}{unit}, {verdict}"


def _interval(pair: Compared) -> str:
    value, low, high = (pair["estimate"][key] for key in ("value", "low", "high"))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _contains_paper(pair: Compared) -> bool:
    return bool(pair["estimate"]["low"] <= pair["paper"] <= pair["estimate"]["high"])


def _where(
    found: dict[str, list[Compared]], models: list[str], holds: Callable[[Compared], bool]
) -> str:
    """Return the rows for which something holds, with the model if not for all."""
    names = []
    for row, pairs in found.items():
        own = [model for model, pair in zip(models, pairs, strict=True) if holds(pair)]
        name = _ROWS[row].partition(" (")[0]
        only = "" if len(own) == len(models) else f" (`{own[0]}` only)" if own else None
        names += [] if only is None else [f"{name}{only}"]
    return ", ".join(names) or "none"


def main() -> None:
    """Write the files."""
    for path, text in current().items():
        path.write_text(text, encoding="utf-8")
        write(str(path.relative_to(ROOT)))


if __name__ == "__main__":
    run_main(main)
