"""Load the pipeline of a recipe's `model`.

Only safetensors weights are loaded and code that comes with a model is never run. Safety checkers
are disabled, because they replace images by black ones; so are watermarks.
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

from factory.common.errors import FactoryError, UserError, first_line
from factory.common.imports import listing_packages_on_demand, without_garbage_collection
from factory.models.embedded import EMBEDDED_ID, embedded_dir, embedded_revision
from factory.models.folder_configs import check_configs, configs_of
from factory.models.inference import PLAIN, InferenceSettings
from factory.models.model_size import no_larger_than_folder
from factory.models.quiet import quiet
from factory.models.scheduler_families import scheduler_problem
from factory.models.variants import LEFT_OUT, variant_of_folder, variant_on_hub
from factory.recipe.schema import Model
from factory.renderer.adapters import load_adapters, merge_adapters
from factory.renderer.block_caches import require_package
from factory.renderer.compiling import compile_network
from factory.renderer.placement import decode_one_by_one, place
from factory.renderer.quantization import quantization
from factory.renderer.schedulers import make_scheduler

if TYPE_CHECKING:
    import torch

    from factory.recipe.resolved import ResolvedRecipe

# Arguments of a text-to-image call, and arguments that only other tasks need.
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
    """Loads each model once and returns its pipeline with a recipe's scheduler."""

    def __init__(
        self,
        *,
        device: torch.device | str,
        allow_pickle: bool = False,
        offload: str | None = None,
    ) -> None:
        """Store the options of `load_pipeline`; nothing is loaded yet."""
        self._load = partial(
            load_pipeline, device=device, allow_pickle=allow_pickle, offload=offload
        )
        self._loaded: dict[tuple[Model, InferenceSettings], Any] = {}

    def get(self, recipe: ResolvedRecipe, inference: InferenceSettings = PLAIN) -> Any:
        """Return a pipeline for a recipe.

        Raises:
            UserError: The model or its scheduler cannot be loaded, the scheduler does not fit the
                model, or it is not a text-to-image model.
        """
        model = recipe.model
        key = Model(id=model.id, revision=model.revision, adapters=model.adapters), inference
        if key not in self._loaded:
            self._loaded[key] = self._load(*key)
        # The copy shares the weights and has its own scheduler.
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
    inference: InferenceSettings = PLAIN,
    *,
    device: torch.device | str,
    allow_pickle: bool = False,
    offload: str | None = None,
) -> Any:
    """Load a text-to-image pipeline with its adapters.

    Args:
        model: Its id is `embedded`, a directory, or a Hub id; only the latter has a revision.
        inference: Inference settings; those that change the pipeline are applied here.
        device: Device of the weights.
        allow_pickle: Whether to load pickled weights if there are no safetensors: tensors only, so
            that code in them is rejected and not run.
        offload: How parts reach the device; see `place`.

    Raises:
        UserError: The model, revision or adapter does not exist, the Hub cannot be reached, or it
            is not a text-to-image model; the message names a remedy.
    """
    import torch

    if (reuse := inference.reuse) and reuse.kind == "cache-dit":
        require_package()
    source = model_source(model.id, model.revision)
    dtype, kind = getattr(torch, inference.dtype), inference.quantize
    pinned = None if Path(source).is_dir() else model.revision
    with without_garbage_collection(), _quiet_libraries():
        pipeline = _read(
            model.id,
            source,
            revision=pinned,
            dtype=dtype,
            allow_pickle=allow_pickle,
            quantized=kind and partial(quantization, kind, device=device, dtype=dtype),
        )
        _require_text_to_image(model.id, pipeline)
        if model.adapters:
            load_adapters(pipeline, model.adapters)
            if inference.fuse_adapters:
                merge_adapters(pipeline, len(model.adapters))
    pipeline.set_progress_bar_config(disable=True)
    _use_channels_last(pipeline)
    if inference.vae_slicing:
        decode_one_by_one(pipeline)
    place(pipeline, device, offload)
    if inference.compile:
        compile_network(pipeline, inference.compile)
    return pipeline


def model_source(model_id: str, revision: str | None) -> str:
    """Return the source that diffusers loads for a recipe's model: a directory or a Hub id.

    Raises:
        UserError: The path is not a model directory, or the embedded weights have another revision.
    """
    if model_id == EMBEDDED_ID:
        found = embedded_revision()
        if found is None:
            raise UserError(
                "this installation has no embedded generator; install the released package, "
                "or name a model with --model"
            )
        if revision not in (None, found):
            raise UserError(
                f"model {model_id}: the recipe needs weights {revision}, but this version of the "
                f"package has {found}; install the version that started the dataset, or build into "
                "another directory"
            )
        return str(embedded_dir())
    path = Path(model_id).expanduser()
    if path.is_dir():
        if not (path / "model_index.json").is_file():
            raise UserError(f"{model_id}: is not a diffusers model: it has no model_index.json")
        return str(path)
    if model_id.startswith((".", "/", "~")):
        raise UserError(f"{model_id}: model directory not found; correct `model.id`")
    return model_id


def _read(
    model_id: str,
    source: str,
    *,
    revision: str | None,
    dtype: torch.dtype,
    allow_pickle: bool,
    quantized: Any,
) -> Any:
    """Load a pipeline with diffusers and convert its errors; see `load_pipeline`."""
    import diffusers

    # diffusers has no types for its methods.
    pipelines: Any = diffusers.DiffusionPipeline
    try:
        parts = pipelines.load_config(source, revision=revision)
        read = partial(
            pipelines.from_pretrained,
            source,
            revision=revision,
            torch_dtype=dtype,
            # None uses safetensors if there are any.
            use_safetensors=None if allow_pickle else True,
            trust_remote_code=False,
            **({"quantization_config": quantized(parts)} if quantized else {}),
            **_left_out(parts),
        )
        folder = configs_of(source, revision)
        check_configs(folder)
        with no_larger_than_folder(lambda: folder):
            return _read_variant(read, source, revision=revision, parts=parts)
    except pickle.UnpicklingError:
        raise UserError(
            f"model {model_id}: its pickled weights contain more than tensors and may run code; "
            "choose a model or revision with safetensors"
        ) from None
    except FactoryError:
        raise
    except Exception as error:  # noqa: BLE001 (odd files raise anything)
        # OSError includes huggingface_hub's errors: missing, gated, unreachable, offline.
        message = _cannot_load(model_id, revision, error, quantizes=bool(quantized))
        raise UserError(message) from None


def _left_out(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that disable safety checker and watermark of a pipeline."""
    found: dict[str, Any] = {name: None for name in LEFT_OUT if name in parts}
    if "requires_safety_checker" in parts:
        found["requires_safety_checker"] = False
    if "XL" in str(parts.get("_class_name")):
        found["add_watermarker"] = False
    return found


def _read_variant(
    read: Callable[..., Any], source: str, *, revision: str | None, parts: dict[str, Any]
) -> Any:
    """Load plain weights, or the only other variant that exists, such as `fp16`."""
    variant = variant_of_folder(Path(source), parts) if Path(source).is_dir() else None
    try:
        pipeline = read(variant=variant)
    except OSError as error:
        # Listing the Hub's files costs a request, which most models do not need.
        asks_for_weights = "safetensors" in str(error) or "no file named" in str(error)
        if Path(source).is_dir() or not asks_for_weights:
            raise
        variant = variant_on_hub(source, revision, parts)
        if variant is None:
            raise
        pipeline = read(variant=variant)
    # Recorded here because diffusers does not keep it.
    pipeline.weights_variant = variant
    return pipeline


def _cannot_load(model_id: str, revision: str | None, error: Exception, *, quantizes: bool) -> str:
    name = f"{model_id}@{revision}" if revision else model_id
    text = str(error)
    if quantizes and "quantiz" in text.lower():
        remedy = "remove --quantize, or choose another kind"
    elif not isinstance(error, OSError):
        remedy = "check that it is a diffusers text-to-image model of this diffusers version"
        if "trust_remote_code" in text:
            remedy = "code that comes with a model is never run; choose another model"
    elif "safetensors" in text:
        remedy = (
            "only safetensors weights are loaded; choose a model or revision that has them, or "
            "load its pickled weights with --allow-pickle if you trust their source"
        )
    elif "Unable to load weights" in text:
        remedy = "the weights are damaged, or pickles that contain more than tensors"
    elif Path(model_id).is_dir():
        remedy = "check that the directory is complete"
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
            f"model {model_id}: {type(pipeline).__name__} is not a text-to-image pipeline; "
            "choose a model that generates images from a prompt alone"
        )


def _use_channels_last(pipeline: Any) -> None:
    """Store convolution weights in channels-last order, which is faster on CPUs and GPUs."""
    import torch

    for name in ("unet", "vae"):
        network = getattr(pipeline, name, None)
        if network is not None:
            network.to(memory_format=torch.channels_last)


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Silence progress bars and developer advice of the libraries while they load."""
    with listing_packages_on_demand():
        import diffusers
        import transformers

    loggers = (diffusers.utils.logging, transformers.utils.logging)
    with quiet(*loggers), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
