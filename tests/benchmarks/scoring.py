"""`data-factory score` against the evaluator of the library evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from factory.common.resources import cores

from . import folders, parts
from .processes import BenchmarkFailed, command, function
from .timing import Figure, Scale, compared, in_turn

_BATCH = 256
_EVALUATOR = "evaluate's evaluator"


def run(folder: Path, scale: Scale, device: str, *, repeats: int | None = None) -> list[Figure]:
    """Train a small model, then score it on few and on many images with both."""
    small, large = scale.pick((500, 8_000), (100, 600), (20, 40))
    data = {
        images: folders.make(folder / f"real-{images}", images, side=parts.SIDE, suffix=".png")
        for images in (small, large)
    }
    model = _trained(folder, data[small], scale)
    done = in_turn(
        {
            f"{name} {images}": lambda measure=measure, images=images: measure(
                model, data[images], folder, scale, device
            )
            for images in (small, large)
            for name, measure in (("ours", _score), ("evaluate", _evaluate))
        },
        repeats=repeats or scale.pick(2, 1, 1),
    )
    note = _same_accuracy(done[f"ours {large}"][0][1], done[f"evaluate {large}"][0][1], large)
    seconds = {key: [one for one, _ in values] for key, values in done.items()}
    rates = [
        [
            (large - small) / (two - one)
            for one, two in zip(seconds[f"{name} {small}"], seconds[f"{name} {large}"], strict=True)
        ]
        for name in ("ours", "evaluate")
    ]
    few = seconds[f"ours {small}"], _EVALUATOR, seconds[f"evaluate {small}"]
    what = f"score {small} images, start included"
    return [
        compared("marginal speed", "images/s", rates[0], _EVALUATOR, rates[1], note=note),
        compared(what, "s", *few),
    ]


def _trained(folder: Path, data: Path, scale: Scale) -> Path:
    out = folder / "run"
    words = ["--model", "test_resnet", "--epochs", scale.pick("3", "2", "1"), "--device", "cpu"]
    command("train", str(data), "--out", str(out), *words, "--quiet", scale=scale)
    return out


def _score(model: Path, data: Path, folder: Path, scale: Scale, device: str) -> tuple[float, float]:
    """Return seconds and accuracy."""
    out = folder / f"scores-{data.name}.json"
    words = ["--batch-size", str(_BATCH), "--threads", str(cores()), "--device", device, "--quiet"]
    done = command("score", str(model), "--real", str(data), "--out", str(out), *words, scale=scale)
    return done.seconds, json.loads(out.read_text())["metrics"]["top1"]


def _evaluate(
    model: Path, data: Path, folder: Path, scale: Scale, device: str
) -> tuple[float, float]:
    cache = str(folder / "cache")
    done = function("scoring:evaluated", str(model), str(data), cache, device, scale=scale)
    return done.seconds, done.value


def evaluated(model: str, data: str, cache: str, device: str) -> float:
    """Return the accuracy found by evaluate's evaluator for image classification."""
    import torch
    from datasets import load_dataset
    from evaluate import evaluator

    torch.set_num_threads(cores())
    # As `score`, which computes in float32.
    torch.backends.cudnn.allow_tf32 = False
    real = load_dataset("imagefolder", data_dir=data, split="train", cache_dir=cache)
    task = evaluator("image-classification")
    # Otherwise it passes one image at a time.
    task.PIPELINE_KWARGS = {"batch_size": _BATCH}
    names = real.features["label"].names
    found = task.compute(
        model_or_pipeline=model,
        data=real,
        metric=_accuracy(),
        label_mapping={name: number for number, name in enumerate(names)},
        device=0 if device == "cuda" else -1,
    )
    return float(found["accuracy"])


def _accuracy() -> Any:
    """Return evaluate's metric `accuracy`, whose module would come from the network."""
    import datasets
    import evaluate

    class Accuracy(evaluate.Metric):
        def _info(self) -> Any:
            kinds = {"predictions": datasets.Value("int32"), "references": datasets.Value("int32")}
            return evaluate.MetricInfo(
                description="accuracy", citation="", features=datasets.Features(kinds)
            )

        def _compute(self, predictions: list[int], references: list[int]) -> dict[str, float]:
            same = sum(one == two for one, two in zip(predictions, references, strict=True))
            return {"accuracy": same / len(references)}

    return Accuracy(keep_in_memory=True)


def _same_accuracy(ours: float, other: float, images: int) -> str:
    """Return a note; sums in another order may change one image in a thousand."""
    if abs(ours - other) > max(1e-3, 1.5 / images):
        raise BenchmarkFailed(f"accuracies differ: {ours:.4f} and {other:.4f} with evaluate")
    return f"accuracy {ours:.4f} and {other:.4f}"
