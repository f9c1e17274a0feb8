"""Leave out a study's texts if they describe other images or weights than those used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eval.scores_file import Scores
from eval.study.folders import Run
from eval.study.plan import REFERENCE, Plan
from eval.study.spec import Described

_DESCRIBED = {
    "real": "test images with fingerprint",
    "reference": "reference images with pixel hash",
    "generator": "images of the generator's revision",
}


def texts_of(
    plan: Plan, runs: Sequence[Run], scores: Mapping[str, Sequence[Scores]]
) -> tuple[str, dict[str, str]]:
    """Return the study's limits and each dataset's note; a reason in place of omitted ones."""
    sets = plan.spec.sets
    reasons = {
        name: _omission(sets[name].describes, _used(plan, name, runs, scores[name]))
        for name in scores
    }
    opening = "The study's conclusions are omitted"
    notes = {
        name: f"{opening}: {why}." if why and sets[name].note else sets[name].note
        for name, why in reasons.items()
    }
    other = [f"on {name}, {why}" for name, why in reasons.items() if why]
    if other and plan.spec.limits:
        return f"The study's limits are omitted: {'; '.join(other)}.", notes
    return plan.spec.limits, notes


def _used(
    plan: Plan, name: str, runs: Sequence[Run], scores: Sequence[Scores]
) -> dict[str, list[str]]:
    own = [run for run in runs if run.set_name == name]
    reference = [
        str(((one.training or {}).get("data") or {}).get("pixels_sha256"))
        for run, one in zip(own, scores, strict=True)
        if run.row == REFERENCE
    ]
    return {
        "real": [scores[0].real.fingerprint],
        "reference": reference[:1],
        "generator": sorted(plan.revisions_of(name)),
    }


def _omission(described: Described, found: Mapping[str, Sequence[str]]) -> str:
    """Return why a dataset's note is about other images or weights; empty if it is about these."""
    for key, what in _DESCRIBED.items():
        wanted = getattr(described, key)
        other = [one[:16] for one in found[key] if wanted and not one.startswith(wanted)]
        if other or (wanted and not found[key]):
            return (
                f"they describe {what} {wanted[:16]}; {', '.join(other) or 'none'} "
                f"{'were' if len(other) > 1 else 'was'} used"
            )
    return ""
