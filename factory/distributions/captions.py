"""Captions as prompts: a distribution over the lines of a file or a column of a dataset.

The texts stay where they are: a resolved recipe holds where they come from and a hash of what they
say (of a Hub dataset: its commit), and they are read when the first row is planned.
`factory.distributions.caption_texts` reads them.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from factory.distributions.base import Distribution, Draws, Floats, Frozen, Integers, ValueType
from factory.distributions.caption_texts import CaptionPlace, captions_of, require_captions
from factory.distributions.template import Value

_COMMIT = re.compile(r"[0-9a-f]{40}")
_Name = Annotated[str, Field(strict=True, min_length=1)]


class CaptionSource(Frozen):
    """Where captions come from: a file, or a dataset."""

    file: _Name | None = Field(
        default=None,
        description="Text file, a caption a line, or .csv, .tsv, .jsonl or .parquet.",
    )
    dataset: _Name | None = Field(
        default=None, description="Hub id or directory of a dataset, instead of a file."
    )
    config: _Name | None = Field(default=None, description="Config of the dataset.")
    split: _Name = Field(default="train", description="Split of the dataset.")
    revision: _Name | None = Field(
        default=None, description="Commit of the Hub dataset, 40 digits; pins the captions."
    )
    column: _Name = Field(default="text", description="Column that holds the captions.")
    label_column: _Name | None = Field(
        default=None,
        description="Column that says which class a caption belongs to, by label; an image then "
        "gets captions of its own class.",
    )
    order: Literal["random", "cycle"] = Field(
        default="random",
        description="cycle: the n-th image of a class takes the n-th caption, round and round.",
    )
    sha256: Annotated[str, Field(pattern=r"[0-9a-f]{64}")] | None = Field(
        default=None, description="Of all captions; filled in where they lie on this machine."
    )

    @model_validator(mode="after")
    def _one_place(self) -> CaptionSource:
        if (self.file is None) == (self.dataset is None):
            raise ValueError("name a `file` or a `dataset`, one of the two")
        if self.file is not None and (self.config or self.revision):
            raise ValueError("`config` and `revision` are a dataset's; a file has none")
        if self.revision is not None and not _COMMIT.fullmatch(self.revision):
            raise ValueError(f"revision {self.revision} may move; write the commit, 40 digits")
        return self

    @property
    def place(self) -> CaptionPlace:
        """Where to read, for `factory.distributions.caption_texts`."""
        return CaptionPlace(
            file=self.file,
            dataset=self.dataset,
            config=self.config,
            split=self.split,
            revision=self.revision,
            column=self.column,
            label_column=self.label_column,
        )


class Captions(Distribution):
    """A caption an image: `{captions: {file: captions.txt}}`."""

    captions: CaptionSource = Field(description="Where they come from.")

    @property
    def by_class(self) -> bool:
        """Whether each class has captions of its own."""
        return self.captions.label_column is not None

    def of(self, label: str) -> Draws:
        """Return what a class draws from."""
        return _ClassCaptions(self.captions, label) if self.by_class else self

    def draw(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Pick captions, whatever their class; they are read now."""
        return _ClassCaptions(self.captions, None).draw(uniforms, numbers)

    def describe(self) -> str:
        """Name the place."""
        source = self.captions
        how = "captions in turn" if source.order == "cycle" else "captions"
        own = " of the class" if self.by_class else ""
        return f"{how}{own} from {source.place.shown}"

    def type(self) -> ValueType:
        """Return string."""
        return "string"


class _ClassCaptions:
    """The captions of one class, or all of them."""

    def __init__(self, source: CaptionSource, label: str | None) -> None:
        self._source, self._label = source, label

    def draw(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        texts = captions_of(self._source.place, sha256=self._source.sha256)
        if self._label is not None:
            require_captions(self._source.place, texts, [self._label])
        own = texts.all if self._label is None else texts.of(self._label)
        if self._source.order == "cycle":
            places = numbers % len(own)
        else:
            places = (uniforms * len(own)).astype(np.int64)
        return [own[place] for place in places.tolist()]
