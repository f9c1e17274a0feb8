"""Measure an exported pipeline: size, speed, prompt accuracy, use for training, memorisation."""
