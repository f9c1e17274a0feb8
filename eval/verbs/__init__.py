"""The verbs of `eval`, a module each."""
