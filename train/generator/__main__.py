"""Start the command line of the generator's training."""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

from factory.common.entry import run_main
from train.generator.cli import main

if __name__ == "__main__":
    run_main(main)
