"""Find near-duplicates by the cosine similarity of embeddings.

As with difference hashes, an image repeats an earlier one of its config, the first image of a group
is never flagged, and flagged images are not compared with: leaving them out keeps one of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.data.columns import EMBEDDING_HASH
from factory.gates.base import ConfigRows
from factory.gates.embeddings import Embeddings, Vectors, blocks
from factory.shards.manifest import GateEntry
from factory.shards.parquet import Row

FLAG = "embedding_duplicate"
NEAREST = "embedding_nearest"
SIMILARITY = "embedding_similarity"
OTHER_LABEL = "embedding_duplicate_other_label"
THRESHOLD = 0.95
# Vectors that are compared at a time: products of 1,024 x 8,192 numbers take 32 MiB.
_BLOCK, _KEPT = 1024, 8192
_MOST = 0.25
"""Share of near-duplicates above which the threshold is doubtful."""


@dataclass(frozen=True)
class _Nearest:
    """The most similar earlier image of each image of a block, shape (images,) each.

    Attributes:
        similarity: Cosine similarity; -2 without an earlier image.
        place: Its place in the config.
        is_noise: Whether a near-duplicate of another class was found.
    """

    similarity: NDArray[np.float32]
    place: NDArray[np.int64]
    is_noise: NDArray[np.bool_]

    @classmethod
    def nothing(cls, count: int) -> _Nearest:
        return cls(np.full(count, -2, np.float32), np.full(count, -1), np.zeros(count, bool))

    def see(
        self, rows: Any, similar: Vectors, places: NDArray[np.int64], noise: NDArray[np.bool_]
    ) -> None:
        """Compare some images of the block with others, similarities of shape (rows, places)."""
        if not len(places):
            return
        best = similar.argmax(axis=1)
        value = np.take_along_axis(similar, best[:, None], axis=1)[:, 0]
        closer = value > self.similarity[rows]
        self.similarity[rows] = np.where(closer, value, self.similarity[rows])
        self.place[rows] = np.where(closer, places[best], self.place[rows])
        self.is_noise[rows] |= noise.any(axis=1)


class EmbeddingDuplicates:
    """Flags images whose embedding is nearly that of an earlier image of their config."""

    name = "embedding_duplicates"
    remembers = True

    def __init__(self, embeddings: Embeddings, *, similarity: float = THRESHOLD) -> None:
        """Set the threshold.

        Args:
            embeddings: The model.
            similarity: Cosine similarity from which two images are near-duplicates.
        """
        self._embeddings, self._threshold = embeddings, similarity
        # As a number of 32 bits, as similarities are.
        self._limit = float(np.float32(similarity))
        self._measured = self._flagged = 0

    def entry(self) -> GateEntry:
        """Return columns, model and threshold."""
        return GateEntry(
            columns={
                FLAG: "bool",
                NEAREST: "int64",
                SIMILARITY: "float32",
                OTHER_LABEL: "bool",
                EMBEDDING_HASH: "int64",
            },
            method=f"cosine similarity of {self._embeddings.method}",
            model=self._embeddings.model,
            revision=self._embeddings.revision,
            thresholds={"similarity": self._threshold},
        )

    def begin(self, config: str, rows: ConfigRows) -> None:
        """Embed the images of a config."""
        self._embeddings.read(config, rows)
        self._place, self._kept = 0, np.empty(0, np.int64)

    def measure(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Return each row's most similar earlier image, and whether the two are near-duplicates."""
        found: list[dict[str, Any]] = []
        for block in blocks(len(rows), _BLOCK):
            size = block.stop - block.start
            found += self._compare(np.arange(self._place, self._place + size))
            self._place += size
        self._measured += len(found)
        self._flagged += sum(one[FLAG] for one in found)
        return found

    def notes(self) -> list[str]:
        """Return whether the threshold fits the model badly."""
        if self._flagged <= _MOST * self._measured:
            return []
        return [
            f"{self._flagged:,} of {self._measured:,} images are near-duplicates by embedding: "
            f"{self._embeddings.model} finds most of them similar; give an --embedding-similarity "
            f"above {self._threshold:g}, or another model"
        ]

    def _compare(self, own: NDArray[np.int64]) -> list[dict[str, Any]]:
        """Return the values of some images; those before them are measured."""
        nearest = _Nearest.nothing(len(own))
        for block in blocks(len(self._kept), _KEPT):
            kept = self._kept[block]
            nearest.see(slice(None), *self._compared(own, kept))
        similar, _, noise = self._compared(own, own)
        new: list[int] = []
        for row in range(len(own)):
            one = slice(row, row + 1)
            nearest.see(one, similar[one, new], own[new], noise[one, new])
            if nearest.similarity[row] < self._limit:
                new.append(row)
        self._kept = np.concatenate([self._kept, own[new]])
        return self._values(own, nearest)

    def _compared(
        self, own: NDArray[np.int64], others: NDArray[np.int64]
    ) -> tuple[Vectors, NDArray[np.int64], NDArray[np.bool_]]:
        """Return similarities, the others, and which are near-duplicates of another class."""
        import torch

        vectors, labels = self._embeddings.vectors, self._embeddings.labels
        left, right = (torch.from_numpy(np.array(vectors[places])) for places in (own, others))
        device = self._embeddings.device
        similar: Vectors = (left.to(device) @ right.to(device).T).clamp(-1, 1).cpu().numpy()
        is_other = labels[own][:, None] != labels[others]
        return similar, others, (similar >= self._limit) & is_other

    def _values(self, own: NDArray[np.int64], nearest: _Nearest) -> list[dict[str, Any]]:
        indexes = self._embeddings.indexes
        hashes = sign_hashes(np.asarray(self._embeddings.vectors[own])).tolist()
        found = []
        for row, (similarity, place) in enumerate(
            zip(nearest.similarity.tolist(), nearest.place.tolist(), strict=True)
        ):
            is_first = place < 0
            found.append(
                {
                    FLAG: similarity >= self._limit,
                    NEAREST: None if is_first else int(indexes[place]),
                    SIMILARITY: None if is_first else similarity,
                    OTHER_LABEL: bool(nearest.is_noise[row]),
                    EMBEDDING_HASH: hashes[row],
                }
            )
        return found


def sign_hashes(vectors: Vectors) -> NDArray[np.int64]:
    """Return 64 bits per vector: the signs of its products with 64 random directions.

    The more similar two vectors are, the fewer bits differ (Charikar, 2002).

    Args:
        vectors: Shape (images, D).
    """
    directions = np.random.default_rng(0).standard_normal((vectors.shape[1], 64))
    bits = np.packbits(vectors @ directions > 0, axis=1)
    # Signed: no column of a dataset is unsigned.
    return bits.view(">i8")[:, 0].astype(np.int64)
