"""Measure generated photographs: prompt accuracy, and their use for training.

A classifier (the judge) is trained on the run's own photographs and classifies generated images;
another one, for other domains, on filtered photographs. The zero-shot probe is trained on generated
images only and scored on the run's held-out photographs and on given real datasets such as
CIFAR-10; neither was used for training.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from factory.common.errors import UserError
from train.generator.evaluation.run_data import RunPhotos
from train.generator.images.captions import with_article
from train.generator.images.domains import IMAGE_SIZE
from train.generator.images.filters import FILTERS
from train.generator.network.sampling import LabelledImages, generate
from train.generator.probe.judges import fit_network, merge, rounded, score, shrink, zero_shot

log = logging.getLogger(__name__)

GUIDANCE = (1.0, 1.5, 2.0, 3.0, 5.0)
DOMAIN_GUIDANCE = 2.0
PER_DOMAIN = 20
JUDGE_IMAGES = 12_000
JUDGE_EPOCHS = 10


@dataclass(frozen=True)
class PhotoFigures:
    """The measurements, and the judge; other checks use features of the judge."""

    figures: dict[str, Any]
    judge: nn.Module


def measure_photos(
    pipeline: Any, photos: RunPhotos, *, images_per_class: int, real: dict[str, LabelledImages]
) -> PhotoFigures:
    """Measure the focus classes of a run; labels of `real` are in the order of `photos.names`."""
    judge = fit_network(photos.training(JUDGE_IMAGES), epochs=JUDGE_EPOCHS)
    by_guidance, sets = {}, []
    for guidance in GUIDANCE:
        generated = generate_classes(
            pipeline, photos.names, "an image of {}", guidance=guidance, per_class=images_per_class
        )
        by_guidance[f"{guidance:g}"] = rounded(score(judge, generated))
        sets.append(generated)
        log.info("photos, guidance %g: %s", guidance, by_guidance[f"{guidance:g}"])
    by_domain = _generate_domains(pipeline, photos)
    sets += by_domain.values()
    everything = merge(sets)
    return PhotoFigures(
        {
            "classes": list(photos.names),
            "judge_on_held_out": rounded(score(judge, photos.held_out())),
            "prompt_accuracy": by_guidance,
            **_judge_domains(photos, by_domain),
            "zero_shot_images": len(everything.images),
            "zero_shot": {
                name: rounded(zero_shot(everything, images))
                for name, images in {"held-out photographs": photos.held_out(), **real}.items()
            },
        },
        judge,
    )


def _generate_domains(pipeline: Any, photos: RunPhotos) -> dict[str, LabelledImages]:
    templates = {name: f"{with_article(FILTERS[name].words[0])} of {{}}" for name in photos.filters}
    return {
        name: generate_classes(
            pipeline, photos.names, template, guidance=DOMAIN_GUIDANCE, per_class=PER_DOMAIN
        )
        for name, template in templates.items()
    }


def _judge_domains(photos: RunPhotos, by_domain: dict[str, LabelledImages]) -> dict[str, Any]:
    """Classify each other domain with a network trained on photographs filtered for it.

    A network trained on plain photographs fails on sketches.

    Returns:
        The prompt accuracy of each domain, and the judge's accuracy on held-out photographs
        filtered for that domain.
    """
    if not by_domain:
        return {"prompt_accuracy_by_domain": {}, "judge_on_filtered_held_out": {}}
    filtered = photos.training(JUDGE_IMAGES, filters=photos.filters)
    judge = fit_network(filtered, epochs=JUDGE_EPOCHS)
    sets = {
        name: (generated, photos.held_out(filters=[name])) for name, generated in by_domain.items()
    }
    shares = {
        name: [rounded(score(judge, one))["top1"] for one in both] for name, both in sets.items()
    }
    return {
        "prompt_accuracy_by_domain": {name: generated for name, (generated, _) in shares.items()},
        "judge_on_filtered_held_out": {name: real for name, (_, real) in shares.items()},
    }


def generate_classes(
    pipeline: Any, names: tuple[str, ...], template: str, *, guidance: float, per_class: int
) -> LabelledImages:
    """Generate every class at 32 pixels; the template's `{}` is the class with its article."""
    labels = np.arange(len(names) * per_class) % len(names)
    prompts = [template.format(with_article(names[label])) for label in labels]
    seed = 2_000_000 + int(guidance * 100_000)
    generated = generate(pipeline, prompts, guidance_scale=guidance, seed=seed)
    return LabelledImages(shrink(generated), labels.astype(np.int64))


def open_real(reference: str, names: tuple[str, ...]) -> LabelledImages:
    """Open a real dataset for the probe, its labels matched by name.

    Raises:
        UserError: Its classes differ from the run's.
    """
    from factory.data.open import open_dataset
    from factory.data.pixels import decode_images

    opened = open_dataset(reference, preferred_split="test")
    theirs = [name.casefold().replace("_", " ") for name in opened.label_names]
    if sorted(theirs) != sorted(names):
        raise UserError(
            f"{reference}: its classes are {', '.join(theirs)}, but the generator's focus classes "
            f"are {', '.join(names)}; use a dataset with the same classes"
        )
    order = np.array([names.index(name) for name in theirs], np.int64)
    images: NDArray[np.uint8] = decode_images(
        opened.dataset,
        image_column=opened.image_column,
        image_folder=opened.image_folder,
        height=IMAGE_SIZE,
        width=IMAGE_SIZE,
    )
    return LabelledImages(images, order[np.array(opened.dataset[opened.label_column])])
