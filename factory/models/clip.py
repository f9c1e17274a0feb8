"""CLIP and SigLIP models of transformers: embed images and prompts in one space.

Used for zero-shot rows (`eval clip`) and the CLIP score (`factory gate`). Only safetensors weights
are loaded; code that comes with a model is never run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.common.errors import FactoryError, UserError, first_line
from factory.common.storage import at_home
from factory.hub.ids import is_model_id
from factory.models.folder_configs import check_configs, configs_of
from factory.models.model_size import no_larger_than_folder
from factory.models.quiet import quiet_transformers

if TYPE_CHECKING:
    import torch

_TEXT_BATCH = 256


@dataclass(frozen=True)
class ClipModel:
    """A loaded model.

    Attributes:
        name: Name as given.
        revision: Hub commit, or a hash of a directory's files.
        model: The model in eval mode, float32.
        is_sigmoid: True for SigLIP: outputs are independent probabilities per prompt.
    """

    name: str
    revision: str
    model: Any
    is_sigmoid: bool
    _tokenizer: Any
    _image_processor: Any

    def pixels(self, image: Any) -> torch.Tensor:
        """Return the vision input for a PIL image, shape (3, height, width)."""
        found = self._image_processor(images=[image.convert("RGB")], return_tensors="pt")
        pixel_values: torch.Tensor = found["pixel_values"][0]
        return pixel_values

    def embed_images(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return image embeddings as unit vectors, (B, D), of `pixels` (B, 3, height, width)."""
        return _unit(self.model.get_image_features(pixel_values=pixels))

    @property
    def max_tokens(self) -> int:
        """Maximum number of text tokens, start and end tokens included."""
        limit = int(getattr(self.model.config.text_config, "max_position_embeddings", 77))
        return min(limit, 64) if self.is_sigmoid else limit

    def num_cut(self, texts: Sequence[str]) -> int:
        """Return the number of texts that exceed the token limit."""
        with quiet_transformers():
            tokens = self._tokenizer(list(texts), padding=False, truncation=False)["input_ids"]
        return sum(len(one) > self.max_tokens for one in tokens)

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Return text embeddings as unit vectors, (N, D); `num_cut` counts truncated texts."""
        import torch

        # SigLIP was trained on texts padded to its full length.
        padding = "max_length" if self.is_sigmoid else True
        options = {"padding": padding, "truncation": True, "max_length": self.max_tokens}
        parts = []
        with torch.inference_mode():
            for start in range(0, len(texts), _TEXT_BATCH):
                batch = list(texts[start : start + _TEXT_BATCH])
                tokens = self._tokenizer(batch, return_tensors="pt", **options)
                tokens = {name: value.to(self.model.device) for name, value in tokens.items()}
                parts.append(_unit(self.model.get_text_features(**tokens)))
        return torch.cat(parts)

    def logits(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Return the model's logits for unit vectors, (B, N), before softmax or sigmoid."""
        found: torch.Tensor = images @ texts.T * self.model.logit_scale.exp()
        return found + self.model.logit_bias if self.is_sigmoid else found


def require_folder(name: str, *, option: str) -> None:
    """Reject the path of a folder that does not exist, before transformers is imported.

    Args:
        name: Directory, or Hub id with an optional `@REVISION`.
        option: Option to name in messages.

    Raises:
        UserError: It is a path, not an id, and nothing is there.
    """
    source, _ = split_revision(name)
    if "/" in source and not at_home(source).exists() and not is_model_id(source):
        raise UserError(cannot_load(option, name, FileNotFoundError("no such directory")))


def load_clip(name: str, *, option: str = "--model") -> ClipModel:
    """Load a model in float32 on the CPU.

    Args:
        name: Directory, or Hub id with an optional `@REVISION`.
        option: Option to name in messages.

    Raises:
        UserError: It cannot be loaded, or is not a CLIP or SigLIP model.
    """
    require_folder(name, option=option)

    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    source, revision = split_revision(name)
    options = only_data(revision)
    with reading(name, option=option):
        model = AutoModel.from_pretrained(source, use_safetensors=True, **options)
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        image_processor = AutoImageProcessor.from_pretrained(source, **options)
    if not (hasattr(model, "get_image_features") and hasattr(model, "logit_scale")):
        raise UserError(
            f"{option} {name}: {type(model).__name__} does not compare images with texts; "
            "choose a CLIP or SigLIP model"
        )
    return ClipModel(
        name=name,
        revision=revision_of(source, model.config),
        model=model.float().eval(),
        is_sigmoid=hasattr(model, "logit_bias"),
        _tokenizer=tokenizer,
        _image_processor=image_processor,
    )


@contextmanager
def reading(name: str, *, option: str) -> Iterator[None]:
    """Check a model's JSON files, and bound what transformers creates from them.

    Args:
        name: Directory, or Hub id with an optional `@REVISION`.
        option: Option to name in messages.

    Raises:
        UserError: It cannot be loaded, or its files are odd.
    """
    from transformers import PreTrainedConfig

    source, revision = split_revision(name)
    with quiet_transformers():
        try:
            if not Path(source).is_dir():
                # Its message about a model that is not there is better than that of the Hub.
                PreTrainedConfig.get_config_dict(source, **only_data(revision))
            folder = configs_of(source, revision)
            check_configs(folder)
            with no_larger_than_folder(lambda: folder):
                yield
        except FactoryError:
            raise
        except Exception as error:  # noqa: BLE001 (odd files raise anything)
            raise UserError(cannot_load(option, name, error)) from None


def split_revision(name: str) -> tuple[str, str | None]:
    """Split a directory or Hub id from the revision after `@`."""
    if at_home(name).is_dir():
        return str(at_home(name)), None
    source, _, revision = name.partition("@")
    return source, revision or None


def only_data(revision: str | None) -> dict[str, Any]:
    """Return options for `from_pretrained` that pin the revision and forbid a model's code."""
    # Without it, transformers asks on stdin whether to run the code.
    return {"trust_remote_code": False} | ({"revision": revision} if revision else {})


def revision_of(source: str, config: Any) -> str:
    """Return a loaded model's revision: the Hub commit, or a hash of a directory's files."""
    folder = Path(source)
    if not folder.is_dir():
        return str(getattr(config, "_commit_hash", None) or "unknown")
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix in {".json", ".safetensors", ".bin", ".txt", ".model"}:
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:40]


def cannot_load(option: str, name: str, error: BaseException) -> str:
    """Return the message for a model that transformers could not load."""
    text = str(error)
    if "trust_remote_code" in text:
        return (
            f"{option} {name}: needs code that comes with the model, which is never run; choose "
            "another"
        )
    if re.search(r"file named\s+\S*model\.safetensors", text):
        return (
            f"{option} {name}: has no safetensors weights, and pickled ones are not loaded; choose "
            "a model that has them, or save this one with save_pretrained"
        )
    reason = first_line(error)
    return (
        f"{option} {name}: cannot be loaded ({reason}); check the id and the connection to the "
        "Hub, or name a local directory"
    )


def _unit(found: Any) -> torch.Tensor:
    """Return unit vectors from the output of `get_..._features`: a tensor or a model output."""
    vectors: torch.Tensor = getattr(found, "pooler_output", found)
    unit: torch.Tensor = vectors / vectors.norm(dim=-1, keepdim=True)
    return unit
