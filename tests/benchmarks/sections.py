"""The benchmarks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from . import tried
from .timing import Figure, Scale

Run = Callable[[Path, Scale, str], list[Figure]]


@dataclass(frozen=True)
class Section:
    """One benchmark and its part of the page; texts are Markdown.

    Attributes:
        title: Heading.
        about: What is compared with what, and what the lines of the table mean.
        module: Module of this package; its `run(folder, scale, device)` returns the figures.
        target: Target of the Makefile that runs it.
        earlier: Other measurements, shown after the tables.
        tried: Changes that were measured and are not used, each with the way of measuring.
        grid_by: Text between row and column in the names of lines that are shown as a grid.
    """

    title: str
    about: str
    module: str
    target: str = "bench"
    earlier: str = ""
    tried: str = ""
    grid_by: str = ""

    @property
    def anchor(self) -> str:
        """The heading's anchor in the page."""
        return self.title.lower().replace(",", "").replace(" ", "-")

    def run(self, folder: Path, scale: Scale, device: str) -> list[Figure]:
        """Measure in an empty folder."""
        measure: Run = import_module(f".{self.module}", __package__).run
        return measure(folder, scale, device)


SECTIONS = {
    "gpu": Section(
        "Generation on a GPU",
        """\
`data-factory build` against diffusers, for three architectures in bfloat16: 40 steps, a guidance
scale per image from U(1, 5). The weights are random, which does not change the speed.

- *Bare passes*: network and decoder with the pipeline's own inputs, and nothing else.
- *Stock pipeline*: diffusers with the same batch size and one guidance scale.
- *Limit*: the speed at which the device multiplies large bfloat16 matrices, which is measured,
  divided by the operations of an image, which are counted. Stable Diffusion 1.4 needs 0.803 TFLOP
  per pass and 2.51 per decoding, 66.8 per image.
- *Waits for the device*: how often torch reports that the CPU waits for the GPU to finish. After
  each such wait, the GPU is idle until the CPU has sent more work.
- *--compile*: for Stable Diffusion 1.4 only, because compiling a network takes minutes.
""",
        "gpu_generation",
        target="bench-gpu",
    ),
    "gpu-train": Section(
        "Training and scoring on a GPU",
        """\
The comparisons of [Training](#training) and [Scoring](#scoring), for ResNet50 in bfloat16
(autocast) and channels-last, with batches of 128 and preset `quick`.

- *Images*: kept in memory; on the GPU if they need at most a quarter of its free memory. In the
  last measurement they are read from their files in each epoch. timm always reads files.
- *Device waits for a batch*: time from the end of a step to the arrival of the next batch, by
  events in the GPU's stream.
- *The paper's trainings*: computed from the measured images/s and the time between epochs.
- *timm loop*: cuDNN chooses kernels by timing them, as in timm's own script.

It should take about four minutes on an H200 (not tried).
""",
        "gpu_training",
        target="bench-gpu",
    ),
    "gpu-memory": Section(
        "Memory of settings on a GPU",
        """\
Peak memory that torch allocates while it loads a model and generates a batch, and images/s of a
second batch.

- *Models*: Stable Diffusion 1.4 (512 px, 8 steps), and FLUX.1 with 4 of its 19 and 8 of its 38
  blocks (1024 px, 12 steps). The weights are random.
- *first-block*, *cache-dit*: memory only. How many blocks they skip, and so their speed, depends
  on the weights.
- *int8*, *cache-dit*: left out where torchao or cache-dit is not installed.

It should take about three minutes on an H200 (not tried).
""",
        "gpu_memory",
        target="bench-gpu",
    ),
    "cpu": Section(
        "Generation on a CPU",
        """\
`data-factory build` with the embedded generator against the same model in diffusers: 64 px, 8
steps, stored at 32 px. The build uses one process per core, its default.

- *build*: images/s without the start, that is, further images divided by further seconds of the
  whole command. Other work on the machine changes this figure.
- *CPU time of an image*: also without the start, of all processes of the build. Other work changes
  it less.
- *Bare passes* (limit): network and decoder alone.
- *Large matrix products* (limit): as many operations as an image needs in network and decoder, 7.8
  GFLOP (FlopCounterMode), in the same type. Passes can hardly be faster.
- Limits are measured in processes of their own, so chance can put a build above them.
- *build --compile network*: measured once, after the other lines, and compared with the last
  measurement of each. A build of one batch has filled the cache of compiled code before. The start,
  in which each process reads the cache, is left out.
- *Profile*: of other builds.
- *Profile of a pass*: what the UNet's passes of one batch spend their time on, in one thread, by
  torch's profiler.
""",
        "cpu_generation",
        earlier="""\
**Earlier runs** on an AMD EPYC with AVX2, on 2026-11-30 (UTC); brackets: lowest and highest.
Commits 2d2e1535 and 11af922e compute the same images in the same way. Why the later build was
slower, by more than its alternatives, was not found.

| time, commit | build, images/s | times one per call | times batches | first ten, s | ratio |
|---|---:|---:|---:|---:|---:|
| 14:23, 2d2e1535 | 17.7 [15.7, 19.6] | 7.14 [6.8, 7.48] | 1.91 [1.77, 2.05] | 8.71 | 0.798 |
| 17:15, 4175d954 | 14.8 | 5.67 [5.52, 5.82] | 1.63 [1.41, 1.84] | 13 | 0.784 |
| 20:50, 11af922e | 13.3 [11, 15.6] | 5.71 [4.9, 6.52] | 1.54 [1.29, 1.8] | 14.4 | 0.787 |

The last ratio is that to the script.
""",
        tried=tried.CPU,
    ),
    "overhead": Section(
        "Building without generation",
        """\
Everything a build does besides generating: its renderer returns ready 32 x 32 images. That is
planning, checks, PNG, Parquet, manifest and card. A second process plots the card's figures for
about a second meanwhile.

- *Plain loop*: prompts by f-string, PNG by Pillow, `Dataset.from_dict(...).to_parquet` for every
  512 rows.
- *Marginal*: of further images, without the start.
- *Compression alone* (limit): Pillow's PNG encoder for the same images, in as many processes.
- *Peak memory*: of the larger process, not the sum.
- *Profile*: marginal CPU time in all threads; a phase does not include the phases that it calls
  (`tests/benchmarks/profiles.py`). It comes from other builds and includes reading the clocks, so
  it need not add up to the marginal CPU time. A phase that takes the same time for any number of
  images, such as the card, is near 0, and noise can make it negative.
""",
        "overhead",
        earlier="""\
**Earlier runs** on an AMD EPYC with AVX2, on 2026-11-30 (UTC), images/s; brackets: lowest and
highest.

| time | commit | 2 processes | one process | compression alone |
|---|---|---:|---:|---:|
| 15:16 | 06360fdc | 8,253 [5,407, 12,207] | 6,748 [4,571, 9,145] | 10,792 [8,867, 227,602] |
| 17:27 | 4175d954 | 4,843 [3,517, 6,644] | 5,394 [4,959, 6,979] | 8,113 [7,167, 11,729] |
| 21:07 | 11af922e | 5,843 [5,085, 6,966] | 4,687 [4,260, 5,453] | 11,101 [9,060, 13,893] |
| 23:38 | f11b2090 | 5,766 [3,865, 8,575] | 5,208 [4,537, 7,319] | 9,193 [8,282, 21,088] |

The 227,602 is noise: speeds are computed from differences of two times.

**Plots in a second process** save 0.51 [0.15, 0.84] s of a build of 1,000 images. Median, lowest
and highest of 12 pairs with commit 907cd3e8; it was faster in each. Quiet machine, `build_ready` of
`tests/benchmarks/overhead.py`.

| plots | s | CPU s |
|---|---:|---:|
| in a second process | 2.54 [2.21, 2.78] | 3.22 [2.88, 3.52] |
| in the build's own process | 2.96 [2.64, 3.46] | 3.15 [2.86, 3.64] |
""",
        tried=tried.OVERHEAD,
    ),
    "reading": Section(
        "Planning, checking and opening",
        """\
What is done with a recipe or a finished dataset.

- *Rows of a plan*: of 10^8 images.
- *verify*: without imports, and so is its alternative, which hashes, reads and decodes.
- *10,000 shards*: hard links to one file, so that the disk does not count.
- *Profile of verify*: marginal CPU time. It includes reading the clocks, so its phases add up to
  more than a row takes.
""",
        "reading",
        earlier="""\
**An earlier run** on an AMD EPYC with AVX2 (2026-11-30 14:46 UTC, commit 2d2e1535). The
alternatives do the same in both runs and were faster too.

| measured | data-factory | alternative | ratio |
|---|---:|---:|---:|
| verify (rows per CPU second) | 24,766 [22,891, 24,962] | 11,307 [10,208, 11,446] | 2.18 |
| status of 10,000 shards, complete (s) | 0.831 [0.816, 0.908] | 0.0937 [0.0924, 0.0937] | 8.87 |
| status of 10,000 shards, unfinished (s) | 1.55 [1.47, 1.61] | 0.0853 [0.0747, 0.0888] | 18.1 |
| load_dataset of 10,000 shards (s) | 35.9 [34, 37.9] | 33 [32.5, 33.6] | 1.09 |
| train opens 10,000 shards (s) | 69.4 [66.2, 72.7] | 33 [32.5, 33.6] | 2.1 |

Then `train` still parsed the footer of each file twice and compared the classes of all files. Just
before this changed (2026-12-01 00:23 UTC, commit f11b2090), it opened the shards in 98.4
[92.4, 104] s, 2.35 times the alternative.
""",
        tried=tried.READING,
    ),
    "train": Section(
        "Training",
        """\
`data-factory train` against a loop of timm's `create_loader`, `create_optimizer_v2` and
`create_scheduler_v2`. Model, batch size, precision, threads and kinds of augmentation are the same.

- *training*: images/s without the first epoch.
- *whole command*: images/s with the start, in short trainings.
- *Model alone* (limit): forward pass, backward pass and optimizer of the timm loop on one batch
  over and over, with the allocator's settings and weight gradients of `train`.
""",
        "training",
        earlier="""\
**An earlier run** on an AMD EPYC with AVX2 (2026-11-30 17:56 UTC, commit 737e0d05 with changes),
`resnet18`: 2.29 [2.13, 2.46] times the timm loop; the whole command 1.23 [1.16, 1.3] times.
""",
    ),
    "score": Section(
        "Scoring",
        """\
`data-factory score` against `evaluate`'s `evaluator('image-classification')`, with the same run
folder, images and batch size. *Marginal speed* is without the start. The run fails if the two
accuracies differ.
""",
        "scoring",
    ),
    "scaling": Section(
        "Several processes",
        """\
`data-factory build` with the embedded generator in 1 and 2 processes, with start and end.

- *Strong scaling*: the same images.
- *Weak scaling*: twice the images in two processes.
- *Ratio*: the efficiency; 1 is ideal.
""",
        "scaling",
    ),
    "simulated": Section(
        "Many processes, simulated",
        """\
A million images in one process group, in simulated time. A free rank takes the next shard; at the
end, ranks wait for the last shards.

**Choose `--shard-size` so that each process generates 8 shards or more, better 30.** In the grid,
about 8 or more give a median efficiency of at least 0.75, 30 or more at least 0.8, and 2 or
fewer less than 0.65; 3 to 7 were not simulated. Use a multiple of `--batch-size` (32 by default):
otherwise every shard's last batch is padded. Small shards make many files.

- *Efficiency*: the time of ranks that start at once and end together, divided by the simulated
  time; five seeds.
- *Assumed*: each rank makes 1 or 7 images/s (7 is the goal for an H200). Ranks differ by up to 5 %,
  and one takes three times as long. They start within 10 to 40 s.
- *Marker*: the small file that each shard needs; only one rank at a time writes one. Its time is
  measured. Requests to the group's store are left out.
""",
        "simulated",
        grid_by=", shards of ",
    ),
}
