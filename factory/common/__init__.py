"""Errors, the terminal, files and devices: what every package may use, `train` and `eval` too."""
