"""Which models exist, and what pins them; CLIP."""
