"""Two small classifiers for evaluating generated images, each trained in a minute.

`train_judge` trains on rendered digits and then classifies generated digits: does the model follow
the prompt? `zero_shot` trains on generated images only and is scored on held-out real ones: are
generated images useful for training?
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from train.generator.config import SourceConfig
from train.generator.images.digits import held_out_digits
from train.generator.images.domains import IMAGE_SIZE
from train.generator.images.sources import DigitSource
from train.generator.network.sampling import LabelledImages

JUDGE_SEED = 90_210
JUDGE_IMAGES = 8_000
BATCH = 64


@dataclass(frozen=True)
class Score:
    """Accuracy of a network.

    Attributes:
        top1: Accuracy, 0 to 1.
        per_class: Accuracy for each class.
    """

    top1: float
    per_class: list[float]


def _network(classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 3
    for width in (24, 48, 96):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        before = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * 16, classes))


def as_input(images: NDArray[np.uint8]) -> Tensor:
    """Return images as network input: float32 (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def _shifted(images: Tensor, rng: np.random.Generator) -> Tensor:
    padded = functional.pad(images, (3, 3, 3, 3), mode="replicate")
    top, left = (int(v) for v in rng.integers(0, 7, 2))
    return padded[:, :, top : top + IMAGE_SIZE, left : left + IMAGE_SIZE]


def fit_network(labelled: LabelledImages, *, epochs: int) -> nn.Module:
    """Train the small network on labelled 32-pixel images; batches are shifted slightly."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = _network(int(labelled.labels.max()) + 1)
    images, labels = as_input(labelled.images), torch.from_numpy(labelled.labels)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    # A handful of images is one batch.
    size = min(BATCH, len(images))
    steps = epochs * (len(images) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(epochs):
        order = torch.from_numpy(rng.permutation(len(images)))
        for part in torch.split(order[: len(order) // size * size], size):
            loss = functional.cross_entropy(
                network(_shifted(images[part], rng)), labels[part], label_smoothing=0.05
            )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def score(network: nn.Module, labelled: LabelledImages) -> Score:
    """Score a network on labelled images."""
    guessed = [network(part).argmax(1) for part in torch.split(as_input(labelled.images), 256)]
    right = (torch.cat(guessed).numpy() == labelled.labels).astype(float)
    per_class = [float(right[labelled.labels == k].mean()) for k in np.unique(labelled.labels)]
    return Score(float(right.mean()), per_class)


def train_judge() -> nn.Module:
    """Train the judge on rendered digits of all domains."""
    config = SourceConfig(seed=JUDGE_SEED, images=JUDGE_IMAGES)
    source = DigitSource(config, image_size=IMAGE_SIZE)
    pairs = [source.sample(index) for index in range(JUDGE_IMAGES)]
    labels = np.array([int(facts["digit"]) for _, facts in pairs])
    return fit_network(LabelledImages(np.stack([image for image, _ in pairs]), labels), epochs=10)


def real_digits() -> LabelledImages:
    """Return the held-out handwritten digits, white on black, resized to 32 pixels."""
    from PIL import Image

    images, labels = held_out_digits()
    size = (IMAGE_SIZE, IMAGE_SIZE)
    grey = [
        np.asarray(Image.fromarray((image * 255).astype(np.uint8)).resize(size)) for image in images
    ]
    return LabelledImages(np.repeat(np.stack(grey)[..., None], 3, axis=3), labels)


def zero_shot(labelled: LabelledImages, real: LabelledImages, *, epochs: int = 20) -> Score:
    """Train on generated images only, score on real ones."""
    return score(fit_network(labelled, epochs=epochs), real)


def shrink(images: NDArray[np.uint8], *, size: int = IMAGE_SIZE) -> NDArray[np.uint8]:
    """Average uint8 images (N, H, W, 3) down to `size` pixels, which must divide theirs."""
    count, side = len(images), images.shape[1]
    step = side // size
    blocks = images.reshape(count, size, step, size, step, 3)
    smaller: NDArray[np.uint8] = np.round(blocks.mean(axis=(2, 4))).astype(np.uint8)
    return smaller


def merge(parts: list[LabelledImages]) -> LabelledImages:
    """Concatenate several sets of generated images."""
    images: Any = np.concatenate([part.images for part in parts])
    return LabelledImages(images, np.concatenate([part.labels for part in parts]))


def rounded(result: Score) -> dict[str, Any]:
    """Return a score as rounded values."""
    return {
        "top1": round(result.top1, 4),
        "per_class": [round(value, 3) for value in result.per_class],
    }
