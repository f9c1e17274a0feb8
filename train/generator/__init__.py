"""Train the embedded generator: a small text-to-image latent diffusion model."""
