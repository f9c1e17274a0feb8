"""Write the results of a study as a Markdown page: limits, conclusions, tables."""

import shlex
from collections.abc import Sequence

from eval.study.conclusions import filled_in, interval, p_value
from eval.study.paper import TITLE
from eval.study.result_fields import Cell, Compared, Gap, Results, Row, SetResult
from eval.table_text import grid

_LEVEL = 0.05


def to_markdown(results: Results, *, command: str) -> str:
    """Return the report.

    Raises:
        UserError: The study's texts use a value that it does not have.
    """
    parts = [f"# {results.title}", _opening(results, command)]
    if results.limits.strip():
        parts += ["## Limits", filled_in(results.limits, results)]
    for name, one in results.sets.items():
        parts += [
            f"## {one.paper or name}",
            _facts(one, results.epochs),
            filled_in(one.note, results),
        ]
        parts += ["### Settings", _settings(one), "### Scores", _scores(results, one)]
        parts += ["### Comparisons", _comparisons(one)]
        parts += ["### Distance from real images", _gaps(results, name)]
        if one.scorings:
            parts += ["### The released code's way of scoring", _scorings(results, one)]
        parts += ["### Cost", _cost(results, one)]
    parts += ["## How intervals are made", _METHOD, "## Commands", _commands(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


_METHOD = """\
Every interval is a 95 % interval. Those of differences add two sources of error:

- Runs. A difference varies when images are generated again (image seeds) and when models are \
trained again (training seeds). Rows are compared over the same seeds, in an analysis of variance \
of the runs' mean scores: the error is row x image seed plus row x training seed less the \
residual, or the largest of them where this is smaller. Mean squares are pooled over the rows that \
share no images with others, so rows with one image seed use the spread of the rows with several. \
If a whole study has one image seed, the error is row x training seed and says nothing about \
generating the images again; with one run per row only the test images count, and nothing is tested.
- Test images. The variance over test images of an image's mean difference, divided by their number.

Degrees of freedom are Satterthwaite's. The p-values are corrected by Holm's method over all \
comparisons of a dataset, all models included; intervals are not corrected. A difference is \
called significant if its corrected p is below 0.05; the verdict then gives its size as a multiple \
of the paper's effect. `eval/study/statistics.py` has the formulas."""


def _opening(results: Results, command: str) -> str:
    seeds = ", ".join(map(str, results.seeds))
    versions = ", ".join(f"{name} {_joined(one)}" for name, one in results.versions.items())
    devices = "; ".join(f"{doing} {_joined(one)}" for doing, one in results.devices.items())
    revisions = ", ".join(revision[:12] for revision in results.generator_revisions)
    generator = f"`{results.generator or 'the model of each recipe'}`"
    return (
        f"After {TITLE}. Images by {generator}{f' (revision {revisions})' if revisions else ''}; "
        f"classifiers {', '.join(f'`{model}`' for model in results.models)} from random "
        f"initialisation, training seeds {seeds}. Scoring is "
        "standard: evaluation mode, and the epoch is chosen without test images. Every figure in "
        "the tables, and every difference with an interval, is read from the files that the "
        "commands left. To repeat everything, or to resume it:\n\n"
        f"    {command}\n\nVersions: {versions}.\n\nDevices: {devices}."
    )


def _joined(found: Sequence[str]) -> str:
    return " and ".join(found) or "unknown"


def _facts(one: SetResult, epochs: int | None) -> str:
    options = f", options `{shlex.join(one.train)}`" if one.train else ""
    return (
        f"Trained with preset `{one.preset}`{f', {epochs} epochs' if epochs else ''}{options}. "
        f"Scored on {one.real_images:,} real images of `{one.real}` "
        f"(fingerprint {one.real_fingerprint[:16]})."
    )


def _settings(one: SetResult) -> str:
    """Return the resolved settings of each row."""
    header = ["row", "prompt", "guidance", "steps", "scheduler", "kept at", "images", "image seeds"]
    lines = [header]
    for row in one.rows:
        if row.settings is None:
            lines.append([row.name, "", "", "", "", "", f"{row.images:,}", ""])
            continue
        found = row.settings
        image_seeds = ", ".join(map(str, row.image_seeds))
        lines.append(
            [
                *(row.name, found.prompts(), found.guidance(), found.steps(), found.scheduler),
                *(found.output(), f"{row.images:,}", image_seeds),
            ]
        )
    return f"{grid(lines)}\n\nImage seeds: base seeds; each generates all images of the row again."


def _scores(results: Results, one: SetResult) -> str:
    lines = [["top-1 (%)", "runs", "paper, ResNet50", *results.models]]
    for row in one.rows:
        paper = "" if row.paper is None else f"{row.paper:g}"
        runs = str(len(next(iter(row.cells.values())).top1))
        lines.append([row.name, runs, paper, *(_cell(row.cells[m]) for m in results.models)])
    for name, top1 in one.zero_shot.items():
        lines.append([name, "", "", *(f"{top1:.2f}" for _ in results.models)])
    return (
        f"{grid(lines)}\n\nMean ± standard deviation over the runs: image seeds times training "
        "seeds. Rows share seeds and test images: compare them by the intervals of their "
        "differences, not by these spreads."
    )


def _cell(cell: Cell) -> str:
    return f"{cell.mean:.2f}" + ("" if cell.std is None else f" ± {cell.std:.2f}")


def _comparisons(one: SetResult) -> str:
    header = ["row", "against", "differs in", "model", "runs", "difference", "p", "paper"]
    lines = [[*header, "verdict"], *(_comparison(found) for found in one.comparisons)]
    sources = sorted({found.estimate.sources for found in one.comparisons})
    return f"{grid(lines)}\n\nIntervals over {', or over '.join(sources)}."


def _comparison(found: Compared) -> list[str]:
    return [
        *(found.row, found.to, ", ".join(found.differs), found.model),
        *(str(found.estimate.num_runs), interval(found.estimate), p_value(found.adjusted_p)),
        *("" if found.paper is None else f"{found.paper:+.2f}", verdict(found)),
    ]


def verdict(found: Compared) -> str:
    """Return the conclusion of a comparison: significance, sign and size relative to the paper."""
    estimate, paper = found.estimate, found.paper
    if found.adjusted_p is None:
        return "not tested: one run per row"
    significant = found.adjusted_p < _LEVEL
    if not paper:
        return "significant" if significant else "not significant"
    inside = "contains" if estimate.low <= paper <= estimate.high else "excludes"
    size = "not significant"
    if significant:
        same = (estimate.value > 0) == (paper > 0)
        sign = "same" if same else "opposite"
        size = f"{sign} sign, {estimate.value / paper:.1f} of the paper's effect"
    paper_effect = "it" if significant else "the paper's effect"
    return f"{size}; the interval {inside} {paper_effect}"


def _gaps(results: Results, name: str) -> str:
    one = results.sets[name]
    judged = any(row.gap and row.gap.fidelity is not None for row in one.rows)
    header = ["row", "real or synthetic? (accuracy)", "spread within classes"]
    lines = [[*header, *(["prompt accuracy"] if judged else [])]]
    lines += [[row.name, *_gap(row.gap, judged)] for row in one.rows if row.gap is not None]
    if len(lines) == 1:
        return "Not measured."
    floor = "" if one.floor is None else f" Two halves of the real images: {_of(one.floor)}."
    note = (
        f"First image seed, in the space of `{results.features[name]}`. Accuracy of a classifier "
        f"that distinguishes real from synthetic images; 0.5 is no difference.{floor} Spread: "
        "variance of features within a class, 1 is that of the real images."
    )
    if judged:
        note += (
            " Prompt accuracy: share of images in which a classifier of the row `real images` sees "
            "the class of the prompt."
        )
    return f"{grid(lines)}\n\n{note}"


def _gap(gap: Gap, judged: bool) -> list[str]:
    fidelity = [] if gap.fidelity is None else [f"{100 * gap.fidelity:.1f} %"]
    return [_of(gap.two_sample), _of(gap.spread), *(fidelity if judged else [])]


def _of(found: Sequence[float | None]) -> str:
    value, low, high = found
    if value is None:
        return ""
    return f"{value:.2f}" + ("" if low is None or high is None else f" [{low:.2f}, {high:.2f}]")


def _scorings(results: Results, one: SetResult) -> str:
    lines = [["scored with", *results.models]]
    for scoring, gains in one.scorings.items():
        lines.append([scoring, *(f"{gains[model]:+.2f}" for model in results.models)])
    return (
        f"{grid(lines)}\n\nMean points over the runs of the first image seed, against the standard "
        "score of the same run."
    )


def _cost(results: Results, one: SetResult) -> str:
    header = ["row", "generated", "generating (min)", *(f"{m} (min)" for m in results.models)]
    lines = [header]
    for row in one.rows:
        cells = [_minutes(row.cells[model].train_seconds) for model in results.models]
        count = row.generated * max(len(row.image_seeds), 1)
        lines.append([row.name, f"{count:,}", _minutes(row.build_seconds), *cells])
    return (
        f"{grid(lines)}\n\nGenerating: all image seeds, start-up included. Training: mean of one "
        "run. Members of a union are generated once."
    )


def _minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.2f}"


def _commands(results: Results) -> str:
    rows: list[Row] = [row for one in results.sets.values() for row in one.rows]
    lines = [f"    {command}" for row in rows for command in row.commands]
    opening = "The first run of each row, with one thread per process (`OMP_NUM_THREADS=1`):"
    return "\n".join([opening, "", *lines])
