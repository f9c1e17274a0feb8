"""Sources of captioned images: rendered digits, or the rows of an image dataset.

A source is a sequence of (image, facts), each a pure function of its index, so that processes can
share the work. Captions are made from facts.
"""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from factory.common.errors import UserError
from train.generator.config import DIGITS, SourceConfig
from train.generator.images.captions import Facts
from train.generator.images.digits import CANVAS, random_glyph
from train.generator.images.domains import DOMAINS, render
from train.generator.images.filters import FILTERS, apply_filter
from train.generator.images.rows import (
    SEPARATOR,
    Images,
    columns_of,
    facts_of,
    open_rows,
    read_pixels,
    read_texts,
)

log = logging.getLogger(__name__)


class Source(Protocol):
    """Indexed images."""

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def sample(self, index: int) -> tuple[Images, Facts]:
        """Return image `index`, uint8 (size, size, 3) RGB, and its facts."""
        ...

    def held_out(self) -> list[tuple[Images, str]]:
        """Return photographs that `sample` never returns, each with its focus class."""
        ...


class DigitSource:
    """Digits in every domain; image i is a pure function of (seed, i)."""

    def __init__(self, config: SourceConfig, *, image_size: int) -> None:
        if CANVAS % image_size:
            raise UserError(
                f"data.image_size: digits are rendered at {CANVAS} pixels or a divisor of it, not "
                f"{image_size}; remove it or choose another data source"
            )
        self._config = config
        self._size = image_size
        weights = np.array([domain.weight for domain in DOMAINS.values()])
        self._edges = np.cumsum(weights / weights.sum())
        self._names = list(DOMAINS)

    def __len__(self) -> int:
        """Return the number of images."""
        return self._config.images

    def sample(self, index: int) -> tuple[Images, Facts]:
        """Render image `index`; digits take turns."""
        rng = np.random.default_rng([self._config.seed, index])
        name = self._names[min(int(np.searchsorted(self._edges, rng.random())), len(DOMAINS) - 1)]
        printed = bool(rng.random() < DOMAINS[name].printed)
        glyph = random_glyph(rng, digit=index % 10, printed=printed)
        facts = {
            "digit": str(index % 10),
            "printed": "yes" if printed else "no",
            "domain": name,
            "class": str(index % 10),
        }
        return render(glyph, name, rng, size=self._size), facts

    def held_out(self) -> list[tuple[Images, str]]:
        """Return nothing: real digits are held out in `digits`."""
        return []


class CaptionedSource:
    """The rows of an image dataset, cropped square and resized; mirrored ones; filtered ones."""

    def __init__(self, config: SourceConfig, *, image_size: int) -> None:
        self._config = config
        self._size = image_size
        self._columns = columns_of(config)
        self._rows, self._folder = open_rows(config)
        unknown = sorted(set(config.filters) - set(FILTERS))
        if unknown:
            raise UserError(
                f"data.sources.filters: no filter {', '.join(unknown)}; there are "
                f"{', '.join(FILTERS)}"
            )
        self._facts = [self._read_facts(row) for row in read_texts(self._rows, self._columns)]
        self._held_out = _choose_held_out(self._facts, config)
        self._kept = self._choose_kept()
        self._unfiltered = len(self._kept) * (2 if config.mirror else 1)
        self._filtered = round(config.filtered * len(self._kept)) if config.filters else 0
        weights = np.array(list(config.filters.values()), np.float64)
        self._filter_edges = np.cumsum(weights / weights.sum()) if len(weights) else weights

    def __len__(self) -> int:
        """Return the number of images, mirrored and filtered ones included."""
        return self._unfiltered + self._filtered

    def sample(self, index: int) -> tuple[Images, Facts]:
        """Read image `index`."""
        if index >= self._unfiltered:
            return self._filter(index - self._unfiltered)
        row = int(self._kept[index % len(self._kept)])
        image = self._image(row)
        return image[:, ::-1].copy() if index >= len(self._kept) else image, dict(self._facts[row])

    def held_out(self) -> list[tuple[Images, str]]:
        """Return photographs that are never sampled, each with its focus class."""
        return [(self._image(row), self._facts[row]["class"]) for row in map(int, self._held_out)]

    def _filter(self, number: int) -> tuple[Images, Facts]:
        rng = np.random.default_rng([self._config.seed, number])
        row = int(self._kept[rng.integers(len(self._kept))])
        place = int(np.searchsorted(self._filter_edges, rng.random()))
        name = list(self._config.filters)[min(place, len(self._filter_edges) - 1)]
        image = self._image(row)
        if self._config.mirror and rng.random() < 0.5:
            image = image[:, ::-1].copy()
        return apply_filter(name, image, rng), {**self._facts[row], "filter": name}

    def _choose_kept(self) -> NDArray[np.int64]:
        """Return the training rows; log how many are skipped, and why."""
        source, most, facts = self._config.source, self._config.images, self._facts
        named = [i for i, known in enumerate(facts) if known.get("caption") or known.get("name")]
        if not named:
            raise UserError(f"{source}: no row has a caption or a name; choose another column")
        if len(named) < len(facts):
            log.info("%s: skipped %d rows without words", source, len(facts) - len(named))
        free = np.setdiff1d(np.array(named, np.int64), self._held_out)
        if len(free) > most:
            log.info("%s: using %d of %d images, as set by `images`", source, most, len(free))
        return free[:most]

    def _image(self, row: int) -> Images:
        return _square(
            read_pixels(self._rows, row, self._config, folder=self._folder), size=self._size
        )

    def _read_facts(self, row: Mapping[str, Any]) -> Facts:
        facts = facts_of(row, self._columns, self._rows.features)
        words = [facts.get("name", ""), *facts.get("general", "").split(SEPARATOR)]
        focus = next((word for word in self._config.focus if word in words), None)
        facts["class"] = focus or facts.get("name") or facts.get("caption", "")
        if focus:
            facts["focus"] = focus
        return facts


def _choose_held_out(facts: list[Facts], config: SourceConfig) -> NDArray[np.int64]:
    """Return rows of photographs to hold out from training, `held_out` per focus class."""
    chosen: list[int] = []
    rng = np.random.default_rng([config.seed, 1])
    for name in config.focus if config.held_out else ():
        rows = [
            i
            for i, known in enumerate(facts)
            if known["class"] == name and known.get("domain", "photo") == "photo"
        ]
        chosen += rng.permutation(rows)[: config.held_out].tolist()
    return np.array(sorted(chosen), np.int64)


def _square(image: Images, *, size: int) -> Images:
    from PIL import Image, ImageOps

    fitted = ImageOps.fit(Image.fromarray(image), (size, size), Image.Resampling.LANCZOS)
    return np.asarray(fitted, np.uint8)


def open_source(config: SourceConfig, *, image_size: int) -> Source:
    """Open one source of a run."""
    if config.source == DIGITS:
        return DigitSource(config, image_size=image_size)
    return CaptionedSource(config, image_size=image_size)
