"""A dataset's README.md: its text, images and scores."""
