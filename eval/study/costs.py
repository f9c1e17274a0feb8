"""Estimate the cost of a study before it is run."""

from typing import Any

from eval.study.plan import Plan


def costs_text(plan: Plan) -> str:
    """Return `costs` as text, one line per dataset."""
    return "\n".join(_line(one) for one in costs(plan))


def costs(plan: Plan) -> list[dict[str, Any]]:
    """Return the cost of generating the study's images, for each dataset.

    A config that several rows use is generated once per image seed, and counts once. `seconds` is
    None without a known speed of the model.
    """
    return [_cost(plan, name) for name in plan.spec.sets]


def _line(cost: dict[str, Any]) -> str:
    hours = (
        "no speed known for this model"
        if cost["seconds"] is None
        else f"about {cost['seconds'] / 3600:.3g} hours on {cost['device']}"
    )
    return (
        f"{cost['dataset']}: {cost['images']:,} images, {cost['calls']:,} network calls, {hours}; "
        f"{cost['trainings']} trainings"
    )


def _cost(plan: Plan, name: str) -> dict[str, Any]:
    spec, one, settings = plan.spec, plan.spec.sets[name], plan.settings[name]
    generated = {
        (plan.folder(name, row, image_seed), config): part
        for row in one.rows
        for image_seed in one.image_seeds_of(row)
        for config, part in settings[row].parts.items()
    }.values()
    images, calls = (sum(getattr(part, key) for part in generated) for key in ("images", "calls"))
    seconds = [part.seconds for part in generated if part.seconds is not None]
    generations = sum(len(one.image_seeds_of(row)) for row in one.rows)
    return {
        "dataset": name,
        "images": images,
        "calls": calls,
        "seconds": sum(seconds) if len(seconds) == len(generated) else None,
        "device": settings[one.rows[0]].device,
        "trainings": (generations + bool(one.reference)) * len(spec.models) * len(spec.seeds),
    }
