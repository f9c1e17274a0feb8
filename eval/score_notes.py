"""Lines about scores for the terminal: results, and what affects them."""

from eval.real import RealImages
from eval.scores_file import Labels, Preprocessing, Scores
from eval.scoring_mode import STANDARD
from factory.common.console import log
from factory.common.text import plural
from factory.data.pixels import Fit
from factory.data.row_counts import FEW, count_warnings, counts_line

_FEW = 100
"""With as many images, the interval is 19 points wide where half of the answers are right."""


def describe(scores: Scores) -> str:
    """Return the result as one line for the terminal."""
    metrics, real = scores.metrics, scores.real
    top5 = "" if metrics.top5 is None else f", top-5 {100 * metrics.top5:.2f} %"
    how = "" if scores.scoring == STANDARD else f", scored with {scores.scoring}"
    how += f", {scores.model.unfinished}" if scores.model.unfinished else ""
    return (
        f"{scores.run} on {real.name} ({plural(real.num_images, 'image')}{how}): "
        f"top-1 {100 * metrics.top1:.2f} % "
        f"[{100 * metrics.top1_low:.2f}, {100 * metrics.top1_high:.2f}]{top5}, "
        f"calibration error {100 * metrics.calibration_error:.2f} %"
    )


_MATCHED = {
    "spelling": "class names differ in spelling from {real}; matched ignoring case, "
    "spaces, _, - and Unicode form",
    "synonym": "class names of {real} contain synonyms; matched by the part before the first comma",
    "map": "labels of {real} translated by the label map",
}


def note_labels(who: str, labels: Labels, *, real: str) -> None:
    """Log how class names were matched, if not exactly."""
    if labels.matched in _MATCHED:
        log(f"{who}: {_MATCHED[labels.matched].format(real=real)}")
    for group in labels.merged:
        log(f"{who}: counted as one class: {', '.join(group)}")


def note_counts(real: RealImages) -> None:
    """Log the number of images per class, with warnings."""
    log(counts_line(real.opened.shown, real.class_counts, real.opened.left_out))
    for warning in count_warnings(real.class_counts):
        log(f"warning: {warning}")


def note_few(scores: Scores, *, of_several: bool = False) -> None:
    """Log how wide the interval of the accuracy is, if there are few images.

    Args:
        scores: Of a run.
        of_several: Whether other runs are scored too: the run is named.
    """
    metrics, found = scores.metrics, scores.real.num_images
    of = f" of {scores.run}" if of_several else ""
    if found < _FEW or found < FEW * scores.labels.num_real:
        classes = plural(scores.labels.num_real, "class", "classes")
        log(
            f"warning: with {plural(found, 'image')} of {classes}, the 95 % interval of top-1{of} "
            f"is {100 * metrics.top1_low:.0f} to {100 * metrics.top1_high:.0f} %; more images make "
            "it narrower"
        )


def note_fit(model: str, preprocessing: Preprocessing, given: Fit | None) -> None:
    """Log that images are padded or squashed, as in the model's training, instead of cropped."""
    if given is None and preprocessing.fit != "crop":
        log(
            f"{model}: images that are not square: {preprocessing.fit}, as in the model's training "
            "(--fit chooses otherwise)"
        )


def note_unfinished(scores: Scores) -> None:
    """Log a warning if a run's training was not finished."""
    if scores.model.unfinished:
        log(
            f"warning: {scores.run} is {scores.model.unfinished}; finish it with the same `train` "
            "command and score it again"
        )


def note_cut(scores: Scores) -> None:
    """Log how many prompts of a zero-shot model exceed its token limit."""
    found = scores.zero_shot
    if found and found.cut:
        total = len(found.templates) * len(found.wordings)
        log(
            f"warning: {found.cut} of {total} {found.prompts} prompts exceed the token limit of "
            f"{found.model}; they are truncated"
        )


def note_unmeasured(scores: Scores) -> None:
    """Log which of the model's classes have no real images."""
    labels = scores.labels
    extra = labels.names[labels.num_real :]
    if extra:
        log(
            f"{scores.run}: {len(extra)} of its {len(labels.names)} classes are not in "
            f"{scores.real.name} ({', '.join(extra[:5])}{', ...' if len(extra) > 5 else ''}); "
            "predictions of these classes count as wrong"
        )
