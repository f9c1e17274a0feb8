"""A trained generator as a stock diffusers pipeline, with its card."""
