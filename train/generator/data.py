"""Pictures and what is known of them, in memory-mapped files that all processes share.

A source is a sequence of (picture, facts): digits drawn here, or rows of any image set. `prepare`
writes it once; every process fills its part. Sizes and paths come from `config`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from factory.errors import UserError
from train.generator.captions import Captioner, Facts, caption_digit, caption_named
from train.generator.config import DIGITS, DataConfig
from train.generator.digits import draw_glyph
from train.generator.domains import DOMAINS, IMAGE_SIZE, render

Pictures = NDArray[np.uint8]


class Source(Protocol):
    """Numbered pictures."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def draw(self, index: int) -> tuple[Pictures, Facts]:
        """Return picture `index`, uint8 (size, size, 3) RGB, and what is known of it."""
        ...


class DigitSource:
    """Digits in every domain; picture i is a pure function of (seed, i)."""

    def __init__(self, config: DataConfig) -> None:
        if config.image_size != IMAGE_SIZE:
            raise UserError(
                f"data.image_size: digits are drawn at {IMAGE_SIZE} pixels, not "
                f"{config.image_size}; leave it out or choose another data.source"
            )
        self._config = config
        weights = np.array([domain.weight for domain in DOMAINS.values()])
        self._edges = np.cumsum(weights / weights.sum())
        self._names = list(DOMAINS)

    def __len__(self) -> int:
        """Return how many there are."""
        return self._config.images

    def draw(self, index: int) -> tuple[Pictures, Facts]:
        """Draw picture `index`; digits take turns."""
        rng = np.random.default_rng([self._config.seed, index])
        name = self._names[min(int(np.searchsorted(self._edges, rng.random())), len(DOMAINS) - 1)]
        printed = bool(rng.random() < DOMAINS[name].printed)
        glyph = draw_glyph(rng, digit=index % 10, printed=printed)
        facts = {
            "digit": str(index % 10),
            "printed": "yes" if printed else "no",
            "domain": name,
            "class": str(index % 10),
        }
        return render(glyph, name, rng), facts


class CaptionedSource:
    """The rows of an image set, cut square and resized."""

    def __init__(self, config: DataConfig) -> None:
        import datasets

        rows = datasets.load_dataset(config.source, config.config_name, split=config.split)
        columns = {
            "image": config.image_column,
            "caption": None if config.name_column else config.caption_column,
            "name": config.name_column,
            "general": config.general_column,
            "view": config.view_column,
            "domain": config.domain_column,
        }
        self._columns = {fact: column for fact, column in columns.items() if column}
        missing = sorted(set(self._columns.values()) - set(rows.column_names))
        if missing:
            raise UserError(
                f"{config.source}: no column {', '.join(missing)}; it has "
                f"{', '.join(sorted(rows.column_names))}"
            )
        self._rows = rows
        self._count = min(len(rows), config.images)
        self._config = config

    def __len__(self) -> int:
        """Return how many there are, mirror images included."""
        return self._count * (2 if self._config.mirror else 1)

    def draw(self, index: int) -> tuple[Pictures, Facts]:
        """Read picture `index`; the second half are mirror images, if any."""
        row = self._rows[index % self._count]
        picture = _square(row[self._columns["image"]], size=self._config.image_size)
        if index >= self._count:
            picture = picture[:, ::-1].copy()
        facts = {fact: self._text(row, column) for fact, column in self._columns.items()}
        facts.pop("image")
        facts["class"] = facts.get("name") or facts.get("caption", "")
        return picture, facts

    def _text(self, row: Mapping[str, Any], column: str) -> str:
        feature = self._rows.features[column]
        value = row[column]
        if hasattr(feature, "int2str") and value is not None:
            value = feature.int2str(value).replace("_", " ")
        return "" if value is None else str(value)


def _square(image: Any, *, size: int) -> Pictures:
    from PIL import Image, ImageOps

    fitted = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
    return np.asarray(fitted, np.uint8)


def open_source(config: DataConfig) -> Source:
    """Open the source that a run names."""
    return DigitSource(config) if config.source == DIGITS else CaptionedSource(config)


def captioner(config: DataConfig) -> Captioner:
    """Return what words this source's facts."""
    return caption_digit if config.source == DIGITS else caption_named


@dataclass(frozen=True)
class Collection:
    """Prepared pictures.

    Attributes:
        images: uint8 (N, size, size, 3), memory-mapped.
        facts: What is known of each.
    """

    images: Pictures
    facts: list[Facts]

    def classes(self) -> NDArray[np.int64]:
        """Number the distinct `class` facts; pictures of one class share a number."""
        names = {name: i for i, name in enumerate(sorted({f["class"] for f in self.facts}))}
        return np.array([names[f["class"]] for f in self.facts])


def prepare_part(config: DataConfig, folder: Path, *, rank: int, world_size: int) -> None:
    """Write this process's share of the pictures; whole parts of an earlier start are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / f"part-{config.fingerprint()}-{rank}-of-{world_size}.npz"
    if done.exists() or (folder / "collection.json").exists():
        return
    source = open_source(config)
    drawn = [source.draw(index) for index in range(rank, len(source), world_size)]
    temporary = done.with_name(f"tmp-{done.name}")
    facts = json.dumps([facts for _, facts in drawn])
    np.savez(temporary, images=np.stack([image for image, _ in drawn]), facts=np.array(facts))
    temporary.rename(done)


def join_parts(config: DataConfig, folder: Path, *, world_size: int) -> None:
    """Join the parts into one collection. One process calls it, after all have theirs."""
    if (folder / "collection.json").exists():
        return
    names = [f"part-{config.fingerprint()}-{r}-of-{world_size}.npz" for r in range(world_size)]
    parts = [np.load(folder / name) for name in names]
    images = [part["images"] for part in parts]
    facts = [json.loads(str(part["facts"])) for part in parts]
    total = sum(map(len, images))
    merged = np.empty((total, *images[0].shape[1:]), np.uint8)
    known: list[Facts] = [{}] * total
    for rank in range(world_size):
        merged[rank::world_size] = images[rank]
        known[rank::world_size] = facts[rank]
    np.save(folder / "images.npy", merged)
    record = {"fingerprint": config.fingerprint(), "facts": known}
    temporary = folder / "tmp-collection.json"
    temporary.write_text(json.dumps(record), encoding="utf-8")
    temporary.rename(folder / "collection.json")
    for name in names:
        (folder / name).unlink()


def load_collection(config: DataConfig, folder: Path) -> Collection:
    """Open what `join_parts` wrote.

    Raises:
        UserError: The folder holds the pictures of other settings.
    """
    record = json.loads((folder / "collection.json").read_text(encoding="utf-8"))
    if record["fingerprint"] != config.fingerprint():
        raise UserError(f"{folder}: made with other data settings; choose another --out")
    return Collection(np.load(folder / "images.npy", mmap_mode="r"), record["facts"])
