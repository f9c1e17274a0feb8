"""One run from pictures to weights: data, latents, denoiser, decoder. Each stage is resumable.

A run folder holds `config.json`, `data/`, `latents.safetensors`, `tokenizer/`, `checkpoint.pt`,
`decoder.pt`, `loss.csv` and `sheets/`; `export` makes a pipeline of it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from factory.errors import UserError
from train.generator.captions import WORDS
from train.generator.config import DIGITS, Config
from train.generator.data import (
    Collection,
    captioner,
    join_parts,
    load_collection,
    prepare_part,
)
from train.generator.diffusion import Trainer, TrainingSet, run
from train.generator.domains import DOMAINS
from train.generator.latents import PatchBasis, encode_all
from train.generator.model import Denoiser, build_unet
from train.generator.sheets import linear_pictures, sample, save_grid
from train.generator.text import TokenCache, build_text_encoder, train_tokenizer

log = logging.getLogger(__name__)

Stage = Literal["denoiser", "decoder"]
STAGES: tuple[Stage, ...] = ("denoiser", "decoder")
CORPUS = 40_000
SHEET_GUIDANCE = 2.0
SHEET_STEPS = 16


@dataclass(frozen=True)
class Prepared:
    """What both stages start from."""

    collection: Collection
    basis: PatchBasis
    tokenizer: Any


def fit(config: Config, folder: Path, *, stages: tuple[Stage, ...]) -> None:
    """Make the run folder, or carry on where an earlier start of it was stopped."""
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    handlers = [DistributedDataParallelKwargs(gradient_as_bucket_view=True)]
    cpu = not torch.cuda.is_available()
    accelerator = Accelerator(cpu=cpu, kwargs_handlers=handlers)
    check_config(config, folder, write=accelerator.is_main_process)
    prepared = prepare(config, folder, accelerator)
    if "denoiser" in stages:
        _fit_denoiser(config, folder, accelerator, prepared)
    if "decoder" in stages and accelerator.is_main_process:
        from train.generator.decoder import fit_decoder

        fit_decoder(config, folder, prepared.basis, prepared.collection)
    accelerator.wait_for_everyone()
    accelerator.end_training()


def check_config(config: Config, folder: Path, *, write: bool) -> None:
    """Keep the settings in the run folder; only lengths of a started run may change.

    Raises:
        UserError: The folder belongs to a run with other settings.
    """
    path = folder / "config.json"
    if path.exists():
        known = Config.model_validate_json(path.read_text(encoding="utf-8"))
        for section in ("data", "latents", "text", "unet"):
            if getattr(known, section) != getattr(config, section):
                raise UserError(f"{path}: `{section}` differs; choose another --out, or the same")
    if write:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(config.model_dump_json(indent=2), encoding="utf-8")


def prepare(config: Config, folder: Path, accelerator: Any) -> Prepared:
    """Draw or read the pictures, fit latents and tokenizer; every process then opens them."""
    data = folder / "data"
    rank, world_size = int(accelerator.process_index), int(accelerator.num_processes)
    prepare_part(config.data, data, rank=rank, world_size=world_size)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        join_parts(config.data, data, world_size=world_size)
        _prepare_models(config, folder, load_collection(config.data, data))
    accelerator.wait_for_everyone()
    return open_prepared(config, folder)


def open_prepared(config: Config, folder: Path) -> Prepared:
    """Open what `prepare` left in a run folder."""
    from transformers import CLIPTokenizer

    return Prepared(
        load_collection(config.data, folder / "data"),
        PatchBasis.load(folder / "latents.safetensors"),
        CLIPTokenizer.from_pretrained(folder / "tokenizer"),
    )


def _prepare_models(config: Config, folder: Path, collection: Collection) -> None:
    rng = np.random.default_rng(config.data.seed)
    if not (folder / "latents.safetensors").exists():
        chosen = rng.permutation(len(collection.images))[: config.latents.images]
        images = torch.from_numpy(collection.images[np.sort(chosen)])
        PatchBasis.fit(images, config.latents).save(folder / "latents.safetensors")
    if not (folder / "tokenizer").exists():
        caption = captioner(config.data)
        indexes = rng.integers(len(collection.facts), size=CORPUS)
        corpus = [caption(collection.facts[i], rng) for i in indexes]
        train_tokenizer(corpus, config.text).save_pretrained(folder / "tokenizer")


def _fit_denoiser(config: Config, folder: Path, accelerator: Any, prepared: Prepared) -> None:
    torch.manual_seed(config.fit.seed)
    text_encoder = build_text_encoder(prepared.tokenizer, config.text)
    denoiser = Denoiser(text_encoder, build_unet(config))
    trainer = Trainer(config, folder=folder, accelerator=accelerator, denoiser=denoiser)
    trainer.resume()
    tokens = TokenCache(prepared.tokenizer)
    latents = encode_all(prepared.basis, torch.from_numpy(np.array(prepared.collection.images)))
    data = TrainingSet(
        latents, prepared.collection, captioner(config.data), config.data.empty_captions
    )
    show = _Sheets(config, folder, prepared)
    started = time.monotonic() - trainer.seconds
    run(trainer, data, tokens, show=show, started=started)


class _Sheets:
    """Writes contact sheets during training: rows of prompts from the same starting noise."""

    def __init__(self, config: Config, folder: Path, prepared: Prepared) -> None:
        self._folder = folder / "sheets"
        self._folder.mkdir(exist_ok=True)
        self._basis = prepared.basis
        self._tokens = TokenCache(prepared.tokenizer)
        self._prompts, self._columns = sheet_prompts(config, prepared.collection)

    def __call__(self, model: Denoiser, samples: int) -> None:
        """Draw one sheet."""
        latents = sample(
            model,
            self._tokens(self._prompts),
            self._tokens([""]),
            guidance_scale=SHEET_GUIDANCE,
            steps=SHEET_STEPS,
            seed=0,
        )
        pictures = linear_pictures(self._basis, latents)
        path = self._folder / f"{samples:09d}.png"
        save_grid(pictures, path, columns=self._columns)


def sheet_prompts(config: Config, collection: Collection) -> tuple[list[str], int]:
    """Return a sheet's prompts and its number of columns."""
    if config.data.source == DIGITS:
        rows = ["an image of a handwritten {}"] * 4
        for domain in DOMAINS.values():
            word = domain.words[0]
            article = "an" if word.startswith("i") else "a"
            rows.append(f"{article} {word} of a handwritten {{}}")
        return [row.format(word) for row in rows for word in WORDS], len(WORDS)
    rng = np.random.default_rng(0)
    caption = captioner(config.data)
    indexes = rng.integers(len(collection.facts), size=64)
    return [caption(collection.facts[i], rng) for i in indexes], 8
