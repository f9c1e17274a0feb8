"""One module a verb of the command line: `NAME`, `HELP`, `add_arguments(parser)`, `run(args)`."""
