"""Zero-shot scores: CLIP and SigLIP compare each real image with one prompt per class."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.fit import Transform
from eval.labels import match_real
from eval.predict import predict
from eval.prompts import Prompts, fill
from eval.real import RealImages
from eval.score import Scored, measured, set_precision, settings_of
from eval.scores_file import ModelFacts, Preprocessing, ZeroShot
from factory.common.devices import this_process
from factory.models.clip import ClipModel, split_revision

if TYPE_CHECKING:
    import torch

    from factory.data.label_map import LabelMap


def texts_of(prompts: Prompts, words: Sequence[str]) -> list[str]:
    """Return the texts of all classes: one per template, class by class."""
    return [fill(template, word) for word in words for template in prompts.templates]


def class_vectors(model: ClipModel, prompts: Prompts, words: Sequence[str]) -> torch.Tensor:
    """Return one unit vector per class: the mean over its templates, shape (classes, D)."""
    vectors = model.embed_texts(texts_of(prompts, words))
    vectors = vectors.view(len(words), len(prompts.templates), -1)
    mean = vectors.mean(dim=1)
    if len(prompts.templates) == 1:
        return mean
    found: torch.Tensor = mean / mean.norm(dim=-1, keepdim=True)
    return found


def score_zero_shot(
    model: ClipModel,
    real: RealImages,
    *,
    prompts: Prompts,
    batch_size: int,
    threads: int,
    labels: LabelMap | None = None,
) -> Scored:
    """Score a model on a real dataset. All processes call this and get the same result.

    Raises:
        UserError: An image cannot be read, or a label in the map does not exist.
    """
    state = this_process()
    set_precision(threads)
    names = list(real.opened.label_names)
    if labels:
        names = list(dict.fromkeys([*labels.translated(names), *labels.pairs.values()]))
    match = match_real(names, real, model=model.name, labels=labels)
    words = prompts.words(names)
    model.model.to(state.device)
    predictions = predict(
        _classifier(model, class_vectors(model, prompts, words)),
        real.opened,
        class_order=match.model_indices,
        transform=Transform(model.pixels, side=_preprocessing(model).input_size[1]),
        batch_size=batch_size,
        state=state,
        probability="sigmoid" if model.is_sigmoid else "softmax",
    )
    return measured(
        predictions,
        real,
        match,
        settings=settings_of(state, batch_size=batch_size, threads=threads),
        library="transformers",
        run=model.name,
        model=_facts(model, num_classes=len(names)),
        training=None,
        zero_shot=ZeroShot(
            model=model.name,
            revision=model.revision,
            prompts=prompts.name,
            templates=list(prompts.templates),
            wordings=words,
            cut=model.num_cut(texts_of(prompts, words)),
        ),
        preprocessing=_preprocessing(model),
    )


def _classifier(model: ClipModel, vectors: torch.Tensor) -> torch.nn.Module:
    """Return a module from pixels to one logit per class vector."""
    import torch

    class Classifier(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return model.logits(model.embed_images(pixels), vectors)

    return Classifier().eval()


def _facts(model: ClipModel, *, num_classes: int) -> ModelFacts:
    source, _ = split_revision(model.name)
    short = Path(source).name
    # The table's row is CLIP-..., whatever the model's own name is.
    plain = short.removeprefix("clip-").removeprefix("CLIP-")
    return ModelFacts(
        architecture=f"CLIP-{plain}",
        num_classes=num_classes,
        num_parameters=sum(parameter.numel() for parameter in model.model.parameters()),
        weights_sha256=_weights_sha256(model),
        batch_norm="eval",
        selected_on="nothing (zero-shot)",
    )


def _weights_sha256(model: ClipModel) -> str:
    """Hash the weights themselves, because a Hub model may consist of several files."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _preprocessing(model: ClipModel) -> Preprocessing:
    """Describe the model's own image processor in the format of the scores file."""
    processor: Any = model._image_processor
    config = model.model.config.vision_config
    side = int(config.image_size)
    return Preprocessing(
        input_size=(3, side, side),
        interpolation=str(getattr(processor.resample, "name", processor.resample)).lower(),
        crop_pct=1.0,
        crop_mode="center" if getattr(processor, "do_center_crop", False) else "squash",
        mean=tuple(processor.image_mean),
        std=tuple(processor.image_std),
    )
