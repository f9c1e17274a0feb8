"""The settings of a run; a YAML file may override any of them.

The defaults train on rendered digits at 32 pixels and need no data; `embedded.yaml` in this folder
has the settings of the embedded generator.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from factory.common.errors import UserError
from factory.common.frozen import invalid_values
from factory.common.untrusted_files import read_yaml

DIGITS = "digits"

Positive = Annotated[int, Field(ge=1)]
# Number per image: any number from 0.
Times = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceConfig(_Settings):
    """One source of captioned images.

    Attributes:
        source: `digits` (rendered here), or a directory or Hub id for `load_dataset`.
        images: Number of rendered digits; for other sources the maximum number of images.
        where: Only rows whose columns have these values, e.g. `{view: ground}`.
        row_filter: Keep only those that match this expression, e.g. `license != "none"`;
            see `factory.data.row_filter`.
        caption_column: One caption per image; not needed with `name_column`.
        name_column: Name of the content; captions are made from it and the three columns below.
        general_column: More general words for it; text, or a list from near to far.
        view_column: `satellite` for aerial views.
        domain_column: The domain; captions may omit `photo`.
        synonyms: Other wordings for a name or general word, used equally often.
        mirror: Whether to add a mirrored copy of every image.
        filters: Names of `filters.FILTERS` by weight; captions of filtered images name the domain.
        filtered: Number of filtered images per image.
        focus: Classes that must be learned well; an image belongs to the first one that its
            name or general words contain.
        focus_share: Share of this source's samples for the focus classes, in equal parts.
        balance: A class of n images is sampled in proportion to n to the power of 1 - `balance`.
        held_out: Photographs per focus class held out from training, for the probe.
        share: Relative share of this source in all samples.
    """

    source: str = DIGITS
    config_name: str | None = None
    split: str = "train"
    images: Positive = 60_000
    where: dict[str, str] = {}
    row_filter: str | None = None
    image_column: str = "image"
    caption_column: str | None = "caption"
    name_column: str | None = None
    general_column: str | None = None
    view_column: str | None = None
    domain_column: str | None = None
    synonyms: dict[str, tuple[str, ...]] = {}
    mirror: bool = False
    filters: dict[str, float] = {}
    filtered: Times = 0.0
    focus: tuple[str, ...] = ()
    focus_share: float = 0.6
    balance: float = 0.5
    held_out: int = 0
    share: float = 1.0
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _no_boxes(cls, given: Any) -> Any:
        # Runs of earlier versions record that they have none.
        if not isinstance(given, dict) or "boxes" not in given:
            return given
        if given["boxes"] is not None:
            raise ValueError("crops of `boxes` are no longer supported; remove the key")
        return {key: value for key, value in given.items() if key != "boxes"}

    @model_validator(mode="after")
    def _digits_have_no_rows(self) -> SourceConfig:
        if self.source == DIGITS and self.row_filter is not None:
            raise ValueError("digits are rendered and have no rows to filter; use another source")
        return self


class DataConfig(_Settings):
    """Training data of a run: one source or several, all at one size.

    Attributes:
        image_size: Side of an image in pixels.
        empty_captions: Share of samples without a caption, for guidance.
    """

    image_size: Positive = 32
    sources: tuple[SourceConfig, ...] = (SourceConfig(),)
    empty_captions: float = 0.1
    seed: int = 0

    def collected(self) -> DataConfig:
        """Return the settings without those that affect only sampling frequencies."""
        sampled = {"share": 1.0, "focus_share": 0.6, "balance": 0.5, "synonyms": {}}
        sources = tuple(one.model_copy(update=sampled) for one in self.sources)
        return self.model_copy(update={"sources": sources, "empty_captions": 0.1})

    def fingerprint(self) -> str:
        """Return a hash that identifies the collected images."""
        text = self.collected().model_dump_json()
        # Added later: collections without it keep their hash.
        text = text.replace('"row_filter":null,', "")
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class LatentConfig(_Settings):
    """Fixed linear latents: `channels` numbers for each patch."""

    patch_size: int = 4
    channels: int = 10
    images: int = 20_000


class TextConfig(_Settings):
    """The text encoder, a CLIPTextModel trained from scratch."""

    width: int = 128
    layers: int = 2
    heads: int = 4
    max_length: int = 16
    vocabulary: int = 1200


class UnetConfig(_Settings):
    """The denoiser, with attention in the inner block and in the middle."""

    channels: tuple[int, ...] = (64, 96)
    heads: tuple[int, ...] = (2, 3)
    layers: int = 1
    time_width: int = 256
    norm_groups: int = 16


class FitConfig(_Settings):
    """Training settings of denoiser and text encoder.

    Attributes:
        start_from: Folder written by `export`; a new run starts with its words, latents and
            weights.
        samples: Length of the run; the learning rate follows a cosine to its end.
        max_minutes: If set, the run and its cosine end by then.
        batch_size: Per process.
        probe_every: Steps between zero-shot probes (`probe`); None for only the last.
        mixed_precision: `auto` is bf16 if the hardware supports it.
    """

    start_from: str | None = None
    samples: Positive = 700_000
    max_minutes: float | None = None
    batch_size: Positive = 32
    unet_lr: float = 7.0e-4
    text_lr: float = 2.0e-4
    warmup_steps: int = 120
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema: float = 0.999
    log_every: int = 50
    gap_every: int = 400
    sheet_every: int = 1_500
    probe_every: int | None = None
    checkpoint_minutes: float = 2.0
    mixed_precision: Literal["auto", "no", "bf16"] = "auto"
    seed: int = 0


class DecoderConfig(_Settings):
    """Training settings of the image decoder and encoder."""

    channels: tuple[int, ...] = (32, 32, 32)
    blocks: tuple[int, ...] = (2, 2, 1)
    steps: int = 1_500
    encoder_steps: int = 200
    batch_size: int = 32
    lr: float = 2.0e-3
    noise: float = 0.12
    scaling_factor: float = 2.5
    seed: int = 0


class Config(_Settings):
    """One run."""

    data: DataConfig = DataConfig()
    latents: LatentConfig = LatentConfig()
    text: TextConfig = TextConfig()
    unet: UnetConfig = UnetConfig()
    fit: FitConfig = FitConfig()
    decoder: DecoderConfig = DecoderConfig()


def load_config(path: Path | None, overrides: dict[str, dict[str, Any]]) -> Config:
    """Read a YAML file, if any, and apply the command line's values.

    Raises:
        UserError: The file cannot be read, or has unknown keys or invalid values; all at once.
    """
    values: dict[str, dict[str, Any]] = _read(path) if path else {}
    for section, changes in overrides.items():
        if changes:
            values[section] = {**(values.get(section) or {}), **changes}
    return _checked(values, file=str(path or ""))


def _checked(values: dict[str, Any], *, file: str = "") -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(invalid_values(error, file)) from error


def with_source(config: Config, changes: dict[str, Any]) -> Config:
    """Change every source except digits; if there is no other, replace the digits.

    A `row_filter` is combined with those of the sources.

    Raises:
        UserError: The changes make the settings invalid; all at once.
    """
    if not changes:
        return config
    values = config.model_dump()
    sources: list[dict[str, Any]] = values["data"]["sources"]
    named = [one for one in sources if one["source"] != DIGITS]
    if not named and "source" in changes:
        values["data"]["sources"] = [changes]
    else:
        for one in named or sources:
            own, more = one.get("row_filter"), changes.get("row_filter")
            both = {"row_filter": f"({own}) and ({more})"} if own and more else {}
            one.update(changes | both)
    return _checked(values)


def _read(path: Path) -> dict[str, Any]:
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping with keys such as data, unet, fit")
    return values
