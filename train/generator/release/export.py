"""Export a run as a stock diffusers pipeline: fp16 safetensors, without custom code.

The folder is written beside its destination and swapped in, so it is never incomplete.
"""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from factory.common.errors import UserError
from factory.common.program import module
from train.generator.config import Config
from train.generator.network.denoiser import TRAIN_STEPS, Denoiser, build_unet
from train.generator.network.latents import BASIS_FILE
from train.generator.network.text import WORDS_FILE, build_text_encoder
from train.generator.training.decoder import build_autoencoder
from train.generator.training.lineage import lineage_of, write_lineage
from train.generator.training.run_config import CHECKPOINT_FILE, load_config_of
from train.generator.training.start import START_DECODER, load_start_decoder

log = logging.getLogger(__name__)

CARD = "README.md"


def sampling_scheduler() -> Any:
    """Return the pipeline's scheduler: DPM-Solver++ over the training schedule."""
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(
        num_train_timesteps=TRAIN_STEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        steps_offset=1,
        algorithm_type="dpmsolver++",
        solver_order=2,
        lower_order_final=True,
        euler_at_final=False,
    )


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Load the latest checkpoint of a run.

    Raises:
        UserError: It has no checkpoint yet.
    """
    path = folder / CHECKPOINT_FILE
    if not path.exists():
        raise UserError(f"{folder}: no checkpoint yet; run `fit` a little longer")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def load_denoiser(config: Config, state: dict[str, Any], tokenizer: Any) -> Denoiser:
    """Build the denoiser with the averaged weights of a checkpoint."""
    model = Denoiser(build_text_encoder(tokenizer, config.text), build_unet(config))
    model.load_state_dict(state["average"])
    return model.eval()


def build_pipeline(folder: Path, state: dict[str, Any]) -> Any:
    """Return the float32 StableDiffusionPipeline of a checkpoint of a run.

    Raises:
        UserError: The run has no denoiser yet, or no decoder and did not start from a pipeline.
    """
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPTokenizer

    config = load_config_of(folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    denoiser = load_denoiser(config, state, tokenizer)
    autoencoder = build_autoencoder(config).eval()
    if (folder / "decoder.pt").exists():
        decoder = torch.load(folder / "decoder.pt", map_location="cpu", weights_only=True)
        autoencoder.load_state_dict(decoder["model"])
    elif (folder / START_DECODER).exists():
        # The latents are those of the pipeline it started from, so that its decoder fits.
        log.warning("%s: has no decoder; using that of the pipeline it started from", folder)
        load_start_decoder(autoencoder, folder)
    else:
        raise UserError(f"{folder}: no decoder yet; run `fit --stage decoder`")
    return StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=denoiser.text_encoder,
        tokenizer=tokenizer,
        unet=denoiser.unet,
        scheduler=sampling_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )


def export(folder: Path, to: Path) -> None:
    """Write the pipeline of a run to `to`; an existing one is replaced, but its card is kept.

    Raises:
        UserError: The run is not ready, or `to` contains something not written by `export`.
    """
    to = to.resolve()
    _check_replaceable(to)
    # Checked first: a folder that is not a run has no checkpoint either.
    load_config_of(folder)
    # Loaded once: a running training may write another in the meantime.
    state = load_checkpoint(folder)
    pipeline = build_pipeline(folder, state).to(torch.float16)
    fresh = to.with_name(f".{to.name}-new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.parent.mkdir(parents=True, exist_ok=True)
    pipeline.save_pretrained(fresh, safe_serialization=True)
    # So that transformers loads the text encoder in float32, as diffusers does the other parts.
    _edit(fresh / "text_encoder" / "config.json", lambda values: values.update(dtype="float32"))
    # AutoencoderTiny warns about derived values when it loads them.
    _edit(fresh / "vae" / "config.json", lambda values: values.pop("block_out_channels", None))
    # `factory.recipe.known_words` warns about words that are not listed; another run may start from
    # here.
    for name in (WORDS_FILE, BASIS_FILE):
        shutil.copy(folder / name, fresh / name)
    write_lineage(lineage_of(folder, state), fresh)
    for kept in to.glob("*.md"), to.glob("*.png"), to.glob("*.jpg"), to.glob("__init__.py"):
        for path in kept:
            shutil.copy(path, fresh / path.name)
    _swap(fresh, to)
    log.info("%s: %.1f MB", to, folder_bytes(to) / 1e6)


def _check_replaceable(to: Path) -> None:
    """Reject a destination with other content, because the folder is replaced as a whole."""
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return
    if not all((to / name).is_file() for name in ("model_index.json", BASIS_FILE)):
        raise UserError(
            f"{to}: is not a generator that `{module('train.generator')} export` wrote, and would "
            "be replaced; name a new folder"
        )


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text(encoding="utf-8"))
    change(values)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _swap(fresh: Path, to: Path) -> None:
    old = to.with_name(f".{to.name}-old")
    shutil.rmtree(old, ignore_errors=True)
    if to.exists():
        to.rename(old)
    fresh.rename(to)
    shutil.rmtree(old, ignore_errors=True)


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
