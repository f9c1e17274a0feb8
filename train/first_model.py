"""Create the model of a run as it is before its first step."""

from __future__ import annotations

import torch
from torch import nn

from train.choices import log_once
from train.initialisation import initialise_as_torchvision
from train.model import create_classifier, pixel_statistics, reduction_of
from train.options import TrainOptions
from train.settings import Hyperparameters
from train.stems import stem_note, with_small_stem
from train.uniforms import stream_seed
from train.weights import load_weights


def create_model(
    options: TrainOptions, values: Hyperparameters, *, num_classes: int
) -> tuple[nn.Module, Hyperparameters]:
    """Create the model, and complete the values with the mean and deviation of its input.

    Raises:
        UserError: As `create_classifier` and `load_weights`.
    """
    if values.image_size is None:
        raise AssertionError("the image size is resolved with the data")
    name, model_args = options.model, dict(options.model_args)
    if values.stem == "small":
        name, model_args = with_small_stem(name, model_args)
    torch.manual_seed(stream_seed(options.seed))
    model = create_classifier(
        name,
        num_classes=num_classes,
        side=values.image_size,
        pretrained=options.pretrained and options.weights is None,
        model_args=model_args,
    )
    if options.weights is not None:
        load_weights(model, options.weights, name=options.model)
    if values.initialisation == "torchvision" and not options.pretrained:
        initialise_as_torchvision(model)
    note = stem_note(
        options.model,
        side=values.image_size,
        reduction=reduction_of(model),
        fixed=options.pretrained or values.stem == "small" or "patch_size" in options.model_args,
    )
    if note is not None:
        log_once(note)
    mean, std = pixel_statistics(model, pretrained=options.pretrained)
    return model, values.model_copy(
        update={
            "mean": mean if values.mean is None else values.mean,
            "std": std if values.std is None else values.std,
        }
    )
