"""Score trained models on real images."""
