"""Train any timm model on an image dataset."""
