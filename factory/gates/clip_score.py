"""CLIP score: the cosine similarity of an image and its prompt in a CLIP model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from factory.data.columns import PROMPT
from factory.gates.base import ConfigRows, image_of
from factory.models.clip import ClipModel, load_clip
from factory.shards.manifest import GateEntry
from factory.shards.parquet import Row

if TYPE_CHECKING:
    import torch

COLUMN = "clip_score"


class ClipScore:
    """Scores images with any CLIP or SigLIP model of transformers."""

    name = "clip_score"
    remembers = False

    def __init__(self, model: str, *, device: str, batch_size: int) -> None:
        """Load the model.

        Raises:
            UserError: It cannot be loaded.
        """
        self._clip: ClipModel = load_clip(model, option="--clip-score")
        self._clip.model.to(device)
        self._device, self._batch_size = device, batch_size
        self._texts: dict[str, torch.Tensor] = {}
        self._cut = 0

    def entry(self) -> GateEntry:
        """Return column and model."""
        return GateEntry(
            columns={COLUMN: "float32"},
            method="cosine similarity of image and prompt",
            model=self._clip.name,
            revision=self._clip.revision,
        )

    def begin(self, config: str, rows: ConfigRows) -> None:
        """Keep nothing of other configs except their prompts."""

    def measure(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return the cosine similarity of each row's image and prompt."""
        import torch

        found: list[dict[str, Any]] = []
        self._embed([row[PROMPT] for row in rows])
        with torch.inference_mode():
            for start in range(0, len(rows), self._batch_size):
                batch = rows[start : start + self._batch_size]
                pixels = torch.stack([self._clip.pixels(image_of(row)) for row in batch])
                images = self._clip.embed_images(pixels.to(self._device))
                texts = torch.stack([self._texts[row[PROMPT]] for row in batch])
                found += [{COLUMN: value} for value in (images * texts).sum(dim=1).tolist()]
        return found

    def _embed(self, prompts: Sequence[str]) -> None:
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._texts]
        if new:
            self._texts |= dict(zip(new, self._clip.embed_texts(new), strict=True))
            self._cut += self._clip.num_cut(new)

    def notes(self) -> list[str]:
        """Return the number of prompts that exceed the token limit."""
        if not self._cut:
            return []
        return [
            f"{self._cut:,} of {len(self._texts):,} distinct prompts exceed the limit of "
            f"{self._clip.max_tokens} tokens of {self._clip.name}; {COLUMN} compares their "
            "images with the first tokens only"
        ]
