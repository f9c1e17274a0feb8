"""Measure an exported pipeline: size, speed, prompt accuracy, use for training, memorisation.

Writes `figures.json` and PNG sheets; with a run folder also the measures that need its photographs,
and the card. Digits and photographs are measured by `digit_figures` and `photo_figures`.
"""

import importlib
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from factory.common.errors import UserError
from factory.common.whole_files import replace_text
from train.generator.config import DIGITS
from train.generator.evaluation.digit_figures import measure_digits
from train.generator.evaluation.evaluation_sheets import generate_sheets
from train.generator.evaluation.memorisation import check_memorisation
from train.generator.evaluation.photo_figures import generate_classes, measure_photos, open_real
from train.generator.evaluation.run_data import RunPhotos, open_run_photos
from train.generator.network.sampling import (
    BATCH_SIZE,
    STEPS,
    LabelledImages,
    generate,
    load_pipeline,
)
from train.generator.release.export import folder_bytes, load_checkpoint
from train.generator.training.lineage import check_exported, lineage_of
from train.generator.training.run_config import load_config_of

log = logging.getLogger(__name__)

SPEED_IMAGES = 256
COPY_CHECK_PER_CLASS = 30
COPY_CHECK_GUIDANCE = 2.0


def evaluate(
    folder: Path,
    *,
    run: Path,
    out: Path,
    real: Sequence[str] = (),
    images_per_class: int = 200,
    threads: int = 2,
    write_card_to: Path | None = None,
) -> dict[str, Any]:
    """Measure a pipeline exported from a run.

    Raises:
        UserError: `folder` is not a pipeline, `run` is not a run folder, or a real dataset has
            other classes; or a card is requested and the pipeline was exported at another length of
            the run. Raised before anything is measured.
    """
    if not (folder / "model_index.json").exists():
        raise UserError(f"{folder}: no model_index.json; expected a folder written by `export`")
    config = load_config_of(run)
    if write_card_to:
        check_exported(write_card_to, lineage_of(run, load_checkpoint(run)))
    photos = open_run_photos(run)
    sets = _open_real_sets(real, photos)
    torch.set_num_threads(threads)
    out.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {"size_mb": round(folder_bytes(folder) / 1e6, 2)}
    figures["speed"] = measure_speed(folder, threads=threads)
    pipeline = load_pipeline(folder, dtype=generation_dtype())
    figures["sheets"] = generate_sheets(pipeline, config, out)
    if any(source.source == DIGITS for source in config.data.sources):
        figures["digits"] = measure_digits(pipeline, images_per_class=images_per_class)
    if photos is not None:
        figures |= _photo_figures(
            pipeline, photos, out, real=sets, images_per_class=images_per_class
        )
    replace_text(out / "figures.json", json.dumps(figures, indent=1) + "\n")
    if write_card_to:
        from train.generator.release.card import write_card

        write_card(write_card_to, run=run, figures=figures, sheets=out)
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return figures


def _open_real_sets(real: Sequence[str], photos: RunPhotos | None) -> dict[str, LabelledImages]:
    if photos is None:
        if real:
            raise UserError(
                "--real requires a run with held-out photographs of the focus classes (`focus` and "
                "`held_out` in its settings); this run has none. Remove --real"
            )
        return {}
    # By their own names, because readers of the card keep them elsewhere.
    return {Path(reference).name: open_real(reference, photos.names) for reference in real}


def _photo_figures(
    pipeline: Any,
    photos: RunPhotos,
    out: Path,
    *,
    real: dict[str, LabelledImages],
    images_per_class: int,
) -> dict[str, Any]:
    measured = measure_photos(pipeline, photos, images_per_class=images_per_class, real=real)
    generated = generate_classes(
        pipeline,
        photos.names,
        "an image of {}",
        guidance=COPY_CHECK_GUIDANCE,
        per_class=COPY_CHECK_PER_CLASS,
    )
    copies = check_memorisation(generated, photos, measured.judge, sheet=out / "nearest.jpg")
    return {"photos": measured.figures, "memorisation": copies}


def generation_dtype() -> torch.dtype:
    """Return bfloat16 if the CPU has instructions for it, else float32."""
    return torch.bfloat16 if torch.cpu._is_avx512_bf16_supported() else torch.float32


def _import_components(folder: Path) -> None:
    """Import the classes of a pipeline, so that the measured load time excludes the imports."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    getattr(importlib.import_module("diffusers"), index["_class_name"])
    for component in index.values():
        if isinstance(component, list) and all(component):
            library, name = component
            getattr(importlib.import_module(library), name)


def measure_speed(folder: Path, *, threads: int) -> dict[str, Any]:
    """Time loading, and complete calls with guidance, text encoder and decoder."""
    started = time.perf_counter()
    _import_components(folder)
    import_s = time.perf_counter() - started
    started = time.perf_counter()
    pipeline = load_pipeline(folder, dtype=generation_dtype())
    load_s = time.perf_counter() - started
    prompts = ["an image of a cat"] * SPEED_IMAGES
    generate(pipeline, prompts[:BATCH_SIZE], guidance_scale=2.0)
    started = time.perf_counter()
    generate(pipeline, prompts, guidance_scale=2.0)
    seconds = time.perf_counter() - started
    return {
        "import_s": round(import_s, 2),
        "load_s": round(load_s, 2),
        "images_per_s": round(len(prompts) / seconds, 1),
        "threads": threads,
        "batch_size": BATCH_SIZE,
        "num_inference_steps": STEPS,
        "dtype": str(generation_dtype()).removeprefix("torch."),
    }
