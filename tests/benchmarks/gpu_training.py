"""Training and scoring on a GPU, and the time of the paper's trainings at that speed.

With `--device cpu` the same code runs with a tiny model, to try it without a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from . import scoring, training
from .timing import Figure, Scale, Spread
from .training import Case, Trained

_BATCH = 128
_FULL = (
    Case("resnet50", 32, 100 * _BATCH, 5, ".png", _BATCH),
    Case("resnet50", 224, 30 * _BATCH, 4, ".jpg", _BATCH),
)
_QUICK = (
    Case("test_resnet", 32, 128, 2, ".png", 32),
    Case("test_resnet", 64, 128, 2, ".jpg", 32),
)
_TINY = (
    Case("test_resnet", 32, 20, 2, ".png", 10),
    Case("test_resnet", 64, 20, 2, ".jpg", 10),
)
# Sections 3.3 and 4.1: CIFAR-10's base class has 5,000 images per class, EuroSAT's 2,700.
_EPOCHS = 200
_PAPER = {32: ("CIFAR-10", 50_000), 224: ("EuroSAT", 27_000)}


def run(folder: Path, scale: Scale, device: str) -> list[Figure]:
    """Measure each size once, so that all fits in four minutes; then scoring."""
    found = []
    cases = (_FULL if device == "cuda" else _QUICK) if scale.name == "full" else _QUICK
    for number, one in enumerate(scale.pick(cases, cases, _TINY)):
        case = replace(one, device=device)
        place = folder / f"case-{number}"
        data = training.images_of(place, case)
        done = training.measured(place, data, case, scale, repeats=1)
        found += training.figures(case, done) + training.waiting(case, done)
        found += _paper(case, done["ours"])
    # Photographs again, decoded in each epoch, as if they were too many for the memory.
    files = replace(case, in_memory=False)
    done["ours"] = [training.train(data, place, files, scale)]
    found += training.figures(files, done) + training.waiting(files, done)
    scores = scoring.run(folder / "score", scale, device, repeats=1)
    return found + [replace(one, what=f"score: {one.what}") for one in scores]


def _paper(case: Case, done: Sequence[Trained]) -> list[Figure]:
    """Return the time of a whole training of the paper, of a full run only."""
    if case.side not in _PAPER or case.model != "resnet50":
        return []
    name, images = _PAPER[case.side]
    minutes = [_EPOCHS * (images / one.rate + one.pause) / 60 for one in done]
    note = f"computed: {_EPOCHS} epochs of {images:,} images, batches of {_BATCH}"
    what = f"{case.model}, {case.side} px: the paper's {name} base class"
    return [Figure(what, "minutes", Spread.of(minutes), note=note)]
