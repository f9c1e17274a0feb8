"""The generator itself: text encoder, linear latents and denoiser; images sampled from it."""
