"""The console script: handle Ctrl-C first, then import the command line."""

from factory.common.early_stop import end_quietly


def start() -> None:
    """Run the command line in `sys.argv` and exit."""
    end_quietly()
    from factory.command_line import cli

    cli.start()
