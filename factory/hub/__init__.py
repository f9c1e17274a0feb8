"""Files and commits on the Hub; knows nothing about datasets."""
