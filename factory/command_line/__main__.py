"""Start the command line as `python -m factory.command_line`, or as a folder."""

import sys
from pathlib import Path

if not __package__:
    # Started as a folder or file, sys.path[0] is the folder itself: replace it with the parent.
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

from factory.command_line.cli import start

if __name__ == "__main__":
    start()
