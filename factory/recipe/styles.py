"""Styles of `factory new`: prompts and domains that fit a kind of image, and the README."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.models.embedded import EMBEDDED_ID
from factory.recipe.measured import LOW_AGAINST_3, LOW_ON_CIFAR10, LOW_ON_EUROSAT, RANDOM_ON_EUROSAT

RECOMMENDED = "recommended"
"""Name of the config to start with."""
LOW_GUIDANCE = (1.5, 2.0)
"""Guidance of the recommended config: the row `low-guidance` of docs/study.md."""
_INSTEAD = f"guidance {LOW_GUIDANCE[0]:g} to {LOW_GUIDANCE[1]:g} instead of 7.5, at 40 steps"
_STUDY = "(docs/study.md: two small classifiers, 64 px demo generator"
_ON_CIFAR = (
    f"{_INSTEAD}: {LOW_ON_CIFAR10} (anti-aliasing included); instead of 3: {LOW_AGAINST_3} "
    f"{_STUDY})"
)


@dataclass(frozen=True)
class Style:
    """A kind of image.

    Attributes:
        prompt: Template of the base class.
        domains_prompt: Template of multi-domain.
        domains: Its domains.
        measured: Measured effect of the recommended guidance, and its limit; one line.
        class_alone: Whether a class name alone asks for such an image.
        note: Advice about the style, or nothing.
    """

    prompt: str
    domains_prompt: str
    domains: tuple[str, ...]
    measured: str
    class_alone: bool = False
    note: str = ""


STYLES = {
    # The paper's prompts and domains for CIFAR.
    "photo": Style(
        "an image of a {class}",
        "a {domain} of a {class}",
        (
            "photo",
            "drawing",
            "painting",
            "sketch",
            "collage",
            "poster",
            "digital art image",
            "rock drawing",
            "stick figure",
            "3D rendering",
        ),
        f"{_ON_CIFAR}; {LOW_ON_EUROSAT}; other generators not measured.",
        class_alone=True,
    ),
    "satellite": Style(
        "a satellite photo of a {class}",
        "{domain} of a {class}",
        (
            "a satellite photo",
            "a low resolution satellite photo",
            "an aerial photo",
            "a drone photo",
            "a hazy satellite photo",
        ),
        f"{_INSTEAD}: {LOW_ON_EUROSAT} {_STUDY}); 1 to 5: {RANDOM_ON_EUROSAT}; "
        "measured with the prompt 'an image of a {class}'; other generators "
        "not measured.",
    ),
    "sketch": Style(
        "a sketch of a {class}",
        "{domain} of a {class}",
        (
            "a pencil sketch",
            "a charcoal drawing",
            "an ink drawing",
            "a line drawing",
            "a crayon drawing",
            "a chalk drawing",
            "a doodle",
        ),
        f"{_ON_CIFAR}; sketches not measured.",
    ),
    "product": Style(
        "a product photo of a {class}",
        "a photo of a {class} {domain}",
        (
            "on a white background",
            "in a catalogue",
            "in close-up",
            "seen from above",
            "on a wooden table",
            "on a shelf",
            "in its box",
        ),
        f"{_ON_CIFAR}; product photos not measured.",
    ),
    "medical": Style(
        "a medical image of a {class}",
        "a {domain} of a {class}",
        ("medical image", "clinical photo", "close-up clinical photo", "microscope image", "scan"),
        f"{_ON_CIFAR}; medical images not measured.",
        note="General image models know few medical images. Keep only the domains in which your "
        "classes occur, let an expert judge a preview, and do not use the result for diagnosis "
        "without tests on real images.",
    ),
}

_README = """\
# {name}

Recipes for a dataset of generated images. Next, in the folder that contains `{name}`:

    data-factory plan {name}
    data-factory build {name} out/{name}
    data-factory train out/{name} --config {first} {model} --out runs/{name}

- `plan` shows prompts, sampled values and cost; nothing is generated.
- `build` generates all configs: {configs}.
  Run it again to resume, or with a larger `--images-per-class` to add images. To generate one
  config, name its file.
- `train` fits a classifier to one config. `data-factory score runs/{name} --real FOLDER` then
  measures its accuracy on your own photos, one folder per class.

`data-factory doctor --model {generator}` measures a batch size for this machine.
{note}"""


def readme_text(configs: Sequence[str], *, folder: Path, generator: str, note: str) -> str:
    """Return the README of a new folder: the next three commands."""
    # The demo generator's 64 px are too few for pretrained models.
    small = generator.partition("@")[0] == EMBEDDED_ID
    return _README.format(
        name=folder.name,
        first=configs[0],
        model="--model test_resnet" if small else "--model resnet50 --pretrained",
        configs=", ".join(f"`{name}`" for name in configs),
        generator=generator,
        note=f"\n{note}\n" if note else "",
    )
