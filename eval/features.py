"""Represent images by a model: its logits, or the features before its head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eval.fit import make_transform
from eval.labels import missing_names
from eval.model_names import cannot_load, check_features, run_of
from eval.predict import finite, pad, prepared
from eval.score import set_precision
from eval.scores_file import Preprocessing
from eval.timm_models import load_model, preprocessing_of
from factory.common.console import progress
from factory.common.devices import reporting_lack_of_memory, this_process
from factory.common.errors import UserError, first_line
from factory.data.open import OpenedDataset
from factory.hub.client import bound_requests

if TYPE_CHECKING:
    import torch

Space = Literal["logits", "features"]


@dataclass(frozen=True)
class FeatureModel:
    """A model that represents images.

    Attributes:
        name: Name as given.
        model: A timm model in eval mode.
        label_names: Classes of its head in the order of the logits, or None if it lists none.
        preprocessing: Preprocessing that the model's weights were trained with.
        is_run: Whether it is a run or a model of the Hub, not timm's own.
    """

    name: str
    model: Any
    label_names: list[str] | None
    preprocessing: Preprocessing
    is_run: bool = False

    def representation(self, space: Space) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return a function of pixels, shape (B, 3, H, W), to logits or features, shape (B, D).

        Raises:
            UserError: The model has no head, or its features cannot be separated from its head.
        """
        model = self.model
        if space == "logits":
            if model.num_classes == 0:
                raise UserError(
                    f"--space logits: {self.name} has no classification head; use --space features"
                )
            return model  # type: ignore[no-any-return]
        if not hasattr(model, "forward_head"):
            raise UserError(
                f"--space features: {self.name} has no `forward_head`, so its features cannot be "
                "separated from its head; use --space logits or another model"
            )

        def features(pixels: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = model.forward_head(
                model.forward_features(pixels), pre_logits=True
            )
            return found

        return features


class Extracted(NamedTuple):
    """Represented images.

    Attributes:
        values: Logits or features, shape (images, D).
        digests: SHA-256 of each decoded image.
    """

    values: NDArray[np.float64]
    digests: list[bytes]


def load_features(name: str, *, is_run: bool = False) -> FeatureModel:
    """Load a run, a model of the Hub, or a pretrained model of timm.

    Args:
        name: Run folder (timm's `local-dir:` before it is allowed), `ORG/NAME[@REVISION]`, or
            timm's name of a model with pretrained weights.
        is_run: Whether it must be one of the first two.

    Raises:
        UserError: No such model, or its weights cannot be loaded.
    """
    check_features(name, is_run=is_run)
    run = run_of(name, is_run=is_run)
    if run is not None:
        loaded = load_model(run)
        return FeatureModel(name, loaded.model, loaded.label_names, loaded.preprocessing, True)
    model = _pretrained(name)
    return FeatureModel(name, model, None, preprocessing_of(model, name))


def _pretrained(name: str) -> Any:
    import timm

    bound_requests()
    try:
        return timm.create_model(name, pretrained=True).eval()
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise cannot_load(name, first_line(error)) from None


def choose_space(
    model: FeatureModel, classes: Sequence[str], requested: Space | None
) -> tuple[Space, str]:
    """Return the space to compare in, and the reason.

    By default it is the logits if the model's head has an output for every class, as in a run of
    `train`; else the features. An ImageNet head, for example, reads other classes.
    """
    if model.label_names is None:
        head, knows = "its head lists no class names", False
    else:
        missing = missing_names(model.label_names, classes)
        knows = not missing
        head = "its head has every class compared"
        if missing:
            head = f"its head lacks {len(missing)} of {len(classes)} classes compared"
    default: Space = "logits" if knows else "features"
    return requested or default, f"{'requested' if requested else 'default'}: {head}"


def extract(
    model: FeatureModel,
    opened: OpenedDataset,
    rows: NDArray[np.int64],
    *,
    space: Space,
    batch_size: int,
    threads: int,
) -> Extracted:
    """Return the logits or features of some rows, in their order.

    Raises:
        UserError: An image is missing or cannot be decoded, or see `representation`.
    """
    import torch

    represent = model.representation(space)
    set_precision(threads)
    device = this_process().device
    net = model.model.to(device)
    batches = [
        rows[start : start + batch_size].tolist() for start in range(0, len(rows), batch_size)
    ]
    parts: list[NDArray[np.float64]] = []
    hashes: list[bytes] = []
    images = prepared(opened, batches, transform=make_transform(model.preprocessing))
    bar = progress(len(rows), unit="image", description=space)
    net.eval()
    smaller = f"give a --batch-size below {batch_size}"
    with torch.inference_mode(), bar, reporting_lack_of_memory(smaller):
        for pixels, digests in images:
            found = represent(pad(pixels, batch_size).to(device))[: len(digests)]
            parts.append(finite(found.flatten(1).cpu().numpy().astype(np.float64)))
            hashes += digests
            bar.update(len(digests))
    return Extracted(np.concatenate(parts), hashes)
