"""The answers at the top of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .figures import find, number, of_full_run, others, ours, ratio
from .results import Results
from .sections import SECTIONS
from .timing import Figure

MILLION_OF = "Stable Diffusion 1.4, 512 px: build"
"""The figure that the cost of a million images is computed from."""
_FIRST_IMAGES = "command to the first ten images"


@dataclass(frozen=True)
class _Line:
    """One answer.

    Attributes:
        what: The question.
        section: Name of the section that has the figures.
        line: Start of a line of its table, whose n is shown.
        say: The answer from its figures; raises LookupError if one is missing.
    """

    what: str
    section: str
    line: str
    say: Callable[[Sequence[Figure]], str]


def summary(results: Results) -> Iterator[str]:
    """Yield one item of a list per question, with a link to its section."""
    for line in _LINES:
        section = SECTIONS[line.section]
        try:
            figures = of_full_run(results.get(line.section))
            answer = f"{line.say(figures)} (n = {find(figures, line.line).ours.count})"
        except LookupError:
            answer = f"not measured; run `make {section.target}`"
        yield f"- **[{line.what}](#{section.anchor}):** {answer}."


def _cpu(found: Sequence[Figure]) -> str:
    # Their full names say in which type they computed.
    names = [find(found, "build", start).other for start in ("one image per call", "batches of 32")]
    single, batches = (f"{number(ratio(found, 'build', name))} times {name}" for name in names)
    speed = number(ours(found, "build"))
    return f"{speed} images/s without the start; against diffusers, {single}, and {batches}"


def _start(found: Sequence[Figure]) -> str:
    script = others(found, _FIRST_IMAGES, "diffusers script")
    return (
        f"the first ten images after {number(ours(found, _FIRST_IMAGES))} s; a diffusers script "
        f"takes {number(script)} s"
    )


def _overhead(found: Sequence[Figure]) -> str:
    return (
        f"{number(ours(found, 'marginal speed'))} images/s with ready images, "
        f"{number(ratio(found, 'marginal speed', 'plain loop'))} times a plain loop that writes "
        "Parquet, because encoding uses all cores: its CPU time per image is "
        f"{number(ratio(found, 'marginal CPU time', 'plain loop'))} times the loop's"
    )


def _training(found: Sequence[Figure]) -> str:
    speed, whole = (_range(found, kind) for kind in (": training", ": whole command"))
    return f"{speed} times the images/s of a timm loop; {whole} times in short runs with the start"


def _range(found: Sequence[Figure], kind: str) -> str:
    """Return the lowest and highest median ratio to the timm loop."""
    lines = [one.what for one in found if one.what.endswith(kind)]
    ratios = sorted(ratio(found, what, "timm loop") for what in dict.fromkeys(lines))
    if not ratios:
        raise LookupError(kind)
    return " to ".join(number(one) for one in dict.fromkeys((ratios[0], ratios[-1])))


def _scoring(found: Sequence[Figure]) -> str:
    name = "evaluate's evaluator"
    speed, whole = (number(ratio(found, what, name)) for what in ("marginal speed", "score 500"))
    return f"{speed} times the images/s of {name}; {whole} of its time for 500 images and the start"


def _gpu(found: Sequence[Figure]) -> str:
    single = ratio(found, MILLION_OF, "stock pipeline, one image per call")
    return (
        f"{number(ours(found, MILLION_OF))} images/s with Stable Diffusion 1.4 at 512 px, "
        f"{number(single)} times diffusers with one image per call"
    )


_LINES = (
    _Line("Generation on a CPU", "cpu", "build", _cpu),
    _Line("Start", "cpu", _FIRST_IMAGES, _start),
    _Line("Building without generation", "overhead", "marginal speed", _overhead),
    _Line("Training", "train", "", _training),
    _Line("Scoring", "score", "marginal speed", _scoring),
    _Line("Generation on a GPU", "gpu", MILLION_OF, _gpu),
    _Line("Training on a GPU", "gpu-train", "", _training),
)
