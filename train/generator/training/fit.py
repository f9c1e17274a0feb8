"""Run all training stages: data, latents, denoiser, decoder. Each stage is resumable.

A run folder contains `config.json`, `data/`, `latents.safetensors`, `latents.npy`, `tokenizer/`,
`words.txt`, `checkpoint.pt`, `best.pt` (of the best probe), `decoder.pt`, `loss.csv` and `sheets/`;
a run that started from a pipeline also `training.yaml` and `start-decoder.safetensors`. `export`
turns it into a pipeline.
"""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from factory.common.devices import on_cpus
from factory.common.whole_files import replace_text
from train.environment import join_launch
from train.generator.config import DIGITS, Config, SourceConfig
from train.generator.images.captions import WORDS, make_captioner, with_article
from train.generator.images.data import (
    Collection,
    join_parts,
    load_collection,
    prepare_part,
    sampling_weights,
)
from train.generator.images.data_summary import counts_of_sources
from train.generator.images.domains import DOMAINS
from train.generator.images.filters import FILTERS
from train.generator.network.denoiser import Denoiser, build_unet, use_plain_attention
from train.generator.network.latents import BASIS_FILE, PatchBasis, save_latents
from train.generator.network.sheets import linear_images, sample, save_grid
from train.generator.network.text import (
    WORDS_FILE,
    TokenCache,
    build_text_encoder,
    train_tokenizer,
    words_of,
)
from train.generator.probe.run_probe import RunProbe
from train.generator.training.batches import TrainingSet
from train.generator.training.diffusion import Trainer, run
from train.generator.training.lineage import read_lineage
from train.generator.training.run_config import (
    CHECKPOINT_FILE,
    check_config,
    save_config,
    with_saved_start,
)
from train.generator.training.start import adopt, load_denoiser_weights, start_of

log = logging.getLogger(__name__)

Stage = Literal["denoiser", "decoder"]
STAGES: tuple[Stage, ...] = ("denoiser", "decoder")
CORPUS = 120_000
# Words in fewer captions are learned too rarely to count as known.
KNOWN_FROM = 20
COLUMNS = 10
LATENTS = "latents.npy"
SHEET_GUIDANCE = 2.0
SHEET_STEPS = 16


@dataclass(frozen=True)
class Prepared:
    """Prepared input of both stages."""

    collection: Collection
    basis: PatchBasis
    tokenizer: Any


def fit(config: Config, folder: Path, *, stages: tuple[Stage, ...]) -> None:
    """Create the run folder, or resume the run in it."""
    from accelerate.utils import DistributedDataParallelKwargs

    handlers = [DistributedDataParallelKwargs(gradient_as_bucket_view=True)]
    accelerator = join_launch(mixed_precision=mixed_precision(config), kwargs_handlers=handlers)
    check_config(config, folder)
    config = with_saved_start(config, folder)
    prepared = prepare(config, folder, accelerator)
    if accelerator.is_main_process:
        for line in counts_of_sources(config, prepared.collection.facts):
            log.info("%s", line)
    if "denoiser" in stages:
        _fit_denoiser(config, folder, accelerator, prepared)
    main = bool(accelerator.is_main_process)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    if "decoder" in stages and main:
        _fit_decoder(config, folder, prepared)


def _fit_decoder(config: Config, folder: Path, prepared: Prepared) -> None:
    """Train the decoder in one process: the others have ended, and none waits at a barrier."""
    from train.generator.training.decoder import fit_decoder

    # The other processes' cores are free now.
    threads = torch.get_num_threads() * int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(max(1, min(threads, os.cpu_count() or 1)))
    # It runs on the CPU, whatever the denoiser ran on.
    precision = "no" if config.fit.mixed_precision == "no" else _cpu_precision()
    fit_decoder(config, folder, prepared.basis, prepared.collection, mixed_precision=precision)


def mixed_precision(config: Config) -> str:
    """Return accelerate's name for the precision of a run: bf16 if the hardware supports it."""
    chosen = config.fit.mixed_precision
    if chosen != "auto":
        return chosen
    if not on_cpus():
        supported = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        return "bf16" if supported else "no"
    return _cpu_precision()


def _cpu_precision() -> str:
    # On a CPU without bfloat16 instructions, emulation is many times slower than float32.
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "no"


def prepare(config: Config, folder: Path, accelerator: Any) -> Prepared:
    """Render or read the images, fit latents and tokenizer; every process then opens them."""
    data = folder / "data"
    start = start_of(config)
    if start and not (folder / CHECKPOINT_FILE).exists():
        # Report unreadable files before spending an hour on reading images.
        read_lineage(start)
    rank, world_size = int(accelerator.process_index), int(accelerator.num_processes)
    prepare_part(config.data, data, rank=rank, world_size=world_size)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if start:
            adopt(start, folder)
        # Only now: unusable settings in the folder would block the corrected ones.
        save_config(config, folder)
        join_parts(config.data, data, world_size=world_size)
        _prepare_models(config, folder, load_collection(config.data, data))
    accelerator.wait_for_everyone()
    return open_prepared(config, folder)


def open_prepared(config: Config, folder: Path) -> Prepared:
    """Open the files that `prepare` wrote in a run folder."""
    from transformers import CLIPTokenizer

    return Prepared(
        load_collection(config.data, folder / "data"),
        PatchBasis.load(folder / BASIS_FILE),
        CLIPTokenizer.from_pretrained(folder / "tokenizer"),
    )


def _prepare_models(config: Config, folder: Path, collection: Collection) -> None:
    rng = np.random.default_rng(config.data.seed)
    if not (folder / BASIS_FILE).exists():
        weights = sampling_weights(config.data, collection.facts)
        count = min(config.latents.images, int((weights > 0).sum()))
        chosen = rng.choice(len(weights), size=count, replace=False, p=weights)
        images = torch.from_numpy(collection.images[np.sort(chosen)])
        PatchBasis.fit(images, config.latents).save(folder / BASIS_FILE)
    if not (folder / LATENTS).exists():
        basis = PatchBasis.load(folder / BASIS_FILE)
        save_latents(basis, collection.images, folder / LATENTS)
    if not (folder / "tokenizer").exists():
        caption = make_captioner(config.data.sources)
        indexes = rng.permutation(len(collection.facts))
        corpus = [caption(collection.facts[i], rng) for i in indexes[:CORPUS]]
        often = max(1, min(KNOWN_FROM, len(corpus) // 2_000))
        words = words_of(corpus, at_least=often)
        replace_text(folder / WORDS_FILE, "\n".join(words) + "\n")
        train_tokenizer(corpus, config.text).save_pretrained(folder / "tokenizer")


def _fit_denoiser(config: Config, folder: Path, accelerator: Any, prepared: Prepared) -> None:
    torch.manual_seed(config.fit.seed)
    text_encoder = build_text_encoder(prepared.tokenizer, config.text)
    unet = build_unet(config)
    if accelerator.device.type == "cpu":
        use_plain_attention(unet)
    denoiser = Denoiser(text_encoder, unet)
    trainer = Trainer(config, folder=folder, accelerator=accelerator, denoiser=denoiser)
    if not trainer.resume() and (pipeline := start_of(config)):
        load_denoiser_weights(trainer.plain(), pipeline)
        trainer.forget_average()
    weights = sampling_weights(config.data, prepared.collection.facts)
    data = TrainingSet(
        torch.from_numpy(np.load(folder / LATENTS, mmap_mode="c")),
        prepared.collection,
        make_captioner(config.data.sources),
        config.data.empty_captions,
        np.cumsum(weights),
    )
    run(
        trainer,
        data,
        TokenCache(prepared.tokenizer),
        show=_Sheets(config, folder, prepared),
        probe=RunProbe(folder, prepared.basis, TokenCache(prepared.tokenizer)),
        started=time.monotonic() - trainer.seconds,
    )


class _Sheets:
    """Writes contact sheets during training: rows of prompts with the same initial noise."""

    def __init__(self, config: Config, folder: Path, prepared: Prepared) -> None:
        self._folder = folder / "sheets"
        self._folder.mkdir(exist_ok=True)
        self._basis = prepared.basis
        self._tokens = TokenCache(prepared.tokenizer)
        self._prompts, self._columns = sheet_prompts(config, prepared.collection)

    def __call__(self, model: Denoiser, samples: int) -> None:
        """Write one sheet."""
        latents = sample(
            model,
            self._tokens(self._prompts),
            self._tokens([""]),
            guidance_scale=SHEET_GUIDANCE,
            steps=SHEET_STEPS,
            seed=0,
        )
        decoded = linear_images(self._basis, latents)
        path = self._folder / f"{samples:09d}.png"
        save_grid(decoded, path, columns=self._columns)


def sheet_prompts(config: Config, collection: Collection) -> tuple[list[str], int]:
    """Return a sheet's prompts, ten per row, and its number of columns."""
    prompts: list[str] = []
    for number, source in enumerate(config.data.sources):
        if source.source == DIGITS:
            prompts += _digit_rows(config)
        else:
            prompts += _named_rows(source, number, collection)
    return prompts, COLUMNS


def _digit_rows(config: Config) -> list[str]:
    domains = [with_article(domain.words[0]) for domain in DOMAINS.values()]
    several = len(config.data.sources) > 1
    rows = ["an image of a handwritten {}"] * (2 if several else 4)
    rows += [f"{domain} of a handwritten {{}}" for domain in domains[: 4 if several else None]]
    return [row.format(word) for row in rows for word in WORDS]


def _named_rows(source: SourceConfig, number: int, collection: Collection) -> list[str]:
    """Return rows for the focus classes, plain and in the filters' domains; else any captions."""
    if not source.focus:
        rng = np.random.default_rng(0)
        caption = make_captioner([source])
        own = [facts for facts in collection.facts if facts["source"] == str(number)]
        chosen = rng.integers(len(own), size=3 * COLUMNS)
        return [caption({**own[i], "source": "0"}, rng) for i in chosen]
    nouns = (list(source.focus) * COLUMNS)[:COLUMNS]
    above = "satellite" in source.filters
    plain = [f"a satellite photo of {with_article(n)}" if above else n for n in nouns]
    prompts = plain * 5
    for name in source.filters:
        word = with_article(FILTERS[name].words[0])
        prompts += [f"{word} of {with_article(noun)}" for noun in nouns]
    return prompts
