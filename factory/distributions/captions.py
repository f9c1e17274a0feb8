"""Use captions as prompts: a distribution over the lines of a file or a column of a dataset.

A resolved recipe stores the location of the captions and a hash of their text (for a Hub dataset:
its commit). The captions are read when the first row is planned, by
`factory.distributions.caption_texts`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from factory.common.frozen import Frozen
from factory.distributions.base import Distribution, Sampler, ValueType
from factory.distributions.caption_texts import CaptionPlace, captions_of, require_captions
from factory.distributions.template import Value

if TYPE_CHECKING:
    from factory.distributions.base import Floats, Integers

_COMMIT = re.compile(r"[0-9a-f]{40}")
_Name = Annotated[str, Field(strict=True, min_length=1)]


class CaptionSource(Frozen):
    """Location of captions: a file or a dataset."""

    file: _Name | None = Field(
        default=None,
        description="Text file with one caption per line, or .csv, .tsv, .jsonl or .parquet.",
    )
    dataset: _Name | None = Field(
        default=None, description="Hub id or directory of a dataset, instead of a file."
    )
    config: _Name | None = Field(default=None, description="Config of the dataset.")
    split: _Name = Field(default="train", description="Split of the dataset.")
    revision: _Name | None = Field(
        default=None,
        description="Commit of the Hub dataset (40 digits), so that captions stay the same.",
    )
    column: _Name = Field(default="text", description="Column of the captions.")
    label_column: _Name | None = Field(
        default=None,
        description="Column with each caption's class label; images then use captions of their "
        "own class.",
    )
    order: Literal["random", "cycle"] = Field(
        default="random",
        description="cycle: image n of a class uses caption n, starting over at the end.",
    )
    sha256: Annotated[str, Field(pattern=r"[0-9a-f]{64}")] | None = Field(
        default=None, description="Hash of all captions; filled in if they are on this machine."
    )

    @model_validator(mode="after")
    def _one_place(self) -> CaptionSource:
        if (self.file is None) == (self.dataset is None):
            raise ValueError("set either `file` or `dataset`")
        if self.file is not None and (self.config or self.revision):
            raise ValueError("`config` and `revision` need `dataset`; a file has neither")
        if self.revision is not None and not _COMMIT.fullmatch(self.revision):
            raise ValueError(f"revision {self.revision} can move; write the commit (40 digits)")
        return self

    @property
    def place(self) -> CaptionPlace:
        """Return the location, for `factory.distributions.caption_texts`."""
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
    """One caption per image: `{captions: {file: captions.txt}}`."""

    captions: CaptionSource = Field(description="Source of the captions.")

    @property
    def by_class(self) -> bool:
        """Return whether each class has its own captions."""
        return self.captions.label_column is not None

    def of(self, label: str) -> Sampler:
        """Return the sampler for a class."""
        return _ClassCaptions(self.captions, label) if self.by_class else self

    def sample(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        """Sample captions for any class; this reads them."""
        return _ClassCaptions(self.captions, None).sample(uniforms, numbers)

    def describe(self) -> str:
        """Describe the source."""
        source = self.captions
        how = "captions in turn" if source.order == "cycle" else "captions"
        own = " of the class" if self.by_class else ""
        return f"{how}{own} from {source.place.shown}"

    def type(self) -> ValueType:
        """Return string."""
        return "string"


class _ClassCaptions:
    """Captions of one class, or all captions."""

    def __init__(self, source: CaptionSource, label: str | None) -> None:
        self._source, self._label = source, label

    def sample(self, uniforms: Floats, numbers: Integers) -> list[Value]:
        texts = captions_of(self._source.place, sha256=self._source.sha256)
        if self._label is not None:
            require_captions(self._source.place, texts, [self._label])
        own = texts.all if self._label is None else texts.of(self._label)
        if self._source.order == "cycle":
            places = numbers % len(own)
        else:
            places = (uniforms * len(own)).astype("int64")
        return [own[place] for place in places.tolist()]
