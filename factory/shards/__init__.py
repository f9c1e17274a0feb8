"""A dataset directory: manifest, settings, Parquet files and their metadata."""
