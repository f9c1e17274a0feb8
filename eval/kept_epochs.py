"""The kept epochs of a run, and the best of them on real images, as the paper's code chooses it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from eval.checkpoint import Checkpoint, sha256
from eval.predict import Predictions
from eval.scores_file import Visit
from factory.common.errors import UserError

_NAME = re.compile(r"epoch-(\d+)\.safetensors")


def kept_epochs(folder: Path) -> list[tuple[int, Path]]:
    """Return the epochs whose weights a run kept, ascending, each with its file."""
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
    """Score every kept epoch on the real images and return the best; of equals the earliest.

    Args:
        checkpoint: The run; its model is filled with the weights of one epoch after the other.
        predict: Runs the model over the real images.
        num_correct: Counts the right answers among predictions.

    Returns:
        The checkpoint with the best epoch's weights named, its predictions, and all visits.

    Raises:
        UserError: The run kept no epochs, or they don't fit its model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    epochs = kept_epochs(checkpoint.folder)
    if not epochs:
        raise UserError(
            f"{checkpoint.run}: kept no epochs, so there is no best one to choose on the test "
            "set; train with --keep-every 5"
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
