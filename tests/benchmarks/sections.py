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
        "operations are 0.803 TFLOP per pass and 2.51 per decoding, 66.8 per image. Only this "
        "model is compiled, because translating a network takes minutes. *Waits* are the "
        "synchronising operations that torch reports: each leaves the device idle until the CPU "
        "has sent more.",
        "gpu_generation",
        target="bench-gpu",
    ),
    "gpu-train": Section(
        "Training and scoring on a GPU",
        "As the sections below, for ResNet50 in bfloat16 (autocast) and channels-last, batches of "
        "128, preset `quick`. The images are in memory, on the GPU if they need at most a quarter "
        "of what is free, or (measured last) read from their files in each epoch; timm reads "
        "files. *Device waits for a batch* is the time from the end of a step to the arrival of "
        "the next batch, by events in the GPU's stream. The paper's trainings are computed from "
        "the measured images/s and time between epochs. timm's loop lets cuDNN choose kernels by "
        "timing, as timm's own script does. Meant to take about four minutes "
        "on an H200 (not tried).",
        "gpu_training",
        target="bench-gpu",
    ),
    "gpu-memory": Section(
        "Memory of settings on a GPU",
        "Peak memory that torch allocates while a model is loaded and a batch is generated, and "
        "images/s of a second batch: Stable Diffusion 1.4's shape, 512 px, 8 steps; and FLUX.1's "
        "with 4 of 19 and 8 of 38 blocks, 1024 px, 12 steps. Weights are random, so how often "
        "`first-block` would skip blocks of a trained model is not measured, and its images/s are "
        "left out. `int8` is left out where torchao is not installed. Meant to take about three "
        "minutes on an H200 (not tried).",
        "gpu_memory",
        target="bench-gpu",
    ),
    "cpu": Section(
        "Generation on a CPU",
        "`data-factory build` with the embedded generator (64 px, 8 steps, stored at 32 px) "
        "in a process per core, the default, against the same model in diffusers. Images/s of"
        " the build are marginal: further images divided by further seconds of the whole "
        "command. Images/s depend on other work on the machine, CPU time less: that of a "
        "build is marginal too, and includes all processes. Bare passes run in processes of "
        "their own, so chance can put a build above this limit. *Large matrix products* have "
        "as many operations as the passes of an image, 7.8 GFLOP (FlopCounterMode), in the "
        "same type: passes can hardly be faster. *build --compile network* is measured once, "
        "after the others and against their last measurement, with a cache of compiled code "
        "that a build of one batch has filled; its images/s are without the start, in which "
        "each process reads the cache. The two builds without it differ more than it gains. "
        "The profile of a pass is one of torch's profiler: the share of each kind of "
        "operation in the time of the UNet's passes of one batch, in one thread; the profile "
        "above is of another run. Runs differ: six hours before, with the same computation "
        "and processor (commit 2d2e1535), a build made 17.7 [15.7, 19.6] images/s, 7.14 [6.8,"
        " 7.48] times one image per call, and the first ten images took 8.71 [8.32, 9.11] s, "
        "0.798 of the diffusers script; in between (commit 4175d954) it made 14.8, 5.67 "
        "times, and took 13 s, 0.784.",
        "cpu_generation",
        tried=(
            "with the same outputs, CPU time of the UNet against that of a build in bfloat16 "
            "(median and quartiles of 20 pairs, one thread, an Intel Xeon with AMX, while other "
            "work ran on the machine; `python -m tests.benchmarks.network_variants --dtype "
            "bfloat16 --rounds 20`): weights of convolutions packed once 1.00 [0.84, 1.10], one "
            "product for queries, keys and values 1.03 [0.91, 1.19], projections of the text once "
            "per image 0.98 [0.86, 1.13]; the unchanged UNet has 1.00 [0.97, 1.13]",
            "with other outputs, which would change the bytes of datasets (same command), perhaps"
            " faster: group norm in float32 0.86 [0.83, 0.98], group norm in contiguous order "
            "0.94 [0.86, 1.00], all layers in contiguous order 0.93 [0.86, 1.01]",
            "the same variants in float32 on an AMD EPYC with AVX2 (15 pairs, quiet machine; "
            "`python -m tests.benchmarks.network_variants --dtype float32 --rounds 15`): one "
            "product for queries, keys and values 1.02 [0.99, 1.05], projections of the text once "
            "per image 0.97 [0.93, 1.03], group norm in contiguous order 1.05 [1.01, 1.15], all "
            "layers in contiguous order 1.22 [1.16, 1.25]; the unchanged UNet has 0.98 [0.88, "
            "1.03]",
            "in the same run, Winograd's F(4x4, 3x3) for the 3x3 convolutions of 128 and more "
            "channels, built of torch's batched products: 0.93 [0.89, 0.98], which is too little "
            "for other bytes. Outputs of at most 4 differ by up to 2e-5. Of single layers "
            "(measured once under load, by a script that was not kept), maps of 4 x 4 take 0.54 to "
            "0.70 of the time, maps of 8 x 8 from 192 and more channels 0.64 to 0.74; F(2x2, 3x3) "
            "takes 0.85 to 1.7",
            "measured once under load, by scripts that were not kept, in float32 on the same "
            "processor: CPU time of the UNet per image against batches of 32 (12 pairs; the same "
            "again has 0.92 [0.87, 1.01], so smaller differences mean nothing): batches of 8 "
            "images 1.18 [1.14, 1.51], of 16 1.08 [0.99, 1.20], of 64 0.90 [0.83, 1.02]; linear "
            "layers by oneDNN instead of MKL 0.97 [0.92, 1.05], with weights packed for MKL 0.98 "
            "[0.91, 1.03]; denormals flushed to zero 0.96 [0.92, 1.10]; huge pages of glibc 0.98 "
            "[0.95, 1.03]; oneDNN's products in bfloat16 1.03 [0.93, 1.16]. Batches of 32 take no "
            "new pages from the system, so the allocator's settings of `train` save nothing",
            "a faster start: of 16.3 s of CPU time of ten images (one run, other work beside; "
            "times of the process between imports), torch took 2.7, `torch._dynamo` 2.2, which "
            "transformers imports without a condition, the other imports and the model's files "
            "6.7, the first batch 2.5, card and plots 0.9 (plots are in another process now), all"
            " else 1.3. Exact submodules avoid nothing, because the packages that contain them "
            "import all autoencoders and transformers; diffusers has no setting that leaves out "
            "peft or scipy where they are installed. Leaving without Python's own end of a "
            "program would save another 0.6 (three runs), but also skip what libraries do at the "
            "end",
        ),
    ),
    "overhead": Section(
        "Building without generation",
        "A build in one process, beside one that plots the card for about a second, whose "
        "renderer returns ready 32 x 32 images: planning, checks, PNG, Parquet, manifest and "
        "card. The alternative is a plain loop: prompts by f-string, PNG by Pillow, "
        "`Dataset.from_dict(...).to_parquet` for every 512 rows. *Compression alone* is the "
        "limit: Pillow's encoder for the same images in as many processes. The profile is the"
        " marginal CPU time of each phase in all threads, without the phases that it calls "
        "(`tests/benchmarks/profiles.py`). It includes the clocks' own time and comes from "
        "other builds, so the phases need not add up to the marginal CPU time above. A phase "
        "that takes the same time for any number of images, such as the card, has a marginal "
        "time near 0, which noise can make negative. Peak memory is that of the larger "
        "process, not the sum. With plots beside it, a build of 1,000 images took 2.54 [2.21,"
        " 2.78] s instead of 2.96 [2.64, 3.46] (median, lowest, highest; it saved 0.51 [0.15,"
        " 0.84] s in each of 12 pairs with commit 907cd3e8, quiet machine, `build_ready` of "
        "`tests/benchmarks/overhead.py`; CPU time 3.22 [2.88, 3.52] and 3.15 [2.86, 3.64] s)."
        " Runs differ: on the same processor, two processes made 8,253 [5,407, 12,207] "
        "images/s six hours before (commit 06360fdc; one process 6,748 [4,571, 9,145], "
        "compression alone 10,792 [8,867, 227,602], a difference of two short times) and "
        "4,843 [3,517, 6,644] four hours before (4175d954; 5,394 [4,959, 6,979] and 8,113 "
        "[7,167, 11,729]).",
        "overhead",
        tried=(
            "a faster PNG encoder: of 191 CPU µs for an image, 162 are Pillow's compression, about "
            "half of it the choice of filters, and another one would change the bytes. Python's "
            "zlib takes 78 for the filtered rows, with the same bytes here, but elsewhere Pillow "
            "may come with another zlib (lowest of 60 rounds, measured in turn while others used "
            "the machine: `encode_image`, `Image.tobytes('zip', ('RGB', False, 6, -1, b''))` and "
            "`zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)`, for the 64 images of "
            "`ready_images()` in `tests/benchmarks/parts.py`)",
            "no garbage collection: marginal CPU ms per image 0.346, 0.308, 0.331 with it and "
            "0.289, 0.372, 0.403 without (three pairs, on the same busy machine)",
            "filters chosen by numpy for a batch, then Python's zlib, with the same bytes here: "
            "192 and 203 CPU µs per image against 202 and 197 of `encode_image`, 67 and 77 of them "
            "for the filters (lowest of 80 rounds in turn, two runs, machine busy)",
            "other ways from pixels to Pillow: of 182 CPU µs of `encode_image`, 163 are "
            "compression, 11 `Image.frombytes`, which only private functions avoid, 3 the PNG's "
            "frame (lowest of 60 rounds, machine busy)",
            "encoding without tasks: 222 CPU µs per image, with them 215 (`generate_rows` of 512 "
            "ready images, lowest of 40 rounds in turn, machine busy)",
            "a start with fewer imports: of 3.1 s of CPU time of the 1,000 images (one run, "
            "machine busy), imports took 1.8; of these this project 0.3, numpy 0.2 and pydantic "
            "0.1, which the build uses (0.9 of matplotlib and plotting are in another process "
            "now). Turning formulas off for all labels at once (`rc_context`) instead of one by "
            "one: 0.35 s instead of 0.33 (lowest of 12 rounds)",
        ),
    ),
    "reading": Section(
        "Planning, checking and opening",
        "Rows of a plan of 10^8 images, `verify`, and datasets of many shards (names of one file, "
        "so that the disk does not count). `verify` and its alternative are measured after their "
        "imports. The profile of `verify` is the marginal CPU time of each phase; it includes the "
        "clocks' own time, so the phases add up to more than a row takes without them.",
        "reading",
        tried=(
            "comparing columns with the plan as Arrow arrays: 1.77 CPU µs per row instead of 1.64 "
            "for lists (medians of 40 rounds, measured in turn), and pyarrow then imports pandas",
            "a faster check of small PNG files: of 23.6 CPU µs for an image, 18.5 are zlib's "
            "decompression (lowest of 60 rounds, measured in turn while others used the machine). "
            "Comparing the parts of the file in place instead of with a copy: 22.6 instead of 22.3 "
            "(lowest of 100 rounds in turn, machine busy)",
            "fewer imports: the first `verify` of a process takes 0.18 s of CPU time for imports, "
            "mostly of pyarrow and numpy's random numbers (three runs); both are needed, and a "
            "large dataset takes no more than a small one",
        ),
    ),
    "train": Section(
        "Training",
        "`data-factory train` against a loop of timm's `create_loader`, `create_optimizer_v2` and "
        "`create_scheduler_v2` with the same model, batch size, precision, threads and kinds of "
        "augmentation. Images/s of training, without the first epoch; and of the whole command. "
        "*Model alone* is the limit: forward pass, backward pass and optimizer of the timm loop on "
        "one batch over and over, with the allocator's settings and weight gradients of `train`.",
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
        "A million images on many ranks of one process group, in simulated time: a free rank "
        "takes the next shard. Assumed: 1 or 7 images/s of each rank (7 is the goal for an "
        "H200), ranks that differ by up to 5 % and one that takes three times as long, starts "
        "within 10 to 40 s. A shard costs one marker, whose time is measured here, and one rank"
        " at a time writes one; requests to the group's store are left out. The sizes are "
        "multiples of the default batch size; with others every shard's last batch is padded. "
        "The efficiency is the time of ranks that start at once and end together, divided by "
        "the simulated one; five seeds.",
        "simulated",
    ),
}
