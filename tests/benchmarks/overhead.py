"""A build whose renderer returns ready images, against a plain loop that writes the same."""

from __future__ import annotations

import io
import multiprocessing
import random
import resource
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from . import parts, profiles
from .processes import BenchmarkFailed, Finished, function
from .timing import Figure, Scale, compared, in_turn, line_through

_SHARD = 512
_PLAIN = "plain loop"
_PARTS = 2
_PROFILE = {
    "rows of the plan": ["factory.planner.plan:Plan.rows"],
    "ready images, flaws": ["factory.builder.rows:_generate_batch"],
    "encoding": ["factory.builder.rows:_encode"],
    "tasks of the encoders, rows": [
        "factory.builder.rows:_Batch.of",
        "factory.builder.rows:_Batch.rows",
        "factory.builder.row_maker:generate_rows",
    ],
    "Parquet": ["factory.shards.parquet:parquet_file"],
    "hashing": ["factory.shards.parquet:seal"],
    "writing": ["factory.shards.parquet:write_bytes"],
    "markers, looking for files, progress": [
        "factory.builder.shard_maker:ShardMaker.make",
        "factory.builder.shard_maker:ShardMaker._end",
        "factory.builder.task_queue:Worklist.run",
        "factory.builder.worker:RankOfBuild._show",
    ],
    "manifest and card": ["factory.builder.worker:RankOfBuild._finish"],
}


def run(folder: Path, scale: Scale, device: str) -> list[Figure]:
    """Measure fixed start, marginal speed and memory of both, then memory of larger builds."""
    small, large, *others = scale.pick((1_000, 10_000, 100_000, 1_000_000), (200, 2_000), (20, 40))
    measured = (
        ("build_ready",),
        ("write_plainly",),
        ("build_in_processes", scale.in_process),
        ("build_in_processes", scale.in_process, "fast"),
        ("compress_in_processes", scale.in_process),
    )
    done = in_turn(
        {
            f"{one} {images}": lambda one=one, images=images: _measure(
                one[0], folder, images, *one[1:], scale=scale
            )
            for images in (small, large)
            for one in measured
        },
        repeats=scale.pick(5, 1, 1),
    )
    ours, plain, several, fast, limit = (
        [*zip(done[f"{one} {small}"], done[f"{one} {large}"], strict=True)] for one in measured
    )
    larger = {images: _measure("build_ready", folder, images, scale=scale) for images in others}
    further = large - small
    return [
        *_speed(ours, plain, further=further),
        *_two_processes(several, fast, ours, limit, further=further),
        *_memory(ours, plain, small, large, larger, scale),
        *_profile(folder, small, large, scale),
    ]


def _measure(name: str, folder: Path, images: int, *options: Any, scale: Scale) -> Finished:
    """Call a function of this module and delete its files, which take 3 kB per image."""
    done = function(f"overhead:{name}", str(folder), images, *options, scale=scale)
    for made in folder.iterdir():
        shutil.rmtree(made)
    return done


_Pairs = list[tuple[Finished, Finished]]


def _rates(pairs: _Pairs, *, further: int) -> list[float]:
    return [further / (two.seconds - one.seconds) for one, two in pairs]


def _two_processes(
    several: _Pairs, fast: _Pairs, ours: _Pairs, limit: _Pairs, *, further: int
) -> list[Figure]:
    what, note = f"marginal speed in {_PARTS} processes", "`build --part 1/2` and `--part 2/2`"
    rates = [_rates(pairs, further=further) for pairs in (several, fast, ours, limit)]
    return [
        compared(what, "images/s", rates[0], "one process", rates[2], note=f"{note} together"),
        compared(f"{what}, `output.compression: fast`", "images/s", rates[1], what, rates[0]),
        compared(
            what,
            "images/s",
            rates[0],
            "compression alone",
            rates[3],
            note="Pillow's, same processes",
            is_limit=True,
        ),
    ]


def _profile(folder: Path, few: int, many: int, scale: Scale) -> list[Figure]:
    runs = scale.pick(3, 1, 1)
    done = [_measure("profile_ready", folder, few, many, scale=scale) for _ in range(runs)]
    return profiles.figures("profile", "CPU µs per image", [one.value for one in done])


def profile_ready(folder: str, few: int, many: int) -> dict[str, float]:
    """Return the further CPU µs of a further ready image by phase."""
    run = partial(build_ready, folder)
    return profiles.marginal(run, _PROFILE, few=few, many=many)


def _speed(ours: _Pairs, plain: _Pairs, *, further: int) -> list[Figure]:
    rates, starts, cpu = [], [], []
    for pairs in (ours, plain):
        rates.append(_rates(pairs, further=further))
        cpu.append([1e3 * (two.cpu_s - one.cpu_s) / further for one, two in pairs])
        starts.append([one.seconds for one, _ in pairs])
    note = "further images divided by further seconds"
    return [
        compared("marginal speed", "images/s", rates[0], _PLAIN, rates[1], note=note),
        compared("marginal CPU time", "ms per image", cpu[0], _PLAIN, cpu[1]),
        compared("start and the first images", "s", starts[0], _PLAIN, starts[1]),
    ]


def _memory(
    ours: _Pairs,
    plain: _Pairs,
    small: int,
    large: int,
    larger: dict[int, Finished],
    scale: Scale,
) -> list[Figure]:
    peaks = {
        small: [one.peak_bytes for one, _ in ours],
        large: [two.peak_bytes for _, two in ours],
        **{images: [one.peak_bytes] for images, one in larger.items()},
    }
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if not scale.in_process and min(peaks[small]) <= own:
        raise BenchmarkFailed("peaks are those of the benchmark itself, which processes inherit")
    points = [(images, peak) for images, found in peaks.items() for peak in found]
    base, each = line_through(points)
    fit = f"fit over {len(points)} builds: {base / 2**20:.0f} MiB {each:+,.0f} bytes per image"
    others = {
        small: [one.peak_bytes / 2**20 for one, _ in plain],
        large: [two.peak_bytes / 2**20 for _, two in plain],
    }
    return [
        compared(
            f"peak memory, {images:,} images",
            "MiB",
            [peak / 2**20 for peak in found],
            *((_PLAIN, others[images]) if images in others else ()),
            note=fit if images == max(peaks) else "",
        )
        for images, found in peaks.items()
    ]


def build_ready(folder: str, images: int) -> None:
    """Build ready images into a new directory."""
    import tempfile

    _build_part(tempfile.mkdtemp(dir=folder), images, 1, 1)


def build_in_processes(
    folder: str, images: int, in_process: bool, compression: str | None = None
) -> None:
    """Build ready images into a new directory, in processes that each build a part."""
    import tempfile

    place, numbers = tempfile.mkdtemp(dir=folder), range(1, _PARTS + 1)
    work = [(place, images, number, _PARTS, compression) for number in numbers]
    _together(_build_part, work, in_process)


def compress_in_processes(folder: str, images: int, in_process: bool) -> None:
    """Compress ready images in processes that each take a part, and do nothing else."""
    _together(_compress, [(images // _PARTS,)] * _PARTS, in_process)


def _compress(images: int) -> None:
    from PIL import Image

    from factory.shards.png import small_png

    ready = [Image.fromarray(one) for one in parts.ready_images()]
    for number in range(images):
        small_png(ready[number % len(ready)])


def _together(run: Callable[..., None], arguments: list[tuple[Any, ...]], in_process: bool) -> None:
    if in_process:
        for one in arguments:
            run(*one)
        return
    with multiprocessing.get_context("spawn").Pool(_PARTS) as pool:
        pool.starmap(run, arguments, chunksize=1)


def _build_part(
    folder: str, images: int, number: int, count: int, compression: str | None = None
) -> None:
    from factory.builder.build import BuildOptions, Part, build
    from factory.shards.settings import BuildSettings

    place, output = Path(folder), {"size": parts.SIDE, "compression": compression}
    build(
        parts.recipe(place / f"recipe-{number}", images, output=output),
        place / "out",
        settings=BuildSettings(batch_size=32, shard_size=_SHARD, dtype="float32", device="cpu"),
        options=BuildOptions(part=Part(number, count)),
        show_progress=False,
        renderer_factory=parts.ReadyRenderer,
    )


def write_plainly(folder: str, images: int) -> None:
    """Write the same columns and images with a loop, as a script would."""
    import tempfile

    from datasets import ClassLabel, Dataset, Features, Image, Value

    place = Path(tempfile.mkdtemp(dir=folder))
    features = Features(
        {
            "image": Image(),
            "label": ClassLabel(names=parts.CLASSES),
            "prompt": Value("string"),
            "guidance_scale": Value("float32"),
            "seed": Value("int64"),
        }
    )
    ready, chance = parts.ready_images(), random.Random(0)
    for start in range(0, images, _SHARD):
        numbers = range(start, min(start + _SHARD, images))
        rows = [_plain_row(number, ready, chance) for number in numbers]
        columns = {name: [row[name] for row in rows] for name in features}
        data = Dataset.from_dict(columns, features=features)
        data.to_parquet(str(place / f"train-{start // _SHARD:05d}.parquet"))


def _plain_row(number: int, ready: list[Any], chance: random.Random) -> dict[str, Any]:
    from PIL import Image

    label = number % len(parts.CLASSES)
    domain, light = chance.choice(parts.DOMAINS), chance.random()
    buffer = io.BytesIO()
    Image.fromarray(ready[number % len(ready)]).save(buffer, format="png")
    return {
        "image": {"bytes": buffer.getvalue(), "path": None},
        "label": label,
        "prompt": f"a {domain} of a {parts.CLASSES[label]}, brightness {light:g}",
        "guidance_scale": chance.uniform(1, 5),
        "seed": chance.getrandbits(63),
    }
