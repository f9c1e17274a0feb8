"""Read and check a model's `config.json` before a model is created from it.

The file is untrusted: it must not name other files or addresses, nor create a model that is larger
than its weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from factory.common.errors import UserError
from factory.common.frozen import invalid_values
from factory.common.untrusted_files import read_json
from factory.models.timm_names import SUFFIX, may_be_timm_model

MAX_SIDE = 2048
"""The largest input of a model of timm is 1024."""
SEVERAL_LABELS = "multi_label_classification"
"""`problem_type` of a model with several labels per image, as transformers names it."""
_MAX_RESIZED = 8192
_MAX_NUMBER = 1 << 16
_MAX_VALUES = 1000
# Arguments of `timm.create_model` that read other files, or do not give a classifier.
REFUSED_ARGUMENTS = frozenset(
    (
        *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path"),
        *("cache_dir", "features_only", "scriptable", "exportable", "no_jit", "device", "dtype"),
    )
)

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Ratio = Annotated[float, Field(ge=0.1, le=10, allow_inf_nan=False)]
Mean = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]
Std = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=1000)]
Names = list[Name] | dict[str, Name]


class PreprocessingConfig(BaseModel):
    """Preprocessing from `pretrained_cfg`; the source of its weights is ignored."""

    model_config = ConfigDict(frozen=True)

    input_size: tuple[Literal[3], Side, Side] = (3, 224, 224)
    test_input_size: tuple[Literal[3], Side, Side] | None = None
    fixed_input_size: bool = False
    interpolation: Literal[
        "nearest", "bilinear", "bicubic", "lanczos", "box", "hamming", "random", ""
    ] = "bicubic"
    crop_pct: Ratio = 0.875
    test_crop_pct: Ratio | None = None
    crop_mode: Literal["center", "squash", "border"] = "center"
    mean: tuple[Mean, Mean, Mean] = (0.485, 0.456, 0.406)
    std: tuple[Std, Std, Std] = (0.229, 0.224, 0.225)
    label_names: Names | None = None
    num_classes: int | None = Field(default=None, ge=1, le=1_000_000)

    @model_validator(mode="after")
    def _resized(self) -> PreprocessingConfig:
        sides = (*self.input_size[1:], *(self.test_input_size or self.input_size)[1:])
        if max(sides) > _MAX_RESIZED * min(self.crop_pct, self.test_crop_pct or self.crop_pct):
            raise ValueError(f"input_size / crop_pct is more than {_MAX_RESIZED:,} pixels")
        return self


class ModelConfig(BaseModel):
    """timm's `config.json`."""

    model_config = ConfigDict(frozen=True)

    architecture: Annotated[str, Field(pattern=r"^[\w.-]{1,200}$")]
    num_classes: int | None = Field(default=None, ge=1, le=1_000_000)
    label_names: Names | None = None
    pretrained_cfg: PreprocessingConfig = PreprocessingConfig()
    model_args: dict[str, Any] = {}
    fit: Literal["crop", "pad", "squash"] | None = None
    """Of images that are not square in training; `train` writes it."""
    problem_type: Any = None
    """As transformers names it; see `SEVERAL_LABELS`."""

    @model_validator(mode="after")
    def _bounded(self) -> ModelConfig:
        refused = sorted(REFUSED_ARGUMENTS & self.model_args.keys())
        if refused:
            raise ValueError(f"model_args must not contain {', '.join(refused)}")
        values = list(_leaves(self.model_args))
        if len(values) > _MAX_VALUES:
            raise ValueError(
                f"model_args contains {len(values)} values; the limit is {_MAX_VALUES}"
            )
        large = [one for one in values if isinstance(one, int | float) and abs(one) > _MAX_NUMBER]
        own = self.model_args.get("num_classes")
        if [one for one in large if one != own or one != self.num_classes]:
            raise ValueError(f"model_args contains {large[0]:.6g}; the limit is {_MAX_NUMBER}")
        return self

    def require_one_label(self, shown: str) -> None:
        """Check that the model was trained with one label per image.

        Args:
            shown: The model, for the message.

        Raises:
            UserError: It was not; its outputs are not probabilities that add up to 1.
        """
        if self.problem_type == SEVERAL_LABELS:
            raise UserError(
                f"{shown}: was trained with several labels per image; only models with one label "
                "per image are supported here. Its folder has the scores of training: "
                "metrics.csv, per-class.csv"
            )

    def timm_arguments(self, weights: Path) -> dict[str, Any]:
        """Return arguments of `timm.create_model` that load only `weights`."""
        own = self.pretrained_cfg
        count = self.num_classes or own.num_classes or 1000
        shown = own.model_dump(exclude={"label_names", "num_classes"}, exclude_none=True)
        return {
            **self.model_args,
            "model_name": self.architecture,
            "num_classes": count,
            "pretrained": True,
            "pretrained_cfg": {**shown, "num_classes": count, "file": str(weights)},
        }


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _leaves(one)
    else:
        yield value


def _without_nulls(values: dict[str, Any]) -> dict[str, Any]:
    """Remove null values, which timm treats as missing; also in `pretrained_cfg`."""
    kept = {key: value for key, value in values.items() if value is not None}
    own = kept.get("pretrained_cfg")
    if isinstance(own, dict):
        kept["pretrained_cfg"] = {key: value for key, value in own.items() if value is not None}
    return kept


def read_model_config(path: Path) -> ModelConfig:
    """Read `config.json`, in timm's current form or its older one with a single mapping.

    timm is not imported; `require_architecture` asks it.

    Raises:
        UserError: It cannot be read, names no architecture, or has invalid values; one line for
            each.
    """
    found = read_json(path)
    if not isinstance(found, dict) or "architecture" not in found:
        raise UserError(f"{path}: `architecture` is missing; a config.json of timm is needed")
    if "pretrained_cfg" not in found:
        found = {**found, "pretrained_cfg": found}
    try:
        config = ModelConfig.model_validate(_without_nulls(found))
    except ValidationError as error:
        raise UserError(invalid_values(error, path)[:10]) from None
    if not may_be_timm_model(config.architecture.removesuffix(SUFFIX)):
        raise _no_architecture(config, path)
    return config


def require_architecture(config: ModelConfig, path: Path) -> None:
    """Check that timm has an architecture, and register it if its first layer is ours.

    Args:
        config: The content of a `config.json`.
        path: That file, for the message.

    Raises:
        UserError: timm has no such architecture.
    """
    import timm

    from factory.models.small_stem import register_for

    register_for(config.architecture)
    if not timm.is_model(config.architecture.partition(".")[0]):
        raise _no_architecture(config, path)


def _no_architecture(config: ModelConfig, path: Path) -> UserError:
    return UserError(f"{path}: timm has no architecture {config.architecture!r}")
