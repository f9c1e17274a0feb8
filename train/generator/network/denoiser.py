"""The denoiser with its text encoder, and the noise schedule they are trained for."""

from typing import Any

import torch
from torch import Tensor, nn

from train.generator.config import Config

TRAIN_STEPS = 1000


def build_unet(config: Config) -> Any:
    """Build the UNet2DConditionModel; its last convolution starts at zero."""
    from diffusers import UNet2DConditionModel

    levels = len(config.unet.channels)
    unet = UNet2DConditionModel(
        sample_size=config.data.image_size // config.latents.patch_size,
        in_channels=config.latents.channels,
        out_channels=config.latents.channels,
        down_block_types=("DownBlock2D",) * (levels - 1) + ("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
        mid_block_type="UNetMidBlock2DCrossAttn",
        block_out_channels=config.unet.channels,
        layers_per_block=config.unet.layers,
        cross_attention_dim=config.text.width,
        attention_head_dim=config.unet.heads,
        norm_num_groups=config.unet.norm_groups,
        resnet_time_scale_shift="scale_shift",
        use_linear_projection=True,
        time_embedding_dim=config.unet.time_width,
        addition_embed_type="text",
        addition_embed_type_num_heads=config.text.heads,
    )
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    return unet.to(memory_format=torch.channels_last)


def use_plain_attention(unet: Any) -> None:
    """Compute attention as plain matrix products.

    PyTorch's fused kernel is a third slower to train on a CPU for sequences of 16 and fewer.
    """
    from diffusers.models.attention_processor import AttnProcessor

    unet.set_attn_processor(AttnProcessor())


def noise_schedule() -> Any:
    """Return the schedule of training: squared cosine, v prediction, zero terminal SNR."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        num_train_timesteps=TRAIN_STEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )


class Denoiser(nn.Module):
    """Text encoder and UNet as one module, so that both are trained and averaged together."""

    def __init__(self, text_encoder: Any, unet: Any) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.unet = unet

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict v for noisy latents (N, C, h, w) under token ids (N, length)."""
        states = self.text_encoder(tokens).last_hidden_state
        predicted: Tensor = self.unet(noisy, timesteps, states, return_dict=False)[0]
        return predicted
