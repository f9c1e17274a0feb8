"""The images of a run in memory-mapped files shared by all processes, and their sampling weights.

`prepare_part` lets every process write its rows, `join_parts` combines them.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import UserError
from factory.common.whole_files import replace_text
from train.generator.config import DataConfig, SourceConfig
from train.generator.images.captions import Facts
from train.generator.images.rows import Images
from train.generator.images.sources import Source, open_source

IMAGES = "images.npy"
RECORD = "collection.json"
HELD_OUT = "held-out.npz"


@dataclass(frozen=True)
class Collection:
    """Prepared images.

    Attributes:
        images: uint8 (N, size, size, 3), memory-mapped.
        facts: Facts of each image; `source` is the number of its source.
    """

    images: Images
    facts: list[Facts]

    def classes(self) -> NDArray[np.int64]:
        """Number the distinct classes; images of one class and source share a number."""
        keys = [(known["source"], known["class"]) for known in self.facts]
        numbers = {key: i for i, key in enumerate(sorted(set(keys)))}
        return np.array([numbers[key] for key in keys])


def prepare_part(config: DataConfig, folder: Path, *, rank: int, world_size: int) -> None:
    """Write this process's share of the images; complete parts of an earlier start are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / _part_name(config, rank, world_size)
    if done.exists() or (folder / RECORD).exists():
        return
    sources = [open_source(one, image_size=config.image_size) for one in config.sources]
    numbered = [(s, i) for s, source in enumerate(sources) for i in range(len(source))]
    mine = range(rank, len(numbered), world_size)
    size = config.image_size
    images = np.lib.format.open_memmap(
        done.with_suffix(".npy"), mode="w+", dtype=np.uint8, shape=(len(mine), size, size, 3)
    )
    facts: list[Facts] = []
    for place, number in enumerate(mine):
        which, index = numbered[number]
        images[place], known = sources[which].sample(index)
        facts.append({**known, "source": str(which)})
    images.flush()
    if rank == 0:
        _save_held_out(sources, folder)
    done.write_text(json.dumps(facts), encoding="utf-8")


def _part_name(config: DataConfig, rank: int, world_size: int) -> str:
    return f"part-{config.fingerprint()}-{rank}-of-{world_size}.json"


def _save_held_out(sources: list[Source], folder: Path) -> None:
    pairs = [pair for source in sources for pair in source.held_out()]
    # An earlier start with other settings may have been killed before it saved any.
    (folder / HELD_OUT).unlink(missing_ok=True)
    if pairs:
        images = np.stack([image for image, _ in pairs])
        np.savez(folder / HELD_OUT, images=images, classes=np.array([name for _, name in pairs]))


def load_held_out(folder: Path) -> tuple[Images, NDArray[np.str_]] | None:
    """Return the held-out photographs and their classes, if a run has any."""
    path = folder / HELD_OUT
    if not path.exists():
        return None
    with np.load(path) as saved:
        return saved["images"], saved["classes"]


def join_parts(config: DataConfig, folder: Path, *, world_size: int) -> None:
    """Join the parts into one collection; one process calls it after all have finished theirs."""
    if (folder / RECORD).exists():
        return
    names = [folder / _part_name(config, rank, world_size) for rank in range(world_size)]
    facts = [json.loads(name.read_text(encoding="utf-8")) for name in names]
    parts = [np.load(name.with_suffix(".npy"), mmap_mode="r") for name in names]
    total = sum(map(len, parts))
    merged = np.lib.format.open_memmap(
        folder / IMAGES, mode="w+", dtype=np.uint8, shape=(total, *parts[0].shape[1:])
    )
    known: list[Facts] = [{}] * total
    for rank in range(world_size):
        merged[rank::world_size] = parts[rank]
        known[rank::world_size] = facts[rank]
    merged.flush()
    record = {"fingerprint": config.fingerprint(), "facts": known}
    replace_text(folder / RECORD, json.dumps(record))
    del parts
    for name in names:
        name.unlink()
        name.with_suffix(".npy").unlink()


def load_collection(config: DataConfig, folder: Path) -> Collection:
    """Open the collection written by `join_parts`.

    Raises:
        UserError: The folder contains images of other settings.
    """
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if record["fingerprint"] != config.fingerprint():
        raise UserError(f"{folder}: was made with other data settings; choose another --out")
    return Collection(np.load(folder / IMAGES, mmap_mode="r"), record["facts"])


def sampling_weights(config: DataConfig, facts: list[Facts]) -> NDArray[np.float64]:
    """Return the sampling probabilities of all images.

    A source gets its share. Within it, the focus classes get theirs in equal parts. Of the
    remaining classes, a class of n images is weighted with n to the power of 1 - balance.
    """
    weights = np.zeros(len(facts))
    which = np.array([int(known["source"]) for known in facts])
    for number, source in enumerate(config.sources):
        rows = np.flatnonzero(which == number)
        if len(rows):
            within = _within_source(source, [facts[row] for row in rows])
            weights[rows] = source.share * within / within.sum()
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def _within_source(source: SourceConfig, facts: list[Facts]) -> NDArray[np.float64]:
    names, inverse, counts = np.unique(
        [known["class"] for known in facts], return_inverse=True, return_counts=True
    )
    focused = np.isin(names, source.focus)
    by_class = counts.astype(np.float64) ** (1 - source.balance)
    if focused.any():
        by_class[focused] = source.focus_share / focused.sum()
    if focused.any() and not focused.all():
        others = by_class[~focused]
        by_class[~focused] = (1 - source.focus_share) * others / others.sum()
    weights: NDArray[np.float64] = (by_class / counts)[inverse]
    return weights
