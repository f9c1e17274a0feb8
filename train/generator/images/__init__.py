"""The images that the generator learns from, with their captions."""
