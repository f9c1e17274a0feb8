"""The commands of `eval`, one module each."""
