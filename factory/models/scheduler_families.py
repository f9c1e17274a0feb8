"""Check that a scheduler fits a model: a network needs the noise schedule of its training.

With a scheduler of another family the pipelines fail midway, or generate noise.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def _named(text: str) -> tuple[str, ...]:
    return tuple(f"{name}Scheduler" for name in text.split())


# Messages name the first of each family.
_FAMILIES: dict[str, tuple[str, ...]] = {
    "flow-matching": _named("FlowMatchEulerDiscrete FlowMatchHeunDiscrete FlowMatchLCM"),
    "diffusion": _named(
        "DDIM DPMSolverMultistep EulerDiscrete EulerAncestralDiscrete UniPCMultistep PNDM LCM TCD "
        "DDIMParallel DDPM DDPMParallel DEISMultistep DPMSolverSDE DPMSolverSinglestep "
        "HeunDiscrete IPNDM KDPM2AncestralDiscrete KDPM2Discrete LMSDiscrete SASolver"
    ),
    "EDM": _named("EDMDPMSolverMultistep EDMEuler"),
}
# Flow-matching with two settings.
_SOLVERS = _named("DEISMultistep DPMSolverMultistep DPMSolverSinglestep SASolver UniPCMultistep")
_SHOWN = 5
# These pipelines pass the noise levels themselves, and only these schedulers accept them.
_GIVES_SIGMAS = "Flux"
_TAKE_SIGMAS = _named("FlowMatchEulerDiscrete FlowMatchLCM UniPCMultistep")
_AS_FLOW = (
    " or UniPCMultistepScheduler with scheduler_config: "
    "{use_flow_sigmas: true, prediction_type: flow_prediction}"
)


def scheduler_problem(
    own: str,
    own_settings: Mapping[str, Any],
    *,
    name: str | None,
    changes: Mapping[str, Any] | None,
    pipeline_class: str = "",
) -> str | None:
    """Return why a model cannot use a scheduler, with suitable ones; None if it can.

    Args:
        own: Class of the model's own scheduler.
        own_settings: Settings of the model's own scheduler.
        name: Class of the requested scheduler; None for the model's own.
        changes: Settings that override its own.
        pipeline_class: Pipeline class of the model; empty if unknown.
    """
    wanted = name or own
    family = _family(own, own_settings)
    asked = _family(wanted, {**own_settings, **(changes or {})})
    given = pipeline_class.startswith(_GIVES_SIGMAS)
    fits = wanted in _TAKE_SIGMAS or wanted == own if given else True
    if asked == family and fits:
        return None
    fitting = [one for one in _FAMILIES.get(family, (own,)) if not given or one in _TAKE_SIGMAS]
    kind = f"a {family} model" if family in _FAMILIES else f"made for {own}"
    made = f" with these settings is of the {asked} family and" if name is None else ""
    return (
        f"{wanted}{made} does not fit this model, which is {kind}; use "
        f"{' or '.join(fitting[:_SHOWN])}{_AS_FLOW if family == 'flow-matching' else ''}, or "
        "remove the key for the model's own"
    )


def _family(name: str, settings: Mapping[str, Any]) -> str:
    """Return a scheduler's family; a scheduler without family fits its own models only."""
    flow = settings.get("prediction_type") == "flow_prediction" and settings.get("use_flow_sigmas")
    if flow and name in _SOLVERS:
        return "flow-matching"
    return next((family for family, names in _FAMILIES.items() if name in names), name)


_LISTED = re.compile(r"\"((?!Flax)[A-Z]\w*Scheduler)\"")


@cache
def scheduler_names() -> frozenset[str]:
    """Return the scheduler classes of diffusers; empty if it is not installed."""
    found = find_spec("diffusers")
    if found is None or found.origin is None:
        return frozenset()
    return frozenset(_LISTED.findall(Path(found.origin).read_text(encoding="utf-8")))
