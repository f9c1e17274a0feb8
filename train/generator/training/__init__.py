"""Trains the generator: batches, denoiser, decoder; runs that resume."""
