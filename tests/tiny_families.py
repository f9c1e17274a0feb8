"""Tiny pipelines of all preset families with random weights; 16 or 32 px images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import tiny_models
import torch
from tiny_models import PIXELS


def _t5(width: int = 16) -> dict[str, Any]:
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    letters = [(chr(code), -3.0) for code in range(33, 127)]
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0)]
    tokenizer = T5Tokenizer(vocab=[*specials, *letters], extra_ids=0)
    torch.manual_seed(5)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        initializer_factor=4.0,
    )
    return {"tokenizer": tokenizer, "text_encoder": T5EncoderModel(config).eval()}


def _clip(folder: Path, *, seed: int, projected: bool = False) -> dict[str, Any]:
    from transformers import CLIPTextModelWithProjection

    tokenizer = tiny_models._tokenizer(folder)
    encoder = tiny_models._text_encoder(len(tokenizer), seed=seed)
    if projected:
        torch.manual_seed(seed)
        encoder.config.projection_dim = 16
        encoder = CLIPTextModelWithProjection(encoder.config).eval()
    return {"tokenizer": tokenizer, "text_encoder": encoder}


def _vae(channels: int = 4) -> Any:
    from diffusers import AutoencoderKL

    torch.manual_seed(2)
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=PIXELS,
        shift_factor=0.1,
        use_quant_conv=channels == 4,
        use_post_quant_conv=channels == 4,
    ).eval()


def stable_diffusion(folder: Path) -> Any:
    from diffusers import DiffusionPipeline

    return DiffusionPipeline.from_pretrained(tiny_models.save_stable_diffusion(folder))


def sdxl(folder: Path) -> Any:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    first = _clip(folder / "one", seed=0)
    second = _clip(folder / "two", seed=3, projected=True)
    unet = tiny_models._unet(
        cross_attention_dim=32,
        attention_head_dim=(2, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=16 + 6 * 8,
    )
    return StableDiffusionXLPipeline(
        vae=_vae(),
        **first,
        tokenizer_2=second["tokenizer"],
        text_encoder_2=second["text_encoder"],
        unet=unet,
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1),
        add_watermarker=False,
    )


def sd3(folder: Path, *, layers: int = 2) -> Any:
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )

    first = _clip(folder / "one", seed=0, projected=True)
    second = _clip(folder / "two", seed=3, projected=True)
    third = _t5(32)
    torch.manual_seed(1)
    transformer = SD3Transformer2DModel(
        sample_size=PIXELS // 2,
        patch_size=2,
        in_channels=8,
        out_channels=8,
        num_layers=layers,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_projection_dim=16,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        pos_embed_max_size=16,
    ).eval()
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae(8),
        **first,
        tokenizer_2=second["tokenizer"],
        text_encoder_2=second["text_encoder"],
        tokenizer_3=third["tokenizer"],
        text_encoder_3=third["text_encoder"],
    )


def flux(folder: Path, *, guidance_embeds: bool = True, layers: int = 1) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    second = _t5()
    torch.manual_seed(1)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=layers,
        num_single_layers=layers,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=guidance_embeds,
    ).eval()
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=_vae(4),
        **_clip(folder / "one", seed=0),
        tokenizer_2=second["tokenizer"],
        text_encoder_2=second["text_encoder"],
        transformer=transformer,
    )


def flux_schnell(folder: Path) -> Any:
    return flux(folder, guidance_embeds=False)


def pixart(folder: Path, *, layers: int = 2) -> Any:
    from diffusers import (
        DPMSolverMultistepScheduler,
        PixArtAlphaPipeline,
        PixArtTransformer2DModel,
    )

    torch.manual_seed(1)
    transformer = PixArtTransformer2DModel(
        sample_size=PIXELS // 2,
        patch_size=2,
        in_channels=4,
        out_channels=8,
        num_layers=layers,
        attention_head_dim=8,
        num_attention_heads=2,
        cross_attention_dim=16,
        caption_channels=16,
        norm_num_groups=4,
        use_additional_conditions=False,
    ).eval()
    return PixArtAlphaPipeline(
        **_t5(),
        vae=_vae(),
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(),
    )


def lcm(folder: Path) -> Any:
    from diffusers import LatentConsistencyModelPipeline, LCMScheduler

    return LatentConsistencyModelPipeline(
        vae=_vae(),
        **_clip(folder, seed=0),
        unet=tiny_models._unet(time_cond_proj_dim=8),
        scheduler=LCMScheduler(beta_schedule="scaled_linear"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def deep_chroma(folder: Path) -> Any:
    """Its two passes of a guided step are separate calls."""
    from diffusers import ChromaPipeline, ChromaTransformer2DModel, FlowMatchEulerDiscreteScheduler

    torch.manual_seed(1)
    transformer = ChromaTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=9,
        num_single_layers=9,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 4, 8),
        approximator_num_channels=8,
        approximator_hidden_dim=16,
        approximator_layers=1,
    ).eval()
    return ChromaPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(), vae=_vae(), **_t5(), transformer=transformer
    )


deep_sd3, deep_flux, deep_pixart = (partial(make, layers=9) for make in (sd3, flux, pixart))
"""With more than the eight blocks that cache-dit always computes."""
