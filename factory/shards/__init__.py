"""A dataset directory: manifest and Parquet files."""
