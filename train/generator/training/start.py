"""Start a run from an exported pipeline: its words, latents and weights.

The optimizer starts again, so such a run warms up again. The meaning of the weights depends on the
tokenizer and the latents, which are copied too.
"""

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
# In a run folder: the decoder of the pipeline it started from, which may be deleted later.
START_DECODER = "start-decoder.safetensors"


def adopt(pipeline: Path, folder: Path) -> None:
    """Copy the parts of a pipeline except the denoiser into the folder of a new run.

    These are tokenizer, words, latents, initial decoder, and training history. A run that has been
    trained has them already, and its pipeline may be deleted or be its own export.

    Raises:
        UserError: The folder is not a pipeline written by `export`, or the run was started with
            other words or latents, for which the weights are useless.
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
            f"{pipeline}: contains no {', '.join(missing)}; start from a folder written by `export`"
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
                f"{folder}: was started with another {name} than that of {pipeline}; "
                "choose another --out"
            )


def load_denoiser_weights(denoiser: Denoiser, pipeline: Path) -> None:
    """Load the text encoder and the UNet of a pipeline.

    Raises:
        UserError: Their sizes differ from the run's settings.
    """
    _load(denoiser.text_encoder, pipeline / "text_encoder" / "model.safetensors")
    _load(denoiser.unet, pipeline / "unet" / WEIGHTS_FILE)


def load_start_decoder(autoencoder: Any, folder: Path) -> None:
    """Load the autoencoder of the pipeline that a run folder started from.

    Raises:
        UserError: Its sizes differ from the run's settings.
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
            "use the settings it was trained with"
        ) from None
