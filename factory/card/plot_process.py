"""The process that `factory.card.plots_ahead` starts: pickled spreads on stdin, a PNG on stdout."""

import gc
import pickle
import sys

if __name__ == "__main__":
    # It lives for a second, most of which is imports.
    gc.disable()
    from factory.card.plots import draw

    sys.stdout.buffer.write(draw(*pickle.load(sys.stdin.buffer)))
    gc.freeze()
