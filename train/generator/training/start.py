"""Starting a run from an exported pipeline: its words, its latents and its weights.

The optimizer starts anew, so a run that is carried on this way warms up once more. What a
pipeline's weights mean depends on its tokenizer and its latents, which are taken along.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from factory.common.errors import UserError
from train.generator.config import Config
from train.generator.network.denoiser import Denoiser
from train.generator.network.latents import BASIS_FILE
from train.generator.network.text import WORDS_FILE
from train.generator.training.lineage import inherit
from train.generator.training.run_config import CHECKPOINT_FILE

WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
# In a run folder: the decoder of the pipeline it started from, which may be gone by its end.
START_DECODER = "start-decoder.safetensors"


def adopt(pipeline: Path, folder: Path) -> None:
    """Copy what a run needs of a pipeline besides the denoiser into the folder of a new run.

    That is tokenizer, words, latents, the decoder to begin with, and what it was trained on. A run
    that has learnt already has them, and the pipeline may be gone or be its own export by now.

    Raises:
        UserError: The folder is no pipeline that `export` made, or the run has not learnt yet but
            was begun with other words or latents, for which the weights mean nothing.
    """
    if (folder / CHECKPOINT_FILE).exists():
        return
    missing = [
        name
        for name in ("tokenizer", "unet", "text_encoder", "vae", WORDS_FILE, BASIS_FILE)
        if not (pipeline / name).exists()
    ]
    if missing:
        raise UserError(
            f"{pipeline}: holds no {', '.join(missing)}; start from a folder that `export` made"
        )
    _check_same(pipeline, folder)
    inherit(pipeline, folder)
    shutil.copy(pipeline / "vae" / WEIGHTS_FILE, folder / START_DECODER)
    for name in (WORDS_FILE, BASIS_FILE):
        if not (folder / name).exists():
            shutil.copy(pipeline / name, folder / name)
    if not (folder / "tokenizer").exists():
        shutil.copytree(pipeline / "tokenizer", folder / "tokenizer")


def _check_same(pipeline: Path, folder: Path) -> None:
    for name in (WORDS_FILE, BASIS_FILE, "tokenizer/tokenizer.json"):
        theirs, own = pipeline / name, folder / name
        if own.exists() and theirs.exists() and own.read_bytes() != theirs.read_bytes():
            raise UserError(
                f"{folder}: was begun with another {name} than that of {pipeline}; "
                "choose another --out"
            )


def load_denoiser_weights(denoiser: Denoiser, pipeline: Path) -> None:
    """Load the text encoder and the UNet of a pipeline.

    Raises:
        UserError: They have other sizes than the run's settings say.
    """
    _load(denoiser.text_encoder, pipeline / "text_encoder" / "model.safetensors")
    _load(denoiser.unet, pipeline / "unet" / WEIGHTS_FILE)


def load_start_decoder(autoencoder: Any, folder: Path) -> None:
    """Load the autoencoder of the pipeline that a run folder started from.

    Raises:
        UserError: It has other sizes than the run's settings say.
    """
    _load(autoencoder, folder / START_DECODER)


def start_of(config: Config) -> Path | None:
    """Return the pipeline folder a run starts from, or None."""
    return Path(config.fit.start_from) if config.fit.start_from else None


def _load(module: Any, path: Path) -> None:
    from safetensors.torch import load_file

    try:
        module.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise UserError(
            f"{path}: does not fit the run's settings ({str(error).splitlines()[-1].strip()}); "
            "give the settings it was made with"
        ) from None
