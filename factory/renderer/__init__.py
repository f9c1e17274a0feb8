"""From rows to uint8 images, through stock diffusers pipelines."""
