"""Check a recipe against its model before the model is loaded.

Local models are checked by their configuration files, named ones by their preset; others are
checked when they are loaded.
"""

from collections.abc import Iterable

from factory.common.errors import UserError
from factory.distributions.base import Distribution
from factory.distributions.variables import PerClass
from factory.models.inference import GuidanceInterval
from factory.models.presets import find_preset
from factory.models.scheduler_families import scheduler_names, scheduler_problem
from factory.recipe.checks import MOST_STEPS, Checked
from factory.recipe.faults import nearest
from factory.recipe.model_files import (
    PipelineSettings,
    pipeline_class_on_disk,
    scheduler_on_disk,
    size_step_on_disk,
)
from factory.recipe.resolved import ResolvedRecipe

# Every pipeline needs multiples of this; some need more.
LEAST_SIZE_STEP = 8


def check_scheduler(checked: Checked, recipe: ResolvedRecipe) -> None:
    """Check that the named scheduler exists in diffusers and fits the model."""
    if "model" in checked.refused:
        return
    model, known = recipe.model, scheduler_names()
    if model.scheduler is not None and known and model.scheduler not in known:
        hint = nearest(model.scheduler, known)
        checked.add(f"diffusers has no scheduler '{model.scheduler}'{hint}", "model", "scheduler")
        return
    preset = find_preset(model.id)
    own = scheduler_on_disk(model) or (preset and (preset.own_scheduler, {}))
    if not own:
        return
    problem = scheduler_problem(
        *own,
        name=model.scheduler,
        changes=model.scheduler_config,
        pipeline_class=pipeline_class_on_disk(model),
    )
    if problem:
        checked.add(problem, "model", "scheduler" if model.scheduler else "scheduler_config")


def check_sizes(checked: Checked, recipe: ResolvedRecipe) -> None:
    """Check that the model can generate images of the requested size."""
    if "model" in checked.refused:
        return
    preset = find_preset(recipe.model.id)
    step = size_step_on_disk(recipe.model) or (preset.size_step if preset else LEAST_SIZE_STEP)
    for name in ("height", "width"):
        problem = size_problem(getattr(recipe.model, name), step)
        if problem:
            checked.add(problem, "model", name)


def size_problem(pixels: int | None, step: int) -> str | None:
    """Return the problem of a height or width, or None.

    Args:
        pixels: The size, or None for the model's own.
        step: Number it must be a multiple of.
    """
    if pixels is None or pixels % step == 0:
        return None
    nearest_size = max(step, round(pixels / step) * step)
    return (
        f"{pixels} is not a multiple of {step}; write {nearest_size}, and set `output.size` to the "
        "size you need"
    )


def check_guidance(checked: Checked, recipe: ResolvedRecipe) -> None:
    """Check that a model of a preset uses all guidance scales; others: `require_used_guidance`."""
    preset = find_preset(recipe.model.id)
    if preset is None or (preset.guided and not preset.negative_prompt):
        # The second kind reads the scale as an input.
        return
    problem = _guidance_problem(recipe.sampling.guidance_scale)
    if problem:
        checked.add(problem, "sampling", "guidance_scale")


def require_used_guidance(recipe: ResolvedRecipe, pipeline: PipelineSettings | None) -> None:
    """Reject a recipe of new images if its loaded model would ignore a guidance scale.

    Raises:
        UserError: It can be below 1 and is not 0.
    """
    problem = _guidance_problem(recipe.sampling.guidance_scale)
    if pipeline is not None and pipeline.reads_guidance is False and problem:
        raise UserError([recipe.fault(problem, "sampling", "guidance_scale")])


def check_guidance_interval(checked: Checked, recipe: ResolvedRecipe) -> None:
    """Check that the guided part of the steps has an effect; other models: `require_able`."""
    interval = recipe.sampling.guidance_interval
    if interval is None or {"sampling", "sampling.guidance_scale"} & checked.refused:
        return
    preset = find_preset(recipe.model.id)
    is_input = preset is not None and preset.guided and not preset.negative_prompt
    problem = interval_problem(recipe, interval, is_input=is_input)
    if problem:
        checked.add(problem, "sampling", "guidance_interval")


def interval_problem(
    recipe: ResolvedRecipe, interval: GuidanceInterval, *, is_input: bool
) -> str | None:
    """Return why a recipe's images cannot be guided in a part of their steps, or None.

    Args:
        recipe: Has guidance and steps.
        interval: The guided part.
        is_input: Whether the model reads the guidance scale as an input.
    """
    if recipe.sampling.guidance_scale.bounds()[1] <= 1:
        return (
            f"{interval.numbers} has no effect without a guidance scale above 1; remove the "
            "interval (--guidance-interval or the key), or raise the scale"
        )
    if is_input:
        return (
            f"{recipe.model.id} is guided through an input of its network, without a second half "
            "of the batch; remove the interval (--guidance-interval or the key)"
        )
    unguided = (steps for steps in _step_counts(recipe) if not interval.steps(steps))
    steps = next(unguided, None)
    if steps is None:
        return None
    return (
        f"no step of {steps} is in {interval.numbers}, so that guidance would have no effect; use "
        "more steps or a longer interval"
    )


def _step_counts(recipe: ResolvedRecipe) -> Iterable[int]:
    """Return the numbers of steps that images can have; none if the recipe's are not valid."""
    quantity = recipe.sampling.num_inference_steps
    for part in quantity.parts() if isinstance(quantity, PerClass) else [quantity]:
        if part.type() == "int64":
            low, high = part.bounds()
            yield from map(int, part.values() or range(int(low), min(int(high), MOST_STEPS) + 1))


def _guidance_problem(quantity: Distribution | PerClass) -> str | None:
    """Return the problem of a guidance scale whose values can have no effect, or None.

    Only for models that run their network twice; those that read the scale as an input use any.
    """
    parts = quantity.parts() if isinstance(quantity, PerClass) else [quantity]
    for part in parts:
        listed, (low, high) = part.values(), part.bounds()
        if listed is not None:
            numbers = [one for one in listed if isinstance(one, int | float)]
            low = min((one for one in numbers if one < 1 and one != 0), default=1)
        elif part.type() == "int64" and low >= 0:
            continue
        if low < 1:
            between = "" if listed is not None else f" to {high:g}"
            return (
                f"can be {low:g}{between}, but guidance below 1 has no effect: the pipeline uses "
                "it as 1; start at 1 (of distributions: a lower bound of 1), or write 0 for no "
                "guidance"
            )
    return None


def check_model(checked: Checked, recipe: ResolvedRecipe) -> None:
    """Check values that the model cannot use; unknown models are checked when they are loaded."""
    preset = find_preset(recipe.model.id)
    most = recipe.sampling.guidance_scale.bounds()[1]
    if recipe.negative_prompt and (preset is None or preset.negative_prompt) and most <= 1:
        checked.add(
            f"has no effect at guidance {most:g}: only guidance above 1 uses it; raise "
            "sampling.guidance_scale, or remove it (--set 'negative_prompt=\"\"')",
            "negative_prompt",
        )
    if preset is None:
        return
    if not preset.negative_prompt and recipe.negative_prompt:
        checked.add(
            f"{preset.id} cannot use a negative prompt; remove it "
            "(--set 'negative_prompt=\"\"'), or choose a model that can",
            "negative_prompt",
        )
    if not preset.guided and most > 1:
        checked.add(
            f"{preset.id} is distilled and cannot use guidance, found up to {most:g}; write `auto` "
            "(or --sampling model, for plain numbers) for its own value, or choose a model that "
            "can be guided",
            *("sampling", "guidance_scale"),
        )
