"""Trains any timm model on a dataset of images."""
