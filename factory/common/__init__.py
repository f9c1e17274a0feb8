"""Errors, terminal, files, devices, YAML, images in rows."""
