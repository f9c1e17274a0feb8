"""Write docs/performance.md from the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .goals import GOALS
from .results import Results
from .sections import SECTIONS, Section
from .timing import Figure, Spread

NOT_MEASURED = "not measured"
MILLION_OF = "Stable Diffusion 1.4, 512 px: build"
"""The figure that the cost of a million images is computed from."""
_IMAGES = 1_000_000
_GPUS = (1, 64)

_HEAD = """\
# Performance

Measured by `make bench` and, on a machine with a CUDA device, `make bench-gpu`. Each line compares
this project with an alternative. Both were measured in turn in the same run, in fresh processes
where start-up counts. A cell has the median of n measurements (their mean if n is 2) and, in
brackets, the lowest and highest. The ratio is this project's figure divided by the alternative's,
pair by pair: above 1 is better for rates (images/s), below 1 for times and memory. Compare ratios:
the figures depend on the machine, and with n = 2 or under load a small difference means little.
Sections may come from different machines and states of the code; each names its own.

## Goals

Those set for this project before measuring, and medians. *Load* is the average number of processes
in the minute before a section, those of the section before it included. Where other work went on,
it slowed the measurements down, and a goal may be missed only because of that.

| section | measured | goal | figure | result | load |
|---|---|---|---|---|---|
"""
_LOAD = "load before"
_WHERE = {
    "bench": "Run `make bench` on a quiet machine.",
    "bench-gpu": "No CUDA device was available; run `make bench-gpu` on a machine with one.",
}
_COLUMNS = "| measured | unit | n | data-factory | alternative | its figure | ratio | note |"
_RULE = "|---|---|---:|---:|---|---:|---:|---|"


def text(results: Results) -> str:
    """Return the page; sections without results are marked as not measured."""
    versions = _usual_versions(results)
    parts = [f"{_HEAD}{''.join(_goals(results))}"]
    for name, section in SECTIONS.items():
        parts.append("\n".join(_section(section, results.get(name), versions)))
    parts.append("\n".join(_million(results.get("gpu"))))
    if versions:
        parts.append(f"Versions, unless a section names others: {versions}.\n")
    return "\n".join(parts)


def _usual_versions(results: Results) -> str:
    """Return the versions of most sections."""
    found = Counter(_named(one["versions"]) for one in results.values())
    return found.most_common(1)[0][0] if found else ""


def _named(facts: Mapping[str, str], between: str = " ") -> str:
    return ", ".join(f"{name}{between}{value}" for name, value in facts.items())


def _goals(results: Results) -> Iterator[str]:
    """Yield the lines of the table of goals."""
    for name, section in SECTIONS.items():
        found = results.get(name, {})
        is_full = found.get("status") == "measured" and found["scale"] == "full"
        figures = [Figure.of_dict(one) for one in found["figures"]] if is_full else []
        load = found["machine"].get(_LOAD, "not recorded") if is_full else ""
        for goal in GOALS.get(name, ()):
            cells = (f"[{name}](#{_anchor(section.title)})", *goal.row(figures), load)
            yield f"| {' | '.join(cells)} |\n"


def _anchor(title: str) -> str:
    return title.lower().replace(",", "").replace(" ", "-")


def _section(section: Section, found: Mapping[str, Any] | None, versions: str) -> Iterator[str]:
    yield f"## {section.title}\n"
    yield f"{section.about}\n"
    if found is None:
        yield f"{NOT_MEASURED.capitalize()}. {_WHERE[section.target]}\n"
    else:
        yield from _results(found, versions)
    if section.tried:
        yield "Tried, and not used:\n"
        yield from (f"- {one[0].upper()}{one[1:]}." for one in section.tried)
        yield ""


def _results(found: Mapping[str, Any], versions: str) -> Iterator[str]:
    if found["status"] == "failed":
        yield f"Failed: {found['reason']}\n"
    else:
        yield from _table([Figure.of_dict(one) for one in found["figures"]])
    if found["scale"] != "full":
        yield f"\n**A {found['scale']} run with small counts: the figures mean nothing.**"
    yield f"\n{_origin(found, versions)}\n"


def _table(figures: Sequence[Figure]) -> Iterator[str]:
    yield _COLUMNS
    yield _RULE
    for one in figures:
        cells = (
            one.what,
            one.unit,
            str(one.ours.count),
            _spread(one.ours),
            f"limit: {one.other}" if one.is_limit else one.other,
            _spread(one.others),
        )
        yield f"| {' | '.join((*cells, _spread(one.ratio), one.note))} |"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.count == 1:
        return _number(spread.median)
    return f"{_number(spread.median)} [{_number(spread.low)}, {_number(spread.high)}]"


def _number(value: float) -> str:
    """Return three significant digits, without exponents."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _origin(found: Mapping[str, Any], versions: str) -> str:
    """Return command, date, time, commit and machine, and versions that are not the usual ones."""
    facts = {"commit": "not recorded", **found["machine"]}
    machine, used = _named(facts, ": "), _named(found["versions"])
    other = f" Versions: {used}." if used != versions else ""
    return f"`{found['command']}`, {found['date']}, {found['seconds']:.0f} s. {machine}.{other}"


def _million(found: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the cost of a million images, from measured images/s only."""
    yield "## The cost of a million 512 px images\n"
    yield (
        "Stable Diffusion 1.4, 40 DDIM steps with guidance, images/s of a build as above. Hours on "
        "several GPUs are the hours on one divided by their number, without the time for which "
        "they wait at the end (see above); only the speed of one GPU is measured.\n"
    )
    rate = _rate(found)
    name = found["machine"]["GPU"] if found and rate is not None else ""
    yield "| GPUs | hours | GPU hours |"
    yield "|---:|---:|---:|"
    for count in _GPUS:
        if rate is None:
            yield f"| {count} | {NOT_MEASURED} | {NOT_MEASURED} |"
        else:
            hours = _IMAGES / rate / 3600
            yield f"| {count} {name} | {_number(hours / count)} | {_number(hours)} |"
    yield ""


def _rate(found: Mapping[str, Any] | None) -> float | None:
    """Return the measured images/s of one GPU."""
    if found is None or found["status"] != "measured" or found["scale"] != "full":
        return None
    if "GPU" not in found["machine"]:
        return None
    rates = [one for one in found["figures"] if one["what"] == MILLION_OF]
    return rates[0]["ours"]["median"] if rates else None
