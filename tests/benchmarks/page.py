"""Write docs/performance.md from the results."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from .figures import find, number, of_full_run
from .goals import GOALS, MISSED
from .results import Results
from .sections import SECTIONS, Section
from .summary import MILLION_OF, summary
from .tables import table, tables
from .timing import Figure

NOT_MEASURED = "not measured"
_IMAGES = 1_000_000
_GPUS = (1, 64)

_HEAD = """\
# Performance

Speed and memory of this project against the usual ways to do the same. These are medians of n
measurements, or their mean if n is 2:

"""
_GOALS = """
`make bench` measures everything but the GPU sections; `make bench-gpu` measures those on a machine
with a CUDA device.

## Goals

They were set before measuring and are compared with medians; those missed are first. Other work on
the machine slows a measurement down; a goal can be missed for this reason alone. A section shows
the load before it below its tables.

"""
_HOW = """
## How to read the tables

- This project and its alternative are measured in turn in the same run, in fresh processes where
  the start counts.
- A cell has the median of n measurements (the mean if n is 2) and, in brackets, the lowest and
  highest.
- *Ratio* is this project's figure divided by the alternative's, pair by pair. Above 1 is better for
  rates (images/s), below 1 for times and memory.
- *Limit* marks an alternative that does only what cannot be left out.
- Compare ratios: figures depend on the machine. With n = 2 or under load, a small difference means
  little.
- The line below a section's tables names its machine and commit. They may differ between sections.
  *Load before* is the average number of processes in the minute before, including those of the
  section measured before it.
"""
_WHERE = {
    "bench": "Run `make bench` on a quiet machine.",
    "bench-gpu": "No CUDA device was available; run `make bench-gpu` on a machine with one.",
}
# Lowest and highest, and the number of measurements, stay on one line.
_UNBROKEN = re.compile(r"\[-?[\d.,]+, -?[\d.,]+\]|\(n = \d+\)")
_GOAL_COLUMNS = ("measured", "goal", "figure", "result", "section")
_MILLION = """\
Computed from the images/s of a build of Stable Diffusion 1.4 above: 40 DDIM steps with guidance.
Only one GPU is needed for it. Hours on several GPUs are those on one divided by their number; the
time for which they [wait at the end](#many-processes-simulated) is left out."""


def text(results: Results) -> str:
    """Return the page; sections without results are marked as not measured."""
    versions = _usual_versions(results)
    answers = "\n".join(_wrapped(line, indent="  ") for line in summary(results))
    goals = "\n".join(_goals(results))
    parts = [f"{_HEAD}{answers}\n{_GOALS}{goals}\n{_HOW}"]
    for name, section in SECTIONS.items():
        parts.append("\n".join(_section(section, results.get(name), versions)))
    parts.append("\n".join(_million(results.get("gpu"))))
    if versions:
        parts.append(f"{_wrapped(f'Versions, unless a section names others: {versions}.')}\n")
    return _joined("\n".join(parts))


def _joined(text: str) -> str:
    return _UNBROKEN.sub(lambda found: found[0].replace(" ", "\u00a0"), text)


def _wrapped(words: str, *, indent: str = "") -> str:
    """Break a line as the other pages do; tables cannot be broken."""
    return textwrap.fill(
        _joined(words),
        100,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _usual_versions(results: Results) -> str:
    """Return the versions of most sections."""
    found = Counter(_named(one["versions"]) for one in results.values())
    return found.most_common(1)[0][0] if found else ""


def _named(facts: Mapping[str, str], between: str = " ") -> str:
    return ", ".join(f"{name}{between}{value}" for name, value in facts.items())


def _goals(results: Results) -> Iterator[str]:
    """Yield the table of goals, those missed first, and why they were missed."""
    rows, reasons = [], []
    for name, section in SECTIONS.items():
        figures = of_full_run(results.get(name))
        for goal in GOALS.get(name, ()):
            what, limit, _, verdict = cells = goal.row(figures)
            link = f"[{name}](#{section.anchor})"
            rows.append([*cells, link])
            if verdict == MISSED:
                reasons.append(f"- **{what}**, {limit}: {goal.why(figures)} ({link})")
    order = (MISSED, "reached", "")
    rows.sort(key=lambda row: order.index(row[3]))
    yield from table(_GOAL_COLUMNS, rows, _GOAL_COLUMNS)
    if reasons:
        yield "\nWhy goals were missed:\n"
        yield from (_wrapped(one, indent="  ") for one in reasons)


def _section(section: Section, found: Mapping[str, Any] | None, versions: str) -> Iterator[str]:
    yield f"## {section.title}\n"
    yield section.about
    if found is None:
        yield f"{NOT_MEASURED.capitalize()}. {_WHERE[section.target]}\n"
    else:
        yield from _results(found, section, versions)
    if section.earlier:
        yield section.earlier
    if section.tried:
        yield "### Tried, and not used\n"
        yield section.tried


def _results(found: Mapping[str, Any], section: Section, versions: str) -> Iterator[str]:
    if found["status"] == "failed":
        yield f"Failed: {found['reason']}\n"
    else:
        yield from tables([Figure.of_dict(one) for one in found["figures"]], section.grid_by)
    if found["scale"] != "full":
        yield f"\n**A {found['scale']} run with small counts: the figures mean nothing.**"
    yield f"\n{_wrapped(_origin(found, versions))}\n"


def _origin(found: Mapping[str, Any], versions: str) -> str:
    """Return command, date, time, commit and machine, and versions that are not the usual ones."""
    facts = {"commit": "not recorded", **found["machine"]}
    machine, used = _named(facts, ": "), _named(found["versions"])
    other = f" Versions: {used}." if used != versions else ""
    return f"`{found['command']}`, {found['date']}, {found['seconds']:.0f} s. {machine}.{other}"


def _million(found: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield the cost of a million images, from measured images/s only."""
    yield "## The cost of a million 512 px images\n"
    yield f"{_MILLION}\n"
    rate = _rate(found)
    name = found["machine"]["GPU"] if found and rate is not None else ""
    rows = []
    for count in _GPUS:
        hours = _IMAGES / rate / 3600 if rate else None
        of_one = [number(hours / count), number(hours)] if hours else [NOT_MEASURED] * 2
        rows.append([f"{count} {name}".rstrip(), *of_one])
    yield from table(["GPUs", "hours", "GPU hours"], rows)
    yield ""


def _rate(found: Mapping[str, Any] | None) -> float | None:
    """Return the measured images/s of one GPU."""
    if found is None or "GPU" not in found["machine"]:
        return None
    try:
        return find(of_full_run(found), MILLION_OF).ours.median
    except LookupError:
        return None
