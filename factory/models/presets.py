"""Models by short name (`--model sdxl`): commit, size, scheduler and capabilities.

A model given by its name or one of the ids below has this revision, scheduler and size. Its
guidance and steps are used only for `auto` in a recipe, or with `--sampling model`. Any other id is
a plain Hub id or directory.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Any

from factory.models.embedded import EMBEDDED_GUIDANCE_SCALE, EMBEDDED_ID, EMBEDDED_STEPS

AUTO = "auto"
"""Value in a recipe's `sampling` for the model's own number."""
SAMPLING_KEYS = ("guidance_scale", "num_inference_steps")
"""Keys of `sampling` that may be `auto`."""


@dataclass(frozen=True)
class ModelPreset:
    """A model and its recommended sampling settings.

    Attributes:
        name: Short name.
        id: Hub id.
        revision: Commit.
        num_inference_steps: Recommended number of scheduler steps.
        guidance_scale: Recommended scale; 0 for models without guidance.
        size: Height and width in pixels; None for the pipeline's own.
        scheduler: A diffusers class, or None for its own.
        guided: Whether guidance has an effect; few-step models are distilled without it.
        negative_prompt: Whether a negative prompt has an effect.
        note: Short note for the table.
        own_scheduler: Scheduler class in its repository.
        size_step: Heights and widths must be multiples of this number.
        parameters_million: Parameters of all parts that are loaded (network, text encoders,
            decoder), counted from their configurations.
        bytes_in_files: Bytes per parameter in the files of the pinned commit.
        gated: Whether the Hub asks users to accept terms before a download.
    """

    name: str
    id: str
    revision: str | None
    num_inference_steps: int
    guidance_scale: float
    size: int | None
    scheduler: str | None = None
    guided: bool = True
    negative_prompt: bool = True
    note: str = ""
    own_scheduler: str = "PNDMScheduler"
    size_step: int = 8
    _: KW_ONLY
    parameters_million: float
    bytes_in_files: int
    gated: bool = False

    @property
    def disk_gb(self) -> float:
        """Size of the weights that a build downloads, in GB (10^9 bytes)."""
        return self.parameters_million * self.bytes_in_files / 1000

    @property
    def weights_gb(self) -> float:
        """Memory of the weights alone at 16 bits per parameter, in GB."""
        return self.parameters_million * 2 / 1000

    @property
    def remarks(self) -> str:
        """Access and note as one text."""
        gate = "gated: accept its terms on the Hub" if self.gated else ""
        return "; ".join(one for one in (gate, self.note) if one)

    def model(self) -> dict[str, Any]:
        """Return the values for a recipe's `model`."""
        sizes = {"height": self.size, "width": self.size}
        keys = {"id": self.id, "revision": self.revision, "scheduler": self.scheduler, **sizes}
        return {key: value for key, value in keys.items() if value is not None}

    def sampling(self) -> dict[str, float]:
        """Return its own numbers, by `SAMPLING_KEYS`."""
        return {
            "guidance_scale": self.guidance_scale,
            "num_inference_steps": self.num_inference_steps,
        }


PRESETS = (
    ModelPreset(
        "embedded",
        EMBEDDED_ID,
        None,
        num_inference_steps=EMBEDDED_STEPS,
        guidance_scale=EMBEDDED_GUIDANCE_SCALE,
        size=None,
        note="part of the package, needs no network",
        parameters_million=11.8,
        bytes_in_files=2,
    ),
    ModelPreset(
        "sd14",
        "CompVis/stable-diffusion-v1-4",
        "133a221b8aa7292a167afc5127cb63fb5005638b",
        40,
        7.5,
        512,
        "DDIMScheduler",
        note="used in the paper",
        parameters_million=1066,
        bytes_in_files=4,
    ),
    ModelPreset(
        "sd15",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
        40,
        7.5,
        512,
        "DDIMScheduler",
        parameters_million=1066,
        bytes_in_files=4,
    ),
    ModelPreset(
        "sdxl",
        "stabilityai/stable-diffusion-xl-base-1.0",
        "462165984030d82259a11f4367a4eed129e94a7b",
        40,
        5.0,
        1024,
        own_scheduler="EulerDiscreteScheduler",
        parameters_million=3469,
        bytes_in_files=4,
    ),
    ModelPreset(
        "sd-turbo",
        "stabilityai/sd-turbo",
        "b261bac6fd2cf515557d5d0707481eafa0485ec2",
        1,
        0.0,
        512,
        guided=False,
        negative_prompt=False,
        note="1 to 4 steps",
        own_scheduler="EulerDiscreteScheduler",
        parameters_million=1290,
        bytes_in_files=4,
    ),
    ModelPreset(
        "sdxl-turbo",
        "stabilityai/sdxl-turbo",
        "71153311d3dbb46851df1931d3ca6e939de83304",
        1,
        0.0,
        512,
        guided=False,
        negative_prompt=False,
        note="1 to 4 steps",
        own_scheduler="EulerAncestralDiscreteScheduler",
        parameters_million=3469,
        bytes_in_files=4,
    ),
    ModelPreset(
        "lcm",
        "SimianLuo/LCM_Dreamshaper_v7",
        "a85df6a8bd976cdd08b4fd8f3b73f229c9e54df5",
        4,
        8.0,
        512,
        negative_prompt=False,
        note="2 to 8 steps; guidance is an input of the network",
        own_scheduler="LCMScheduler",
        parameters_million=1066,
        bytes_in_files=4,
    ),
    ModelPreset(
        "pixart",
        "PixArt-alpha/PixArt-XL-2-512x512",
        "50f702106901db6d0f8b67eb88e814c56ded2692",
        20,
        4.5,
        512,
        own_scheduler="DPMSolverMultistepScheduler",
        size_step=16,
        parameters_million=5458,
        bytes_in_files=4,
    ),
    ModelPreset(
        "sd3",
        "stabilityai/stable-diffusion-3-medium-diffusers",
        "ea42f8cef0f178587cf766dc8129abd379c90671",
        28,
        7.0,
        1024,
        own_scheduler="FlowMatchEulerDiscreteScheduler",
        size_step=16,
        parameters_million=7749,
        bytes_in_files=2,
        gated=True,
    ),
    ModelPreset(
        "sd35",
        "stabilityai/stable-diffusion-3.5-medium",
        "b940f670f0eda2d07fbb75229e779da1ad11eb80",
        40,
        4.5,
        1024,
        own_scheduler="FlowMatchEulerDiscreteScheduler",
        size_step=16,
        parameters_million=8134,
        bytes_in_files=2,
        gated=True,
    ),
    ModelPreset(
        "flux",
        "black-forest-labs/FLUX.1-dev",
        "3de623fc3c33e44ffbe2bad470d0f45bccf2eb21",
        28,
        3.5,
        1024,
        negative_prompt=False,
        note="guidance is an input of the network",
        own_scheduler="FlowMatchEulerDiscreteScheduler",
        size_step=16,
        parameters_million=16871,
        bytes_in_files=2,
        gated=True,
    ),
    ModelPreset(
        "flux-schnell",
        "black-forest-labs/FLUX.1-schnell",
        "741f7c3ce8b383c54771c7003378a50191e9efe9",
        4,
        0.0,
        1024,
        guided=False,
        negative_prompt=False,
        note="1 to 4 steps",
        own_scheduler="FlowMatchEulerDiscreteScheduler",
        size_step=16,
        parameters_million=16860,
        bytes_in_files=2,
        gated=True,
    ),
)


def find_preset(reference: str) -> ModelPreset | None:
    """Return the preset of a short name or an id, or None."""
    return next((one for one in PRESETS if reference in (one.name, one.id)), None)
