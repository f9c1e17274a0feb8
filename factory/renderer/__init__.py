"""Rows to uint8 images, through diffusers pipelines."""
