"""Train the generator: batches, denoiser, decoder; runs can be resumed."""
