"""YAML files to resolved recipes: read, merge, check, pin."""
