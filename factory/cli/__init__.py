"""The command line: a module per command, with `NAME`, `HELP`, `add_arguments` and `run`."""
