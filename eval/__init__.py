"""Scores trained models on real images."""
