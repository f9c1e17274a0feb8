"""Start the command line as `python -m factory.command_line`, or as a folder."""

import os.path
import sys

if not __package__:
    # Started as a folder or file, sys.path[0] is the folder itself: replace it with the parent.
    sys.path[0] = os.path.realpath(f"{__file__}/../../..")

from factory.command_line.start import start

if __name__ == "__main__":
    start()
