"""The process that `factory.card.plots_ahead` starts: pickled spreads on stdin, a PNG on stdout."""

import gc
import pickle
import sys


def main() -> None:
    """Plot once."""
    # The process lives for a second, most of which is imports.
    gc.disable()
    from factory.card.plots import draw

    sys.stdout.buffer.write(draw(*pickle.load(sys.stdin.buffer)))
    # Python collects garbage once more when it ends.
    gc.freeze()
