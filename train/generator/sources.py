"""Where captioned pictures come from: digits drawn here, or the rows of any image set.

A source is a sequence of (picture, facts), each a pure function of its number, so that processes
can share the work. Facts are what captions are made of.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from factory.errors import UserError
from factory.row_filter import filter_rows
from train.generator.boxes import check_box, cut_out
from train.generator.captions import Facts
from train.generator.config import DIGITS, SourceConfig
from train.generator.digits import CANVAS, draw_glyph
from train.generator.domains import DOMAINS, render
from train.generator.filters import FILTERS, apply_filter

log = logging.getLogger(__name__)

Pictures = NDArray[np.uint8]

# Joins several general words in one fact.
SEPARATOR = "|"
# Facts that words are made of; the others are pixels and where they are.
_TEXTS = ("caption", "name", "general", "view", "domain")


class Source(Protocol):
    """Numbered pictures."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def draw(self, index: int) -> tuple[Pictures, Facts]:
        """Return picture `index`, uint8 (size, size, 3) RGB, and what is known of it."""
        ...

    def held_out(self) -> list[tuple[Pictures, str]]:
        """Return photographs that `draw` never returns, each with its focus class."""
        ...


class DigitSource:
    """Digits in every domain; picture i is a pure function of (seed, i)."""

    def __init__(self, config: SourceConfig, *, image_size: int) -> None:
        if CANVAS % image_size:
            raise UserError(
                f"data.image_size: digits are drawn at {CANVAS} pixels or a whole part of it, not "
                f"{image_size}; leave it out or choose another data source"
            )
        self._config = config
        self._size = image_size
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
        return render(glyph, name, rng, size=self._size), facts

    def held_out(self) -> list[tuple[Pictures, str]]:
        """Return nothing: real digits are held out in `digits`."""
        return []


class CaptionedSource:
    """The rows of an image set, cut square and resized; then mirror images, then filtered ones.

    With a column of boxes it is the rows that have one, cut to it.
    """

    def __init__(self, config: SourceConfig, *, image_size: int) -> None:
        self._config = config
        self._size = image_size
        self._columns = _columns(config)
        self._rows = open_rows(config)
        unknown = sorted(set(config.filters) - set(FILTERS))
        if unknown:
            raise UserError(
                f"data.sources.filters: no filter {', '.join(unknown)}; there are "
                f"{', '.join(FILTERS)}"
            )
        facts = [self._read_facts(row) for row in _texts(self._rows, self._columns)]
        self._held_out = _choose_held_out(facts, config)
        self._kept = self._choose_kept(facts)
        self._facts = facts
        # Each kept row in turn, then each again, as often as there are cut-outs of a box.
        self._read = len(self._kept) * config.cuts
        self._filtered = round(config.filtered * self._read) if config.filters else 0
        weights = np.array(list(config.filters.values()), np.float64)
        self._filter_edges = np.cumsum(weights / weights.sum()) if len(weights) else weights

    def __len__(self) -> int:
        """Return how many there are, mirror images and filtered ones included."""
        return self._read * (2 if self._config.mirror else 1) + self._filtered

    def draw(self, index: int) -> tuple[Pictures, Facts]:
        """Read picture `index`."""
        read = self._read * (2 if self._config.mirror else 1)
        if index >= read:
            return self._filter(index - read)
        row = int(self._kept[index % len(self._kept)])
        picture = self._picture(row, np.random.default_rng([self._config.seed, 2, index]))
        return (picture[:, ::-1].copy() if index >= self._read else picture), self._facts[row]

    def held_out(self) -> list[tuple[Pictures, str]]:
        """Return photographs that are never drawn, each with its focus class.

        Of cut-outs none: the source of whole pictures returns those.
        """
        if self._config.box_column:
            return []
        return [(self._whole(int(row)), self._facts[row]["class"]) for row in self._held_out]

    def _choose_kept(self, facts: list[Facts]) -> NDArray[np.int64]:
        """Return the rows to learn from; says how many are left out, and why."""
        source, most = self._config.source, self._config.images
        named = [i for i, known in enumerate(facts) if known.get("caption") or known.get("name")]
        if not named:
            raise UserError(f"{source}: no row has a caption or a name; name another column")
        if len(named) < len(facts):
            log.info("%s: left out %d rows without words", source, len(facts) - len(named))
        free = np.setdiff1d(np.array(named, np.int64), self._held_out)
        if self._config.box_column:
            free = self._with_boxes(free)
        if len(free) > most:
            log.info("%s: reads %d of %d pictures, as `images` says", source, most, len(free))
        return free[:most]

    def _filter(self, number: int) -> tuple[Pictures, Facts]:
        rng = np.random.default_rng([self._config.seed, number])
        row = int(self._kept[rng.integers(len(self._kept))])
        place = int(np.searchsorted(self._filter_edges, rng.random()))
        name = list(self._config.filters)[min(place, len(self._filter_edges) - 1)]
        picture = self._picture(row, rng)
        if self._config.mirror and rng.random() < 0.5:
            picture = picture[:, ::-1].copy()
        return apply_filter(name, picture, rng), {**self._facts[row], "filter": name}

    def _picture(self, row: int, rng: np.random.Generator) -> Pictures:
        if not self._config.box_column:
            return self._whole(row)
        values = self._rows[row]
        picture = np.asarray(values[self._config.image_column].convert("RGB"), np.uint8)
        return cut_out(picture, values[self._config.box_column], size=self._size, rng=rng)

    def _whole(self, row: int) -> Pictures:
        return _square(self._rows[row][self._config.image_column], size=self._size)

    def _with_boxes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of the rows that have a box, and check it."""
        column = str(self._config.box_column)
        boxes = self._rows.select_columns([column])[:][column]
        kept = [int(row) for row in rows if boxes[row] is not None]
        for row in kept:
            check_box(boxes[row], where=f"{self._config.source}: {column}, row {row}")
        if not kept:
            raise UserError(f"{self._config.source}: no row has a box in {column}")
        return np.array(kept, np.int64)

    def _read_facts(self, row: Mapping[str, Any]) -> Facts:
        facts = {
            fact: _text(row[column], self._rows.features[column])
            for fact, column in self._columns.items()
            if fact in _TEXTS
        }
        words = [facts.get("name", ""), *facts.get("general", "").split(SEPARATOR)]
        focus = next((word for word in self._config.focus if word in words), None)
        facts["class"] = focus or facts.get("name") or facts.get("caption", "")
        if focus:
            facts["focus"] = focus
        return facts


def _columns(config: SourceConfig) -> dict[str, str]:
    columns = {
        "image": config.image_column,
        "caption": None if config.name_column else config.caption_column,
        "name": config.name_column,
        "general": config.general_column,
        "view": config.view_column,
        "domain": config.domain_column,
        "box": config.box_column,
    }
    return {fact: column for fact, column in columns.items() if column}


def open_rows(config: SourceConfig) -> Any:
    """Open the rows of a source that its `where` and `row_filter` keep.

    Raises:
        UserError: It cannot be opened, lacks a column that the source names, or no row is left.
    """
    import datasets

    columns = _columns(config)
    try:
        rows = datasets.load_dataset(config.source, config.config_name, split=config.split)
    except (FileNotFoundError, ValueError, ConnectionError) as error:
        raise UserError(
            f"{config.source}: cannot be opened ({str(error).splitlines()[0]}); "
            "name a dataset directory or a Hub id"
        ) from None
    missing = sorted({*columns.values(), *config.where} - set(rows.column_names))
    if missing:
        raise UserError(
            f"{config.source}: no column {', '.join(missing)}; it has "
            f"{', '.join(sorted(rows.column_names))}"
        )
    if config.where:
        table = rows.select_columns(list(config.where))[:]
        kept = [
            i
            for i in range(len(rows))
            if all(str(table[column][i]) == value for column, value in config.where.items())
        ]
        rows = rows.select(kept)
    if not len(rows):
        raise UserError(f"{config.source}: no rows with {config.where}; change `where`")
    if config.row_filter is None:
        return rows
    try:
        return filter_rows(rows, config.row_filter)
    except UserError as error:
        named = f"{config.source} with {config.where}" if config.where else config.source
        raise UserError(f"{named}: {error}") from None


def _texts(rows: Any, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the rows without their pictures, read a column at a time."""
    names = sorted({column for fact, column in columns.items() if fact in _TEXTS})
    table = rows.select_columns(names)[:]
    for values in zip(*(table[name] for name in names), strict=True):
        yield dict(zip(names, values, strict=True))


def _text(value: Any, feature: Any) -> str:
    if isinstance(value, list):
        return SEPARATOR.join(map(str, value))
    if hasattr(feature, "int2str") and value is not None:
        value = feature.int2str(value).replace("_", " ")
    return "" if value is None else str(value).strip()


def _choose_held_out(facts: list[Facts], config: SourceConfig) -> NDArray[np.int64]:
    """Return rows of photographs to keep from training, `held_out` of each focus class."""
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


def _square(image: Any, *, size: int) -> Pictures:
    from PIL import Image, ImageOps

    fitted = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
    return np.asarray(fitted, np.uint8)


def open_source(config: SourceConfig, *, image_size: int) -> Source:
    """Open one source of a run."""
    if config.source == DIGITS:
        return DigitSource(config, image_size=image_size)
    return CaptionedSource(config, image_size=image_size)
