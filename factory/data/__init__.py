"""Opens, filters and decodes any image dataset."""
