"""Start `factory` as a package (`python -m factory`) or a folder (`accelerate launch factory`)."""

import sys
from pathlib import Path

if not __package__:
    # Started as a folder, sys.path[0] is the folder itself: replace it with the parent.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from factory.cli.main import main
from factory.common.entry import run_main

if __name__ == "__main__":
    run_main(main)
