"""A dataset's README.md: text, images, scores."""
