"""Token limits of a model's text encoders, from its tokenizers.

Pipelines truncate longer prompts silently. Models with several text encoders have several limits:
77 tokens for CLIP, up to 512 for T5.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.common.errors import UserError
from factory.common.untrusted_files import read_json
from factory.models.embedded import EMBEDDED_ID, embedded_dir
from factory.models.quiet import quiet_transformers
from factory.recipe.schema import Model

_NAME = "tokenizer"
_TOKENIZER_CLASS = re.compile(r"(?!Auto)\w*Tokenizer(Fast)?")
_ARGUMENT = "max_sequence_length"
# Tokenizers without a limit have a huge number instead.
_MOST_TOKENS = 1_000_000


@dataclass(frozen=True)
class TextEncoder:
    """One of a model's text encoders.

    Attributes:
        name: Name of its tokenizer in the pipeline, e.g. `tokenizer_2`.
        limit: Maximum number of tokens, start and end tokens included.
        count: Returns the number of tokens of a text, start and end tokens included.
    """

    name: str
    limit: int
    count: Callable[[str], int]


def encoders_of_pipeline(pipeline: Any) -> list[TextEncoder]:
    """Return the text encoders of a loaded pipeline whose limits are known."""
    found = []
    for name in _names(dict(pipeline.config)):
        tokenizer = getattr(pipeline, name, None)
        if tokenizer is not None:
            limit = _limit(type(tokenizer).__name__, tokenizer.model_max_length, type(pipeline))
            found.append(TextEncoder(name, limit, _counter(tokenizer)))
    return [one for one in found if one.limit < _MOST_TOKENS]


def encoders_at_hand(model: Model) -> list[TextEncoder]:
    """Return the text encoders of a model whose tokenizers are on this machine, without downloads.

    Args:
        model: The embedded one, a directory, or a Hub id, which is looked up in the local cache.
    """
    folder = _folder(model)
    if folder is None:
        return []
    try:
        index = read_json(folder / "model_index.json")
        found = [_read(folder / name, index, index[name][1]) for name in _names(index)]
    except Exception:  # noqa: BLE001 (the tokenizers library raises nothing narrower)
        # Models that cannot be read are reported by the build.
        return []
    return [one for one in found if one.limit < _MOST_TOKENS]


def _folder(model: Model) -> Path | None:
    if model.id == EMBEDDED_ID:
        return embedded_dir()
    if Path(model.id).is_dir():
        return Path(model.id)
    from huggingface_hub import constants

    # Looked for first, because the Hub's client takes 0.2 s to import.
    if not Path(constants.HF_HUB_CACHE, f"models--{model.id.replace('/', '--')}").is_dir():
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model.id, "model_index.json", revision=model.revision)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _names(index: dict[str, Any]) -> list[str]:
    """Return the existing tokenizers listed in a `model_index.json`."""
    listed = [name for name in index if name.startswith(_NAME)]
    return sorted(name for name in listed if index[name] and index[name][1])


def _read(folder: Path, index: dict[str, Any], class_name: str) -> TextEncoder:
    """Read one tokenizer, with the light library if its file allows it."""
    config = read_json(folder / "tokenizer_config.json")
    pipeline: Any = None
    if "CLIP" not in class_name:
        import diffusers

        pipeline = getattr(diffusers, index["_class_name"])
    limit = _limit(class_name, config.get("model_max_length", _MOST_TOKENS), pipeline)
    if (folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
        fast.no_truncation()
        fast.no_padding()
        return TextEncoder(folder.name, limit, lambda text: len(fast.encode(text).ids))
    with quiet_transformers():
        tokenizer = _tokenizer_class(class_name).from_pretrained(folder, trust_remote_code=False)
    return TextEncoder(folder.name, limit, _counter(tokenizer))


def _tokenizer_class(name: str) -> Any:
    """Return a tokenizer class of transformers; `AutoTokenizer` would load code from the folder."""
    import transformers

    if not _TOKENIZER_CLASS.fullmatch(name):
        raise UserError(
            f"{name} is not a tokenizer class of transformers; use a model with another tokenizer"
        )
    return getattr(transformers, name)


def _limit(tokenizer_name: str, own: float, pipeline: Any) -> int:
    """Return a pipeline's token limit: CLIP's own limit, else the call's default."""
    if "CLIP" not in tokenizer_name:
        for call in (getattr(pipeline, "encode_prompt", None), pipeline.__call__):
            accepted = inspect.signature(call).parameters if call else {}
            if isinstance(default := getattr(accepted.get(_ARGUMENT), "default", None), int):
                return default
    return int(min(own, _MOST_TOKENS))


def _counter(tokenizer: Any) -> Callable[[str], int]:
    def count(text: str) -> int:
        with quiet_transformers():
            return len(tokenizer(text, truncation=False, padding=False)["input_ids"])

    return count
