"""The benchmarks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from .timing import Figure, Scale

Run = Callable[[Path, Scale, str], list[Figure]]


@dataclass(frozen=True)
class Section:
    """One benchmark and its part of the page.

    Attributes:
        title: Heading.
        about: What is compared with what.
        module: Module of this package; its `run(folder, scale, device)` returns the figures.
        target: Target of the Makefile that runs it.
        tried: Changes that were measured and are not used, each with the way of measuring.
    """

    title: str
    about: str
    module: str
    target: str = "bench"
    tried: tuple[str, ...] = ()

    def run(self, folder: Path, scale: Scale, device: str) -> list[Figure]:
        """Measure in an empty folder."""
        measure: Run = import_module(f".{self.module}", __package__).run
        return measure(folder, scale, device)


SECTIONS = {
    "gpu": Section(
        "Generation on a GPU",
        "Three architectures with random weights, which are as fast as trained ones, in bfloat16 "
        "with 40 steps and a guidance scale per image from U(1, 5). *Bare passes* call the network "
        "and the decoder with the pipeline's own inputs and nothing else; *stock pipeline* is "
        "diffusers with the same batch size and one guidance scale. The limit is the speed at "
        "which the device multiplies large bfloat16 matrices, divided by the operations of an "
        "image; the run measures the first and counts the second. Of Stable Diffusion 1.4 the "
        "operations are 0.803 TFLOP per pass and 2.51 per decoding, 66.8 per image.",
        "gpu_generation",
        target="bench-gpu",
    ),
    "cpu": Section(
        "Generation on a CPU",
        "`data-factory build` with the embedded generator (64 px, 8 steps, stored at 32 px) in a "
        "process per core, the default, against the same model in diffusers. Images/s of the build "
        "are marginal: further images divided by further seconds of the whole command. Images/s "
        "depend on other work on the machine, CPU time less: that of a build is marginal too, and "
        "includes all processes.",
        "cpu_generation",
        tried=(
            "with the same outputs, CPU time of the UNet against that of a build (median and "
            "quartiles of 20 pairs, one thread, while other work ran on the machine; `python -m "
            "tests.benchmarks.network_variants --rounds 20`): weights of convolutions packed once "
            "1.00 [0.84, 1.10], one product for queries, keys and values 1.03 [0.91, 1.19], "
            "projections of the text once per image 0.98 [0.86, 1.13]; the unchanged UNet has "
            "1.00 [0.97, 1.13]",
            "faster, but with other outputs, which would change the bytes of datasets (same "
            "command): group norm in float32 0.86 [0.83, 0.98], group norm in contiguous order "
            "0.94 [0.86, 1.00], all layers in contiguous order 0.93 [0.86, 1.01]",
        ),
    ),
    "overhead": Section(
        "Building without generation",
        "A build in one process whose renderer returns ready 32 x 32 images: planning, checks, "
        "PNG, Parquet, manifest and card. The alternative is a plain loop: prompts by f-string, "
        "PNG by Pillow, `Dataset.from_dict(...).to_parquet` for every 512 rows.",
        "overhead",
        tried=(
            "a faster PNG encoder: of 177 CPU µs for an image, 152 are Pillow's compression, and "
            "another one would change the bytes (best of 14 runs of `python -m timeit -p -n 3`, on "
            "the machine named below while others used it: `encode_image`, and `Image.tobytes('zip"
            "', ('RGB', False, 6, -1, b''))`, for the 64 images of `ready_images()` in "
            "`tests/benchmarks/parts.py`)",
        ),
    ),
    "reading": Section(
        "Planning, checking and opening",
        "Rows of a plan of 10^8 images, `verify`, and datasets of many shards (names of one file, "
        "so that the disk does not count).",
        "reading",
    ),
    "train": Section(
        "Training",
        "`data-factory train` against a loop of timm's `create_loader`, `create_optimizer_v2` and "
        "`create_scheduler_v2` with the same model, batch size, precision, threads and kinds of "
        "augmentation. Images/s of training, without the first epoch; and of the whole command. "
        "*Model alone* is the limit: forward pass, backward pass and optimizer of the timm loop on "
        "one batch over and over, with the allocator's settings of `train`.",
        "training",
    ),
    "score": Section(
        "Scoring",
        "`data-factory score` against `evaluate`'s `evaluator('image-classification')` with the "
        "same run folder, images and batch size. Both accuracies must be the same.",
        "scoring",
    ),
    "scaling": Section(
        "Several processes",
        "`data-factory build` with the embedded generator in 1 and 2 processes. Strong scaling: "
        "the same images. Weak scaling: twice the images in two processes. The ratio is the "
        "efficiency, whose ideal is 1.",
        "scaling",
    ),
    "simulated": Section(
        "Many processes, simulated",
        "A million images on many ranks of one process group, in simulated time: a free rank takes "
        "the next shard. Assumed: 1 s per image, ranks that differ by up to 5 % and one that takes "
        "three times as long, starts within 10 to 40 s. A shard costs one marker, whose time is "
        "measured here, and one rank at a time writes one; requests to the group's store are left "
        "out. The sizes are multiples of the default batch size; with others every shard's last "
        "batch is padded. The efficiency is the time of ranks that start at once and end together, "
        "divided by the simulated one; five seeds.",
        "simulated",
    ),
}
