"""Start `eval` as a package (`python -m eval`) or a folder (`accelerate launch eval`)."""

import os.path
import sys

if not __package__:
    # Started as a folder, sys.path[0] is the folder itself: replace it with the parent.
    sys.path[0] = os.path.realpath(f"{__file__}/../..")

from factory.common.early_stop import end_quietly

if __name__ == "__main__":
    end_quietly()
    from eval.cli import main
    from factory.common.entry import run_main

    run_main(main)
