"""The command line `data-factory`: all commands of `factory`, `train` and `eval` under one name."""
