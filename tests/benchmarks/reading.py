"""Rows of a large plan, `verify`, and datasets of many shards."""

from __future__ import annotations

import hashlib
import io
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from . import parts, profiles
from .many_shards import make_complete, make_incomplete
from .processes import command, function, program
from .timing import Figure, Scale, compared, in_turn

_ROWS = 512
_PLAN = 10**8
_CLASSES = 1000
_VERIFY = "factory.inspection.verify"
_PROFILE = {
    "SHA-256, stamp": [f"{_VERIFY}_rows:inspect_file"],
    "bounds": [f"{_VERIFY}_rows:require_bounded"],
    "Parquet": [f"{_VERIFY}_rows:_read"],
    "rows of the plan": ["factory.planner.plan:Plan.rows", f"{_VERIFY}_rows:_planned_rows"],
    "images": [f"{_VERIFY}_decoding:small_png_size"],
    "comparing": [f"{_VERIFY}:check_shard"],
}


def run(folder: Path, scale: Scale, device: str) -> list[Figure]:
    """Measure everything that reads a plan or a dataset."""
    return [
        *_plan_rows(folder / "plan", scale),
        *_verify(folder / "verify", scale),
        *_many_shards(folder / "many", scale),
    ]


def _plan_rows(folder: Path, scale: Scale) -> list[Figure]:
    from factory.planner.plan import plan

    planned = plan(parts.recipe(folder, _PLAN))
    names = [f"thing {number}" for number in range(_CLASSES)]
    many = {"classes": names, "images_per_class": _PLAN // _CLASSES}
    larger = plan(parts.recipe(folder / "many", _PLAN, **many))
    calls = scale.pick(50, 10, 1)
    done = in_turn(
        {
            "last": lambda: _cpu_ms(lambda: planned.rows(_PLAN - _ROWS, _PLAN), calls),
            "first": lambda: _cpu_ms(lambda: planned.rows(0, _ROWS), calls),
            "loop": lambda: _cpu_ms(_loop, calls),
            "classes": lambda: _cpu_ms(lambda: larger.rows(_PLAN - _ROWS, _PLAN), calls),
        },
        repeats=scale.pick(5, 2, 1),
    )
    what = f"the last {_ROWS} rows of a plan of 10^8"
    return [
        compared(what, "CPU ms", done["last"], "its first rows", done["first"]),
        compared(what, "CPU ms", done["last"], "loop of f-strings", done["loop"]),
        compared(
            f"{what}, {_CLASSES:,} classes", "CPU ms", done["classes"], "ten classes", done["last"]
        ),
    ]


def _cpu_ms(run: Callable[[], object], calls: int) -> float:
    run()
    started = time.process_time()
    for _ in range(calls):
        run()
    return 1e3 * (time.process_time() - started) / calls


def _loop() -> list[tuple[object, ...]]:
    """Sample rows as a script would, which must start at the first row."""
    chance, rows = random.Random(0), []
    for number in range(_ROWS):
        domain, light = chance.choice(parts.DOMAINS), chance.random()
        name = parts.CLASSES[number % len(parts.CLASSES)]
        prompt = f"a {domain} of a {name}, brightness {light:g}"
        rows.append((number, name, prompt, chance.uniform(1, 5), chance.getrandbits(63)))
    return rows


def _verify(folder: Path, scale: Scale) -> list[Figure]:
    from .overhead import build_ready

    few, images = scale.pick((1_000, 10_000), (200, 1_000), (10, 20))
    outs = {}
    for count in (few, images):
        (folder / f"{count}").mkdir(parents=True)
        build_ready(str(folder / f"{count}"), count)
        (outs[count],) = folder.glob(f"{count}/*/out")
    out = outs[images]
    done = in_turn(
        {
            name: lambda name=name: (
                function(f"reading:{name}", str(outs[few]), str(out), scale=scale).value
            )
            for name in ("verify_rate", "decode_rate")
        },
        repeats=scale.pick(5, 1, 1),
    )
    both = (few, str(outs[few]), images, str(out))
    profiled = [
        function("reading:profile_verify", *both, scale=scale).value
        for _ in range(scale.pick(3, 1, 1))
    ]
    return [
        compared(
            "verify",
            "rows per CPU second",
            done["verify_rate"],
            "hash, read, decode",
            done["decode_rate"],
            note="the alternative compares nothing with the plan",
        ),
        *profiles.figures("profile of verify", "CPU µs per row", profiled),
    ]


def profile_verify(few: int, few_out: str, many: int, many_out: str) -> dict[str, float]:
    """Return the further CPU µs that `verify` takes for a further row, by phase."""
    from factory.inspection.verify import verify_set

    outs = {few: few_out, many: many_out}
    return profiles.marginal(lambda rows: verify_set(outs[rows]), _PROFILE, few=few, many=many)


def verify_rate(few: str, out: str) -> float:
    """Return the rows that `verify` checks per CPU second; a small dataset comes first."""
    from factory.inspection.verify import verify_set

    return _rate(lambda folder: verify_set(folder).rows, few, out)


def decode_rate(few: str, out: str) -> float:
    """Return the rows per CPU second of hashing and reading the files and decoding the images."""
    return _rate(_decode, few, out)


def _rate(work: Callable[[str], int], few: str, out: str) -> float:
    work(few)
    started = time.process_time()
    rows = work(out)
    return rows / (time.process_time() - started)


def _decode(out: str) -> int:
    import pyarrow.parquet
    from PIL import Image

    rows = 0
    for path in sorted(Path(out).glob("data/*/*.parquet")):
        data = path.read_bytes()
        hashlib.sha256(data).hexdigest()
        table = pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
        for row in table:
            Image.open(io.BytesIO(row["image"]["bytes"])).load()
        rows += len(table)
    return rows


def _many_shards(folder: Path, scale: Scale) -> list[Figure]:
    shards = scale.pick(10_000, 500, 5)
    complete, running = folder / "complete", folder / "running"
    make_complete(complete, shards)
    make_incomplete(running, shards)
    repeats = scale.pick(3, 1, 1)
    figures = []
    for name, out in (("complete", complete), ("unfinished", running)):
        done = in_turn(
            {
                "status": lambda out=out: command("status", str(out), scale=scale).seconds,
                "list": lambda out=out: _list(out),
            },
            repeats=repeats,
        )
        what = f"status of {shards:,} shards, {name}"
        figures.append(compared(what, "s", done["status"], "list and read json", done["list"]))
    caches = iter(range(10**6))
    opened = in_turn(
        {
            name: lambda name=name: (
                function(
                    f"many_shards:{name}",
                    str(complete),
                    str(folder / f"cache-{next(caches)}"),
                    scale=scale,
                ).seconds
            )
            for name in ("open_for_training", "load_by_name", "load_parquet")
        },
        repeats=scale.pick(2, 1, 1),
    )
    plain = ('load_dataset("parquet", ...)', opened["load_parquet"])
    return [
        *figures,
        compared(f"load_dataset of {shards:,} shards", "s", opened["load_by_name"], *plain),
        compared(f"train opens {shards:,} shards", "s", opened["open_for_training"], *plain),
    ]


def _list(out: Path) -> float:
    """Return the seconds of a fresh Python that lists the files and parses the manifest."""
    code = (
        "import json, os, sys; [one.stat() for one in os.scandir(sys.argv[1] + '/data/base')];"
        "json.load(open(sys.argv[1] + '/manifest.json'))"
    )
    return program([sys.executable, "-c", code, os.fspath(out)])[0].seconds
