"""Resolved recipes to rows; random streams; cost."""
