"""Pipelines of real architectures with random weights: as fast as with trained ones.

Sizes are those of the published configurations. Tokenizers are the tests' byte-level ones, and of
SD3.5's third text encoder only the shape of the output is real: texts are encoded once per prompt
and hardly count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny_families
import tiny_models

_TOKENS = 77


@dataclass(frozen=True)
class Model:
    """An architecture and how it is measured.

    Attributes:
        name: Name on the page.
        make: Builds the pipeline; the argument is a folder for its tokenizers.
        pixels: Height and width.
        batch: Images per call.
        images: Images of a build.
        repeats: Rounds of a build and single batches.
    """

    name: str
    make: Callable[[Path], Any]
    pixels: int
    batch: int
    images: int
    repeats: int


def stable_diffusion(folder: Path) -> Any:
    """Return a pipeline of Stable Diffusion 1.4's shape."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    return StableDiffusionPipeline(
        **_clip(folder, _large()),
        # The class's defaults are Stable Diffusion 1's sizes.
        unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
        vae=_vae(512),
        scheduler=_ddim(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl(folder: Path) -> Any:
    """Return a pipeline of Stable Diffusion XL's shape."""
    from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel

    first, second = _clip(folder / "1", _large()), _clip(folder / "2", _huge(), projected=True)
    unet = UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )
    return StableDiffusionXLPipeline(
        **first,
        tokenizer_2=second["tokenizer"],
        text_encoder_2=second["text_encoder"],
        unet=unet,
        vae=_vae(1024),
        scheduler=_ddim(),
        add_watermarker=False,
    )


def sd35_medium(folder: Path) -> Any:
    """Return a pipeline of Stable Diffusion 3.5 Medium's shape."""
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )

    first = _clip(folder / "1", _large(), projected=True)
    second, third = _clip(folder / "2", _huge(), projected=True), tiny_families._t5(4096)
    transformer = SD3Transformer2DModel(
        sample_size=128,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=24,
        attention_head_dim=64,
        num_attention_heads=24,
        joint_attention_dim=4096,
        caption_projection_dim=1536,
        pooled_projection_dim=2048,
        pos_embed_max_size=384,
        dual_attention_layers=tuple(range(13)),
        qk_norm="rms_norm",
    )
    return StableDiffusion3Pipeline(
        **first,
        tokenizer_2=second["tokenizer"],
        text_encoder_2=second["text_encoder"],
        tokenizer_3=third["tokenizer"],
        text_encoder_3=third["text_encoder"],
        transformer=transformer,
        vae=_vae(1024, channels=16, shift_factor=0.0609),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def flux_of_fewer_blocks(folder: Path) -> Any:
    """Return a pipeline of FLUX.1's shape with 4 of 19 double and 8 of 38 single blocks."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    second = tiny_families._t5(4096)
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(1024, channels=16, shift_factor=0.1159),
        **_clip(folder / "1", _large()),
        tokenizer_2=second["tokenizer"],
        text_encoder_2=second["text_encoder"],
        # The class's defaults are FLUX.1's sizes.
        transformer=FluxTransformer2DModel(num_layers=4, num_single_layers=8, guidance_embeds=True),
    )


FULL = (
    Model("Stable Diffusion 1.4", stable_diffusion, 512, batch=32, images=256, repeats=3),
    Model("Stable Diffusion XL", sdxl, 1024, batch=8, images=32, repeats=2),
    Model("Stable Diffusion 3.5 Medium", sd35_medium, 1024, batch=4, images=16, repeats=2),
)
TINY = (
    Model("Stable Diffusion 1.4", tiny_families.stable_diffusion, 16, 2, images=6, repeats=1),
    Model("Stable Diffusion XL", tiny_families.sdxl, 16, 2, images=4, repeats=1),
    Model("Stable Diffusion 3.5 Medium", tiny_families.sd3, 16, 2, images=4, repeats=1),
)


def _large() -> dict[str, Any]:
    """Return the sizes of CLIP ViT-L/14's text encoder."""
    return {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "projection_dim": 768,
        "hidden_act": "quick_gelu",
    }


def _huge() -> dict[str, Any]:
    """Return the sizes of OpenCLIP ViT-bigG/14's text encoder."""
    return {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "projection_dim": 1280,
        "hidden_act": "gelu",
    }


def _clip(folder: Path, sizes: dict[str, Any], *, projected: bool = False) -> dict[str, Any]:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = tiny_models._tokenizer(folder)
    tokenizer.model_max_length = _TOKENS
    config = CLIPTextConfig(
        vocab_size=49408,
        max_position_embeddings=_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **sizes,
    )
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    return {"tokenizer": tokenizer, "text_encoder": kind(config).eval()}


def _vae(pixels: int, *, channels: int = 4, **more: Any) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=channels,
        sample_size=pixels,
        use_quant_conv=channels == 4,
        use_post_quant_conv=channels == 4,
        **more,
    ).eval()


def _ddim() -> Any:
    return tiny_models._scheduler()
