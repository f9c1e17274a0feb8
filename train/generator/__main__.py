"""Start the command line of the generator's training."""

import os.path
import sys

if not __package__:
    sys.path[0] = os.path.realpath(f"{__file__}/../../..")

from factory.common.early_stop import end_quietly

if __name__ == "__main__":
    end_quietly()
    from factory.common.entry import run_main
    from train.generator.cli import main

    run_main(main)
