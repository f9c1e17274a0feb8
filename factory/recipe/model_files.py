"""Read the configuration files of a local model without importing torch or diffusers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factory.common.errors import UserError
from factory.common.storage import at_home
from factory.common.untrusted_files import read_json
from factory.models.embedded import EMBEDDED_ID, embedded_dir
from factory.models.presets import find_preset
from factory.models.variants import variant_of_folder
from factory.recipe.schema import Model


@dataclass(frozen=True)
class PipelineSettings:
    """Defaults of a pipeline that a recipe does not override; None if unknown.

    Attributes:
        scheduler: Class name.
        height: Height of generated images in pixels.
        width: Width of generated images in pixels.
        variant: Variant of the weights, e.g. `fp16`; None for the plain ones.
        reads_guidance: Whether its network reads the guidance scale as an input.
    """

    scheduler: str | None = None
    height: int | None = None
    width: int | None = None
    variant: str | None = None
    # Only a loaded pipeline knows it.
    reads_guidance: bool | None = field(default=None, compare=False)


def settings_on_disk(model: Model) -> PipelineSettings:
    """Return the settings in a local model's configuration files; nothing for other models."""
    folder = _folder(model)
    parts = _config(folder / "model_index.json")
    variant = variant_of_folder(folder, parts) if parts else None
    return PipelineSettings(_scheduler_name(parts), *_own_size(folder), variant)


def generated_pixels(model: Model) -> int | None:
    """Return the number of pixels of a generated image; None if only the loaded model knows it."""
    own, preset = settings_on_disk(model), find_preset(model.id)
    side = preset.size if preset else None
    height, width = model.height or own.height or side, model.width or own.width or side
    return height * width if height and width else None


def scheduler_on_disk(model: Model) -> tuple[str, dict[str, Any]] | None:
    """Return class and settings of a local model's scheduler; None for other models."""
    folder = _folder(model)
    name = _scheduler_name(_config(folder / "model_index.json"))
    return (name, _config(folder / "scheduler/scheduler_config.json")) if name else None


def pipeline_class_on_disk(model: Model) -> str:
    """Return the class of a local model's pipeline; empty for other models."""
    return str(_config(_folder(model) / "model_index.json").get("_class_name", ""))


def size_step_on_disk(model: Model) -> int | None:
    """Return the number that heights and widths must be multiples of; None for other models."""
    folder = _folder(model)
    factor = _decoder_factor(folder)
    if factor is None:
        return None
    transformer = _config(folder / "transformer/config.json")
    packed = pipeline_class_on_disk(model).startswith("Flux")
    patch = 2 if packed else transformer.get("patch_size", 1)
    return max(8, factor * patch) if isinstance(patch, int) else None


def looks_like_path(name: str) -> bool:
    """Return whether a name is a path, and no id of the Hub."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name


def is_here(name: str) -> bool:
    """Return whether a name is that of a file or directory on this machine."""
    try:
        return at_home(name).exists()
    except (OSError, ValueError, RuntimeError):
        # Too long for the file system, invalid characters, or the home of an unknown user.
        return False


def on_this_machine(model: Model) -> list[str]:
    """Return the names of a model and its adapters that are paths, not ids of the Hub."""
    names = [model.id, *(adapter.id for adapter in model.adapters)]
    return [one for one in names if one != EMBEDDED_ID and (looks_like_path(one) or is_here(one))]


def weight_bytes(model: Model) -> int | None:
    """Return the size of a model's weights on this machine; None if they are not here."""
    folder = _folder(model)
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        try:
            found = try_to_load_from_cache(model.id, "model_index.json", revision=model.revision)
        except ValueError:
            return None
        folder = Path(found).parent if isinstance(found, str) else folder
    files = list(folder.glob("*/*.safetensors")) or list(folder.glob("*/*.bin"))
    return sum(path.stat().st_size for path in files) or None


def _folder(model: Model) -> Path:
    return embedded_dir() if model.id == EMBEDDED_ID else at_home(model.id)


def _scheduler_name(parts: dict[str, Any]) -> str | None:
    # Of a pair [library, class]: the class that diffusers uses, whatever its own file names.
    scheduler = parts.get("scheduler")
    name = scheduler[-1] if isinstance(scheduler, list) and scheduler else None
    return name if isinstance(name, str) else None


def _own_size(folder: Path) -> tuple[int | None, int | None]:
    network = _config(folder / "unet/config.json") or _config(folder / "transformer/config.json")
    size = network.get("sample_size")
    sides: list[Any] = size if isinstance(size, list) else [size, size]
    factor = _decoder_factor(folder)
    whole = len(sides) == 2 and all(isinstance(side, int) for side in sides)
    if factor is None or not whole:
        return None, None
    return sides[0] * factor, sides[1] * factor


def _decoder_factor(folder: Path) -> int | None:
    """Return the factor by which a model's decoder enlarges its latents."""
    decoder = _config(folder / "vae/config.json")
    # Small decoders differ from their encoders and list both.
    blocks = decoder.get("block_out_channels") or decoder.get("decoder_block_out_channels")
    # Every block of the decoder but the first doubles the sides.
    return 2 ** (len(blocks) - 1) if isinstance(blocks, list) and blocks else None


def _config(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}
