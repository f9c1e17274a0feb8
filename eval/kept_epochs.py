"""Score the saved epochs of a run and select the best on real images, as in the paper's code."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from eval.checkpoint import Checkpoint
from eval.predict import Predictions
from eval.scores_file import Visit
from factory.common.errors import UserError
from factory.common.whole_files import sha256

_NAME = re.compile(r"epoch-(\d+)\.safetensors")


def kept_epochs(folder: Path) -> list[tuple[int, Path]]:
    """Return the saved epochs of a run with their files, in ascending order."""
    found = []
    for path in (folder / "epochs").glob("epoch-*.safetensors"):
        match = _NAME.fullmatch(path.name)
        if match:
            found.append((int(match[1]), path))
    return sorted(found)


def best_visit(
    checkpoint: Checkpoint,
    *,
    predict: Callable[[], Predictions],
    num_correct: Callable[[Predictions], int],
) -> tuple[Checkpoint, Predictions, list[Visit]]:
    """Score every saved epoch on the real images and return the best; the earliest on ties.

    Returns:
        The checkpoint with the best epoch recorded, its predictions, and the scores of all epochs.

    Raises:
        UserError: The run saved no epochs, or they do not fit its model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    epochs = kept_epochs(checkpoint.folder)
    if not epochs:
        raise UserError(
            f"{checkpoint.run}: has no saved epochs, so --best-on-test cannot select one; "
            "train with --keep-every 5"
        )
    visits: list[Visit] = []
    best: tuple[int, Path, Predictions] | None = None
    for epoch, path in epochs:
        try:
            checkpoint.model.load_state_dict(load_file(path))
        except (SafetensorError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"{path}: does not fit the run's model ({reason})") from None
        predictions = predict()
        correct = num_correct(predictions)
        visits.append(Visit(epoch=epoch, top1=correct / len(predictions.ranked)))
        if best is None or correct > best[0]:
            best = correct, path, predictions
    assert best is not None, "there is an epoch"
    facts = checkpoint.facts.model_copy(
        update={
            "weights_sha256": sha256(best[1]),
            "selected_on": f"real test images (best of {len(visits)} visits)",
        }
    )
    return replace(checkpoint, facts=facts), best[2], visits
