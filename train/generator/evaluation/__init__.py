"""Measures an exported pipeline: size, speed, words, use for training, copies."""
