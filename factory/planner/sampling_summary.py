"""Summarize how a config's images are sampled: guidance, steps, scheduler, sizes, resize, noise.

Plan, build, preview, card and manifest use this summary. Values that a recipe leaves to its model
are read from the model's configuration files (`factory.recipe.model_files`) or from a loaded
pipeline.
"""

from collections.abc import Mapping
from typing import Any

from factory.distributions.discrete import Constant
from factory.distributions.template import shown
from factory.distributions.variables import Once
from factory.models.embedded import EMBEDDED_ID
from factory.planner.plan import value_for_all
from factory.recipe.model_files import PipelineSettings, settings_on_disk
from factory.recipe.resolved import Output, ResolvedRecipe


def stored_summary(recipe: ResolvedRecipe) -> dict[str, Any]:
    """Return `sampling_summary` of a dataset's recipe without looking at a model on this machine.

    The dataset may be somebody else's. The embedded model is the package's own.
    """
    known = recipe.model.id == EMBEDDED_ID
    return sampling_summary(recipe, None if known else PipelineSettings())


def sampling_summary(
    recipe: ResolvedRecipe, pipeline: PipelineSettings | None = None
) -> dict[str, Any]:
    """Return how a config's images are sampled, as plain JSON values.

    Args:
        recipe: Recipe of a config with its own images.
        pipeline: Settings of a loaded pipeline; default: those in the model's files.

    Returns:
        `guidance_scale` and `num_inference_steps` as in the recipe. `guidance_interval` only if the
        recipe has one, `variant` only for weights of another variant, such as `fp16`. `scheduler`,
        `height` and `width` are null if the model decides and is not available; `output.resample`
        and `output.antialias` are null without a resize.
    """
    model = recipe.model
    own = pipeline or settings_on_disk(model)
    height, width = model.height or own.height, model.width or own.width
    return {
        "model": model.id,
        "revision": model.revision,
        **({"variant": own.variant} if own.variant else {}),
        "adapters": [one.model_dump(mode="json", exclude_none=True) for one in model.adapters],
        "scheduler": model.scheduler or own.scheduler,
        "scheduler_config": model.scheduler_config or {},
        **recipe.sampling.model_dump(mode="json", exclude_none=True),
        "height": height,
        "width": width,
        "output": _output(recipe.output, height, width),
    }


def _output(output: Output, height: int | None, width: int | None) -> dict[str, Any]:
    generated = (height, width) if height and width else None
    size = output.size or generated
    resized = size != generated
    # Enlarged images are not filtered.
    shrinks = size and (generated is None or size[0] < generated[0] or size[1] < generated[1])
    return {
        "size": list(size) if size else None,
        "resample": output.resample if resized else None,
        "antialias": output.filters and bool(shrinks) if resized else None,
        "format": output.format,
    }


def sampling_texts(recipe: ResolvedRecipe, summary: Mapping[str, Any]) -> dict[str, str]:
    """Return a readable summary as short texts by key; sizes are width x height.

    `interval` is there only if the recipe has one.
    """
    every, interval = summary["images_per_noise"], summary.get("guidance_interval")
    return {
        "model": _model_text(summary),
        "revision": summary["revision"] or "not pinned",
        "guidance": _quantity_text(recipe, "guidance_scale"),
        **({"interval": str(interval)} if interval else {}),
        "steps": _quantity_text(recipe, "num_inference_steps"),
        "scheduler": _scheduler_text(summary),
        "size": _pixels(summary["height"], summary["width"]) or "the model's own",
        "output": _output_text(summary["output"]),
        "noise": summary["noise"] + (f", {every} images per noise" if every > 1 else ""),
        "seed": str(summary["seed"]),
    }


def sampling_line(recipe: ResolvedRecipe, summary: Mapping[str, Any]) -> str:
    """Return a readable summary as one line."""
    texts = sampling_texts(recipe, summary)
    texts["revision"] = texts["revision"][:12]
    return f"{recipe.name}: " + "; ".join(f"{name} {text}" for name, text in texts.items())


def _quantity_text(recipe: ResolvedRecipe, key: str) -> str:
    quantity = getattr(recipe.sampling, key)
    if isinstance(quantity, Constant):
        return shown(quantity.root)
    own = f"{shown(value_for_all(recipe, quantity, key))}, " if isinstance(quantity, Once) else ""
    return own + str(quantity.describe())


def _scheduler_text(summary: Mapping[str, Any]) -> str:
    changes = [f"{key}={value}" for key, value in summary["scheduler_config"].items()]
    own = f" with {', '.join(changes)}" if changes else ""
    return (summary["scheduler"] or "the model's own") + own


def _pixels(height: int | None, width: int | None) -> str:
    return f"{width} x {height}" if height and width else ""


def _model_text(summary: Mapping[str, Any]) -> str:
    variant = f" ({summary['variant']} weights)" if summary.get("variant") else ""
    return " + ".join([summary["model"] + variant, *(one["id"] for one in summary["adapters"])])


def _output_text(output: Mapping[str, Any]) -> str:
    if output["resample"] is None:
        return f"as generated, {output['format']}"
    smooth = "anti-aliased" if output["antialias"] else "not anti-aliased"
    return f"{_pixels(*output['size'])}, {output['resample']}, {smooth}, {output['format']}"
