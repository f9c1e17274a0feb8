"""`docs/study.md`: the figures of a study as a text that says what reproduced and what did not."""

from __future__ import annotations

from collections.abc import Iterator

from eval.study.paper import TITLE
from eval.study.plan import REFERENCE
from eval.study.results import REASONS, Cell, Results, Row, SetResult
from eval.table_text import grid

_NO_REASONS = "No reason beyond these figures has been tested yet."


def to_markdown(results: Results, *, command: str) -> str:
    """Return the report.

    Args:
        results: From `gather`.
        command: The line that makes all of it again.
    """
    parts = [f"# {results.title}", _opening(results, command)]
    for name, one in results.sets.items():
        parts += [f"## {one.paper or name}", _facts(one), _table(results, one)]
        parts += ["### What reproduced", _verdicts(results, one)]
        parts += ["### Why: reasons, measured", _reasons(results, name)]
        if one.scorings:
            parts += ["### What the released code's scoring is worth", _scorings(results, one)]
        parts += ["### Cost", _cost(results, one)]
    parts += ["## Reasons tested", results.reasons.strip() or _NO_REASONS]
    parts += ["## Commands", _commands(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(results: Results, command: str) -> str:
    epochs = f", {results.epochs} epochs" if results.epochs else ""
    seeds = ", ".join(map(str, results.seeds))
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    revisions = ", ".join(revision[:12] for revision in results.generator_revisions)
    drawn_by = f"`{results.generator}`{f' (revision {revisions})' if revisions else ''}"
    return (
        f"After {TITLE}. Pictures by {drawn_by}; classifiers "
        f"{', '.join(f'`{model}`' for model in results.models)} from random initialisation, preset "
        f"`{results.preset}`{epochs}, seeds {seeds}. Scores are honest: the model in evaluation "
        "mode, its epoch chosen without real images. Every figure is read from the files that the "
        f"commands left; all of it again, resumed where it was stopped:\n\n    {command}\n\n"
        f"Versions: {versions}."
    )


def _facts(one: SetResult) -> str:
    return (
        f"Scored on {one.real_images:,} real images of `{one.real}` "
        f"(fingerprint {one.real_fingerprint[:16]})."
    )


def _table(results: Results, one: SetResult) -> str:
    """Return the paper's column beside ours: mean, spread over seeds, difference."""
    lines = [["top-1 (%)", "images", "the paper, ResNet50", *results.models]]
    for row in one.rows:
        paper = "" if row.paper is None else f"{row.paper:g}{_signed(row.paper_difference)}"
        cells = [_cell(row.cells[model]) for model in results.models]
        lines.append([row.name, f"{row.images:,}", paper, *cells])
    if all(row.name != REFERENCE for row in one.rows):
        # No real training images were named.
        lines.append([REFERENCE, "", "", *("not measured" for _ in results.models)])
    note = (
        f"Mean ± standard deviation over seeds; in brackets the difference to {one.rows[0].name}."
    )
    return f"{grid(lines)}\n\n{note}"


def _cell(cell: Cell) -> str:
    spread = "" if cell.std is None else f" ± {cell.std:.2f}"
    return f"{cell.mean:.2f}{spread}{_signed(cell.difference)}"


def _signed(difference: float | None) -> str:
    return "" if difference is None else f" ({difference:+.2f})"


def _verdicts(results: Results, one: SetResult) -> str:
    lines = [
        ["against " + one.rows[0].name, "the paper", "model", "here", "95 % interval", "verdict"]
    ]
    for row in one.rows[1:]:
        for model in results.models:
            cell = row.cells[model]
            if cell.difference is None or row.paper_difference is None:
                continue
            ends = cell.difference_interval
            interval = "" if ends is None else f"{ends[0]:+.2f} to {ends[1]:+.2f}"
            paper = f"{row.paper_difference:+.2f}"
            lines.append(
                [row.name, paper, model, f"{cell.difference:+.2f}", interval, verdict(row, cell)]
            )
    if len(lines) == 1:
        return "The paper has no figures for these rows."
    note = (
        "Differences of means with Welch's interval over seeds: the spread of training, not of the "
        "draw of the sets. `reproduced`: the interval lies on the paper's side of 0."
    )
    return f"{grid(lines)}\n\n{note}"


def verdict(row: Row, cell: Cell) -> str:
    """Say what a difference tells of the paper's: computed from its interval alone."""
    ends, paper = cell.difference_interval, row.paper_difference
    if ends is None or paper is None:
        return "one seed tells nothing"
    if ends[0] <= 0 <= ends[1]:
        return "not told from 0"
    return "reproduced" if (ends[0] > 0) == (paper > 0) else "opposite"


def _reasons(results: Results, name: str) -> str:
    one = results.sets[name]
    lines = [["", *REASONS.values()]]
    lines += [
        [row.name, *(_share(reason, row.reasons[reason]) for reason in REASONS)]
        for row in one.rows
        if any(value is not None for value in row.reasons.values())
    ]
    if len(lines) == 1:
        return "Not measured."
    floor = "" if one.floor is None else f" Real images against real ones: {one.floor:.3f}."
    text = f"{grid(lines)}\n\nFeatures of `{results.features[name]}`.{floor}\n\n"
    return text + "\n".join(_correlated(results, one))


def _share(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if name != "fidelity" else f"{100 * value:.1f} %"


def _correlated(results: Results, one: SetResult) -> Iterator[str]:
    for model in results.models:
        for reason, text in REASONS.items():
            found = one.correlations[model][reason]
            if found is None:
                yield f'- {model}: score against "{text}": not measured over enough rows.'
            else:
                yield (
                    f'- {model}: score against "{text}": Spearman\'s rho {found[0]:+.2f}, '
                    f"p {found[1]:.3f} over the rows above."
                )


def _scorings(results: Results, one: SetResult) -> str:
    lines = [["scored with", *results.models]]
    for scoring, gains in one.scorings.items():
        lines.append([scoring, *(f"{gains[model]:+.2f}" for model in results.models)])
    return f"{grid(lines)}\n\nMean points over all runs against the honest score of the same run."


def _cost(results: Results, one: SetResult) -> str:
    header = [
        "",
        "drawn",
        "drawing (min)",
        *(f"training {model} (min)" for model in results.models),
    ]
    lines = [header]
    for row in one.rows:
        cells = [_minutes(row.cells[model].train_seconds) for model in results.models]
        lines.append([row.name, f"{row.drawn:,}", _minutes(row.build_seconds), *cells])
    return (
        f"{grid(lines)}\n\nTraining: the mean of one seed. Members of a combination are drawn once."
    )


def _minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.2f}"


def _commands(results: Results) -> str:
    lines: list[str] = []
    for one in results.sets.values():
        for row in one.rows:
            lines += [f"    {command}" for command in row.commands]
    return "\n".join(["The first seed's of each row:", "", *lines])
