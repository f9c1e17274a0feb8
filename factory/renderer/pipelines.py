"""A recipe's `model` to a loaded pipeline.

Weights are read from safetensors only and no code of a model's author is run. Safety checkers are
left out: they replace pictures by a black one, which has no place in a training set; so are
watermarks.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import pickle
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError, first_line
from factory.models.embedded import EMBEDDED_ID, embedded_dir, embedded_revision
from factory.models.scheduler_families import scheduler_problem
from factory.models.variants import LEFT_OUT, variant_of_folder, variant_on_hub
from factory.recipe.schema import Model
from factory.renderer.adapters import load_adapters
from factory.renderer.schedulers import make_scheduler

if TYPE_CHECKING:
    import torch

    from factory.recipe.resolved import ResolvedRecipe

# What a text-to-image call takes, and what only other tasks ask for.
_NEEDED_ARGUMENTS = ("prompt", "guidance_scale", "num_inference_steps", "generator", "output_type")
_FOREIGN_ARGUMENTS = (
    "image",
    "mask_image",
    "control_image",
    "num_frames",
    "video",
    "audio_length_in_s",
)


class Pipelines:
    """Loads each model once and hands out its pipeline with a recipe's scheduler."""

    def __init__(
        self, *, device: torch.device | str, dtype: torch.dtype, allow_pickle: bool = False
    ) -> None:
        """Remember where the models go; nothing is loaded yet.

        Args:
            device: Where the weights go.
            dtype: Of all weights.
            allow_pickle: Whether models without safetensors may be read from pickles.
        """
        self._device = device
        self._dtype = dtype
        self._allow_pickle = allow_pickle
        self._loaded: dict[Model, Any] = {}

    def get(self, recipe: ResolvedRecipe) -> Any:
        """Return a pipeline that draws a recipe.

        Raises:
            UserError: the model or its scheduler cannot be had, the scheduler does not fit the
                model, or it is no text-to-image model.
        """
        model = recipe.model
        key = Model(id=model.id, revision=model.revision, adapters=model.adapters)
        if key not in self._loaded:
            self._loaded[key] = load_pipeline(
                key, device=self._device, dtype=self._dtype, allow_pickle=self._allow_pickle
            )
        # The copy shares the weights; only its scheduler is its own.
        pipeline = copy.copy(self._loaded[key])
        if model.scheduler or model.scheduler_config:
            made = make_scheduler(pipeline.scheduler, model.scheduler, model.scheduler_config)
            _require_fitting_scheduler(pipeline, recipe)
            pipeline.scheduler = made
        return pipeline


def _require_fitting_scheduler(pipeline: Any, recipe: ResolvedRecipe) -> None:
    model, own = recipe.model, pipeline.scheduler
    problem = scheduler_problem(
        type(own).__name__,
        own.config,
        name=model.scheduler,
        changes=model.scheduler_config,
        pipeline_class=type(pipeline).__name__,
    )
    if problem:
        key = "scheduler" if model.scheduler else "scheduler_config"
        raise UserError(recipe.fault(problem, "model", key))


def load_pipeline(
    model: Model,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    allow_pickle: bool = False,
) -> Any:
    """Load a text-to-image pipeline with its adapters.

    Args:
        model: Its id is `embedded`, a directory, or a Hub id; only the latter has a revision.
        device: Where the weights go.
        dtype: Of all weights.
        allow_pickle: Whether weights that are not there as safetensors may be unpickled: as
            tensors only, so that code in them is refused and not run.

    Raises:
        UserError: no such model, revision or adapter, no way to the Hub, or no text-to-image model;
            with what to do.
    """
    source = model_source(model.id, model.revision)
    pinned = None if Path(source).is_dir() else model.revision
    with _quiet_libraries():
        pipeline = _read(model.id, source, revision=pinned, dtype=dtype, allow_pickle=allow_pickle)
        _require_text_to_image(model.id, pipeline)
        if model.adapters:
            load_adapters(pipeline, model.adapters)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(device)
    _use_channels_last(pipeline)
    return pipeline


def model_source(model_id: str, revision: str | None) -> str:
    """Return what diffusers should load for a recipe's model: a directory or a Hub id.

    Raises:
        UserError: a path that is no model directory, or other embedded weights than were pinned.
    """
    if model_id == EMBEDDED_ID:
        found = embedded_revision()
        if found is None:
            raise UserError(
                "this installation carries no embedded generator; install the released package, "
                "or name a model with --model"
            )
        if revision not in (None, found):
            raise UserError(
                f"model {model_id}: the recipe was pinned to weights {revision}, this version of "
                f"the package carries {found}; install the version the set was begun with, or "
                "build into another directory"
            )
        return str(embedded_dir())
    path = Path(model_id).expanduser()
    if path.is_dir():
        if not (path / "model_index.json").is_file():
            raise UserError(f"{model_id}: no diffusers model: it holds no model_index.json")
        return str(path)
    if model_id.startswith((".", "/", "~")):
        raise UserError(f"{model_id}: no such model directory; correct `model.id`")
    return model_id


def _read(
    model_id: str, source: str, *, revision: str | None, dtype: torch.dtype, allow_pickle: bool
) -> Any:
    """Read a pipeline with diffusers, its errors turned into ours."""
    import diffusers

    # Its methods carry no types.
    pipelines: Any = diffusers.DiffusionPipeline
    try:
        parts = pipelines.load_config(source, revision=revision)
        read = partial(
            pipelines.from_pretrained,
            source,
            revision=revision,
            torch_dtype=dtype,
            # None takes safetensors where there are any.
            use_safetensors=None if allow_pickle else True,
            trust_remote_code=False,
            **_left_out(parts),
        )
        return _read_variant(read, source, revision=revision, parts=parts)
    except pickle.UnpicklingError:
        raise UserError(
            f"model {model_id}: its pickled weights hold more than tensors and may run code; "
            "choose a model or revision with safetensors"
        ) from None
    except (OSError, ValueError, AttributeError, ImportError) as error:
        # OSError covers huggingface_hub too: missing, gated, unreachable, offline.
        raise UserError(_cannot_load(model_id, revision, error)) from None


def _left_out(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that keep safety checker and watermark out of a pipeline."""
    found: dict[str, Any] = {name: None for name in LEFT_OUT if name in parts}
    if "requires_safety_checker" in parts:
        found["requires_safety_checker"] = False
    if "XL" in str(parts.get("_class_name")):
        found["add_watermarker"] = False
    return found


def _read_variant(
    read: Callable[..., Any], source: str, *, revision: str | None, parts: dict[str, Any]
) -> Any:
    """Read plain weights, or those of the only other name that there is, such as `fp16`."""
    variant = variant_of_folder(Path(source), parts) if Path(source).is_dir() else None
    try:
        pipeline = read(variant=variant)
    except OSError as error:
        # The list of the Hub's files costs a request, which most models do without.
        asks_for_weights = "safetensors" in str(error) or "no file named" in str(error)
        if Path(source).is_dir() or not asks_for_weights:
            raise
        variant = variant_on_hub(source, revision, parts)
        if variant is None:
            raise
        pipeline = read(variant=variant)
    # For the records; diffusers forgets it.
    pipeline.weights_variant = variant
    return pipeline


def _cannot_load(model_id: str, revision: str | None, error: Exception) -> str:
    name = f"{model_id}@{revision}" if revision else model_id
    text = str(error)
    if isinstance(error, ValueError | AttributeError | ImportError):
        remedy = "check that it is a diffusers text-to-image model of this diffusers version"
        if "trust_remote_code" in text:
            remedy = "code that comes with a model is never run; choose a model without"
    elif "safetensors" in text:
        remedy = (
            "only safetensors weights are read; choose a model or revision that has them, or read "
            "its pickled weights with --allow-pickle if you trust their source"
        )
    elif "Unable to load weights" in text:
        remedy = "the weights are damaged, or pickles that hold more than tensors"
    elif Path(model_id).is_dir():
        remedy = "check that the directory is whole"
    elif "gated" in text or "401" in text or "403" in text:
        remedy = "accept its terms on the Hub, then log in with `hf auth login`"
    else:
        remedy = (
            "check `model.id` and `model.revision` and the connection to the Hub, or name a "
            "directory; `--model embedded` needs no network"
        )
    return f"model {name}: cannot be loaded ({first_line(error)}); {remedy}"


def _require_text_to_image(model_id: str, pipeline: Any) -> None:
    accepted = inspect.signature(type(pipeline).__call__).parameters
    missing = [name for name in _NEEDED_ARGUMENTS if name not in accepted]
    foreign = [name for name in _FOREIGN_ARGUMENTS if name in accepted]
    if missing or foreign:
        raise UserError(
            f"model {model_id}: {type(pipeline).__name__} is no text-to-image pipeline; "
            "choose a model that draws pictures from a prompt alone"
        )


def _use_channels_last(pipeline: Any) -> None:
    """Store convolution weights the way the fast kernels read them, on CPUs and GPUs alike."""
    import torch

    for name in ("unet", "vae"):
        network = getattr(pipeline, name, None)
        if network is not None:
            network.to(memory_format=torch.channels_last)


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Silence what the libraries say while they load: bars, and advice that is not for users."""
    import diffusers
    import transformers

    loggers = (diffusers.utils.logging, transformers.utils.logging)
    levels = [one.get_verbosity() for one in loggers]
    bars = [one.is_progress_bar_enabled() for one in loggers]
    for one in loggers:
        one.set_verbosity_error()
        one.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level, bar in zip(loggers, levels, bars, strict=True):
            one.set_verbosity(level)
            if bar:
                one.enable_progress_bar()
