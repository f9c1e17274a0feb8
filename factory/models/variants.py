"""Find model weights that exist only as a variant, such as `fp16`."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

# Parts of a pipeline that filter or watermark images, or only serve that.
LEFT_OUT = ("safety_checker", "feature_extractor")

# `unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors`, with or without variant and number
# of the file, in both of diffusers' orders.
_WEIGHTS = re.compile(
    r"(?P<part>[^/]+)/(?:diffusion_pytorch_model|pytorch_model|model)(?:-\d+-of-\d+)?"
    r"(?:\.(?P<variant>[A-Za-z]\w*))?(?:-\d+-of-\d+)?\.safetensors"
)
# Highest precision first; others follow by name.
_ORDER = ("fp32", "bf16", "fp16")


def needed_variant(files: Iterable[str], parts: Collection[str]) -> str | None:
    """Return the weights variant to load; None if there are plain weights.

    The choice depends on the files alone, so a commit always gives the same one.

    Args:
        files: Paths in the model's folder or repository.
        parts: Names of the pipeline's parts; other folders are ignored.
    """
    found: dict[str, set[str | None]] = {}
    for file in files:
        match = _WEIGHTS.fullmatch(file)
        if match and match["part"] in parts and match["part"] not in LEFT_OUT:
            found.setdefault(match["part"], set()).add(match["variant"])
    names = {name for there in found.values() if None not in there for name in there if name}
    fitting = [name for name in names if all(there & {None, name} for there in found.values())]
    return min(fitting, key=_preference, default=None)


def variant_of_folder(folder: Path, parts: Collection[str]) -> str | None:
    """Return `needed_variant` of a local model folder."""
    files = (path.relative_to(folder).as_posix() for path in folder.glob("*/*.safetensors"))
    return needed_variant(files, parts)


def variant_on_hub(model_id: str, revision: str | None, parts: Collection[str]) -> str | None:
    """Return `needed_variant` of a Hub model, or offline of its cached copy."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    from factory.hub.download import offline

    if offline():
        cached = try_to_load_from_cache(model_id, "model_index.json", revision=revision)
        return variant_of_folder(Path(cached).parent, parts) if isinstance(cached, str) else None
    return needed_variant(HfApi().list_repo_files(model_id, revision=revision), parts)


def _preference(name: str) -> tuple[int, str]:
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)
