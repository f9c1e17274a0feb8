"""Estimate the cost of a study before it is run."""

from __future__ import annotations

from eval.study.plan import Plan


def costs(plan: Plan) -> str:
    """Return the cost of generating the study's images, one line per dataset.

    A config that several rows use is generated once per draw, and counts once.
    """
    return "\n".join(_cost(plan, name) for name in plan.spec.sets)


def _cost(plan: Plan, name: str) -> str:
    spec, one, settings = plan.spec, plan.spec.sets[name], plan.settings[name]
    generated = {
        (plan.folder(name, row, draw), config): part
        for row in one.rows
        for draw in one.draws_of(row)
        for config, part in settings[row].parts.items()
    }.values()
    images, calls = (sum(getattr(part, key) for part in generated) for key in ("images", "calls"))
    seconds = [part.seconds for part in generated if part.seconds is not None]
    device = settings[one.rows[0]].device
    hours = (
        f"about {sum(seconds) / 3600:.3g} hours on {device}"
        if len(seconds) == len(generated)
        else "no speed known for this model"
    )
    draws = sum(len(one.draws_of(row)) for row in one.rows)
    trainings = (draws + bool(one.reference)) * len(spec.models) * len(spec.seeds)
    return f"{name}: {images:,} images, {calls:,} network calls, {hours}; {trainings} trainings"
