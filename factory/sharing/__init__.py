"""Datasets and recipes to and from the Hub."""
