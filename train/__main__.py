"""Start `train` as a package (`python -m train`) or a folder (`accelerate launch train`)."""

import sys
from pathlib import Path

if not __package__:
    # Started as a folder, sys.path[0] is the folder itself: replace it with the parent.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from factory.common.entry import run_main
from train.cli import main

if __name__ == "__main__":
    run_main(main)
