"""A small captioned dataset for tests of the generator's training."""

from pathlib import Path

import datasets
import numpy as np
import pytest

from train.generator.config import SourceConfig
from train.generator.training import fit

NAMES = ("cat", "tabby cat", "ship", "guitar", "forest")
GENERAL = {
    "cat": ["animal"],
    "tabby cat": ["cat", "animal"],
    "ship": ["vehicle"],
    "guitar": ["musical instrument", "object"],
    "forest": ["trees", "land"],
}


def write_photos(folder: Path, *, rows: int = 40, size: int = 48) -> Path:
    """Write a dataset with columns image, name, general, view, domain; forests are aerial views."""
    from PIL import Image

    rng = np.random.default_rng(0)
    names = [NAMES[i % len(NAMES)] for i in range(rows)]
    table = {
        "image": [
            Image.fromarray(rng.integers(0, 255, (size, size + 10, 3), np.uint8)) for _ in names
        ],
        "name": names,
        "general": [GENERAL[name] for name in names],
        "view": ["satellite" if name == "forest" else "ground" for name in names],
        "domain": ["painting" if name == "guitar" else "photo" for name in names],
    }
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "name": datasets.Value("string"),
            "general": datasets.List(datasets.Value("string")),
            "view": datasets.Value("string"),
            "domain": datasets.Value("string"),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(table, features=features).to_parquet(folder / "train.parquet")
    return folder


def photo_source(folder: Path, **changes: object) -> SourceConfig:
    """Return settings that read the ground-level rows of `write_photos`."""
    values = {
        "source": str(folder),
        "where": {"view": "ground"},
        "caption_column": None,
        "name_column": "name",
        "general_column": "general",
        "view_column": "view",
        "domain_column": "domain",
        "focus": ("cat", "ship"),
    }
    return SourceConfig.model_validate(values | changes)


def small_sheets(patch: pytest.MonkeyPatch) -> None:
    """Write contact sheets of a run with one row, in two steps."""
    prompts = fit.sheet_prompts
    patch.setattr(fit, "SHEET_STEPS", 2)
    patch.setattr(
        fit, "sheet_prompts", lambda *known: (prompts(*known)[0][: fit.COLUMNS], fit.COLUMNS)
    )
