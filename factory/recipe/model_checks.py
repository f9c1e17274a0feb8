"""Check a recipe against its model before the model is loaded.

Local models are checked by their configuration files, named ones by their preset; others are
checked when they are loaded.
"""

from factory.models.presets import find_preset
from factory.models.scheduler_families import scheduler_names, scheduler_problem
from factory.recipe.checks import Checked
from factory.recipe.faults import nearest
from factory.recipe.model_files import pipeline_class_on_disk, scheduler_on_disk, size_step_on_disk
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
