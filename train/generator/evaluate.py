"""Measures an exported pipeline: size, speed, words heard, use for training; and draws sheets.

Writes `figures.json` and PNG sheets. The real digits it scores on are the held-out ones of
`digits.held_out_digits`, which neither training nor tuning uses.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from factory.errors import UserError
from train.generator.captions import WORDS
from train.generator.domains import DOMAINS
from train.generator.drawing import (
    BATCH_SIZE,
    STEPS,
    Drawn,
    digit_prompts,
    domain_template,
    draw,
    load_pipeline,
)
from train.generator.export import folder_bytes
from train.generator.probe import Score, merge, score, train_judge, zero_shot
from train.generator.sheets import save_grid

log = logging.getLogger(__name__)

GENERIC = "an image of a handwritten {}"
GUIDANCE = (1.0, 1.5, 2.0, 3.0, 5.0, 7.5)
DOMAIN_GUIDANCE = 2.0
SPEED_IMAGES = 200


def evaluate(
    folder: Path,
    *,
    out: Path | None = None,
    images_per_class: int = 200,
    threads: int = 2,
    card_of: Path | None = None,
) -> dict[str, Any]:
    """Measure a pipeline folder.

    Args:
        folder: The pipeline.
        out: Where figures and sheets go; default: beside nothing, only stdout.
        images_per_class: Drawn for each guidance of the probe.
        threads: CPU threads.
        card_of: A run folder; then the pipeline's card is written from it and the figures.

    Raises:
        UserError: `folder` is no pipeline.
    """
    if not (folder / "model_index.json").exists():
        raise UserError(f"{folder}: no model_index.json; expected a folder that `export` made")
    torch.set_num_threads(threads)
    pipeline = load_pipeline(folder)
    figures: dict[str, Any] = {"size_mb": round(folder_bytes(folder) / 1e6, 2)}
    figures["speed"] = measure_speed(pipeline, threads=threads)
    figures |= judge_digits(pipeline, images_per_class=images_per_class)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        draw_sheets(pipeline, out)
    if card_of:
        from train.generator.card import write_card

        draw_sheets(pipeline, folder)
        write_card(folder, run=card_of, figures=figures)
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return figures


def measure_speed(pipeline: Any, *, threads: int) -> dict[str, Any]:
    """Time whole calls with guidance, text encoder and decoder included."""
    prompts, _ = digit_prompts(GENERIC, per_class=SPEED_IMAGES // 10)
    draw(pipeline, prompts[:BATCH_SIZE], guidance_scale=2.0)
    started = time.perf_counter()
    draw(pipeline, prompts, guidance_scale=2.0)
    seconds = time.perf_counter() - started
    return {
        "images_per_s": round(len(prompts) / seconds, 1),
        "threads": threads,
        "batch_size": BATCH_SIZE,
        "num_inference_steps": STEPS,
        "dtype": "float32",
    }


def judge_digits(pipeline: Any, *, images_per_class: int) -> dict[str, Any]:
    """Return how often drawn digits are what was asked for, and the zero-shot scores."""
    judge, own = train_judge()
    log.info("judge: %.3f on its own pictures", own.top1)
    by_guidance, sets = {}, []
    for guidance in GUIDANCE:
        drawn = _draw_set(pipeline, GENERIC, guidance=guidance, per_class=images_per_class)
        by_guidance[f"{guidance:g}"] = _round(score(judge, drawn))
        sets.append(drawn)
        log.info("guidance %g: %s", guidance, by_guidance[f"{guidance:g}"])
    domains = {}
    for name in DOMAINS:
        template = domain_template(name)
        drawn = _draw_set(pipeline, template, guidance=DOMAIN_GUIDANCE, per_class=20)
        domains[name] = _round(score(judge, drawn))["top1"]
        sets.append(drawn)
    probes = {
        "guidance 1.5": _round(zero_shot(sets[1])),
        "guidance 3": _round(zero_shot(sets[3])),
        "guidance 1 to 7.5 and all domains": _round(zero_shot(merge(sets))),
    }
    return {
        "judge_on_rendered": _round(own)["top1"],
        "drawn_as_asked": by_guidance,
        "drawn_as_asked_by_domain": domains,
        "zero_shot_on_real_handwriting": probes,
    }


def _draw_set(pipeline: Any, template: str, *, guidance: float, per_class: int) -> Drawn:
    prompts, labels = digit_prompts(template, per_class=per_class)
    seed = 1_000_000 + int(guidance * 100_000)
    return Drawn(draw(pipeline, prompts, guidance_scale=guidance, seed=seed), labels)


def _round(result: Score) -> dict[str, Any]:
    values = asdict(result)
    return {
        "top1": round(values["top1"], 4),
        "per_class": [round(v, 3) for v in values["per_class"]],
    }


def draw_sheets(pipeline: Any, out: Path) -> None:
    """Write `guidance.png` (rows: guidance) and `domains.png` (rows: domains, same seeds)."""
    rows = [
        _sheet_row(pipeline, GENERIC, guidance=guidance, seed=10 * k)
        for guidance in GUIDANCE
        for k in range(2)
    ]
    save_grid(_stack(rows), out / "guidance.png", columns=len(WORDS))
    rows = [
        _sheet_row(pipeline, domain_template(name), guidance=DOMAIN_GUIDANCE, seed=0)
        for name in DOMAINS
    ]
    save_grid(_stack(rows), out / "domains.png", columns=len(WORDS))


def _sheet_row(pipeline: Any, template: str, *, guidance: float, seed: int) -> Any:
    prompts, _ = digit_prompts(template, per_class=1)
    return draw(pipeline, prompts, guidance_scale=guidance, seed=seed)


def _stack(rows: list[Any]) -> Any:
    import numpy as np

    return np.concatenate(rows)
