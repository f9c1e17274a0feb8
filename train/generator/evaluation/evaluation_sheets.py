"""Contact sheets of an exported pipeline: by class, domain and guidance, from above, digits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from train.generator.config import DIGITS, Config, SourceConfig
from train.generator.images.captions import WORDS, with_article
from train.generator.images.domains import DOMAINS
from train.generator.images.filters import FILTERS
from train.generator.network.sampling import domain_template, generate
from train.generator.network.sheets import save_grid

GUIDANCE = 2.0
GUIDANCES = (1.0, 1.5, 2.0, 3.0, 5.0)
PER_CLASS = 8


def generate_sheets(pipeline: Any, config: Config, out: Path) -> dict[str, str]:
    """Write the sheets of every source of a run.

    Returns:
        File names, each with a description of its rows and columns.
    """
    sheets: dict[str, str] = {}
    for source in config.data.sources:
        if source.source == DIGITS:
            sheets |= _digit_sheets(pipeline, out)
        elif source.focus and source.where.get("view") == "satellite":
            sheets |= _satellite_sheet(pipeline, source, out)
        elif source.focus:
            sheets |= _class_sheets(pipeline, source, out)
    return sheets


@dataclass(frozen=True)
class _Row:
    """A row of a sheet: its image k has seed `seed` + k."""

    prompts: list[str]
    guidance: float = GUIDANCE
    seed: int = 0


def _write(pipeline: Any, path: Path, rows: list[_Row]) -> None:
    generated = [
        generate(pipeline, row.prompts, guidance_scale=row.guidance, seed=row.seed) for row in rows
    ]
    save_grid(np.concatenate(generated), path, columns=len(rows[0].prompts), zoom=1)


def _class_sheets(pipeline: Any, source: SourceConfig, out: Path) -> dict[str, str]:
    nouns = [with_article(name) for name in source.focus]
    plain = [f"an image of {noun}" for noun in nouns]
    rows = [_Row([text] * PER_CLASS, seed=100 * k) for k, text in enumerate(plain)]
    _write(pipeline, out / "classes.jpg", rows)
    words = ["photo", *(FILTERS[name].words[0] for name in source.filters)]
    rows = [_Row([f"{with_article(word)} of {noun}" for noun in nouns]) for word in words]
    _write(pipeline, out / "domains.jpg", rows)
    # Rows of another guidance start from the same noise.
    rows = [_Row(plain, guidance, seed) for guidance in GUIDANCES for seed in (0, 100)]
    _write(pipeline, out / "guidance.jpg", rows)
    return {
        "classes.jpg": f"rows: {', '.join(source.focus)}; guidance {GUIDANCE:g}",
        "domains.jpg": f"columns: the same classes, one seed each; rows: {', '.join(words)}",
        "guidance.jpg": "columns: the same classes; two rows each of guidance "
        + ", ".join(f"{guidance:g}" for guidance in GUIDANCES),
    }


def _satellite_sheet(pipeline: Any, source: SourceConfig, out: Path) -> dict[str, str]:
    texts = [f"a satellite photo of {with_article(name)}" for name in source.focus]
    rows = [_Row([text] * PER_CLASS, seed=100 * k) for k, text in enumerate(texts)]
    _write(pipeline, out / "from-above.jpg", rows)
    return {"from-above.jpg": f"a satellite photo; rows: {', '.join(source.focus)}"}


def _digit_sheets(pipeline: Any, out: Path) -> dict[str, str]:
    rows = [_Row([domain_template(name).format(word) for word in WORDS]) for name in DOMAINS]
    _write(pipeline, out / "digits.jpg", rows)
    return {"digits.jpg": f"columns: zero to nine, one seed each; rows: {', '.join(DOMAINS)}"}
