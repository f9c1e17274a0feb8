"""Small classifiers that judge generated images."""
