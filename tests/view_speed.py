"""Measure the answers of the viewer for many rows: `python tests/view_speed.py [ROWS]`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eval.viewer.answers import Viewer, open_viewer

_PER_SHARD, _CONFIGS, _CLASSES = 5000, 4, 10


def write_dataset(out: Path, rows: int) -> None:
    """Write a dataset of `rows` rows in four configs, whose images are empty."""
    shards = rows // _CONFIGS // _PER_SHARD
    configs = {}
    for number in range(_CONFIGS):
        name = f"config-{number}"
        (out / "data" / name).mkdir(parents=True)
        files = [f"data/{name}/train-{one:05d}-{one:012x}.parquet" for one in range(shards)]
        for one, file in enumerate(files):
            pq.write_table(_table(name, number * shards + one, one), out / file)
        listed = [{"file": file, "rows": _PER_SHARD} for file in files]
        configs[name] = {"complete": True, "images": shards * _PER_SHARD, "shards": listed}
    labels = [f"class {number}" for number in range(_CLASSES)]
    (out / "manifest.json").write_text(json.dumps({"labels": labels, "configs": configs}))


def _table(config: str, stream: int, place: int) -> pa.Table:
    rng = np.random.default_rng(stream)
    index = np.arange(place * _PER_SHARD, (place + 1) * _PER_SHARD)
    domains = np.array(["photo", "sketch", "painting", "poster", "collage"])
    domain = domains[rng.integers(0, len(domains), _PER_SHARD)]
    number = rng.integers(0, 100_000, _PER_SHARD)
    columns = {
        "image": pa.array([{"bytes": b"", "path": None}] * _PER_SHARD),
        "label": index % _CLASSES,
        "recipe": [config] * _PER_SHARD,
        "prompt": [f"a {one} of thing {two}" for one, two in zip(domain, number, strict=True)],
        "domain": domain,
        "guidance_scale": rng.uniform(1, 8, _PER_SHARD).astype(np.float32),
        "seed": rng.integers(0, 1 << 62, _PER_SHARD),
        "index": index,
        "difference_hash": rng.integers(-(1 << 62), 1 << 62, _PER_SHARD),
    }
    return pa.table(columns)


def timed(name: str, act: Callable[[], object]) -> None:
    """Print the CPU time of the first and the second answer."""
    times = []
    for _ in range(2):
        start = time.process_time()
        act()
        times.append(time.process_time() - start)
    sys.stdout.write(f"{name}: {times[0]:.2f} s, again {times[1]:.3f} s\n")


def measure(viewer: Viewer) -> None:
    """Print the CPU time of each kind of answer."""
    config = "config-0"
    timed("description, with all facets", viewer.about)
    timed("counts of all facets", lambda: viewer.counts({}))
    for name, asked in {
        "filter": {"filter": "guidance_scale < 3 and domain in ('photo', 'sketch')"},
        "filter and facet counts": {"filter": "label == 'class 3' or guidance_scale > 7"},
        "sort by a number": {"sort": "guidance_scale"},
        "sort by a text": {"sort": "prompt", "descending": "1"},
        "similar images": {"like": "5"},
        "two configs beside": {"config": config, "beside": "config-1,config-2"},
    }.items():
        act = viewer.counts if "facet" in name else viewer.page
        timed(name, lambda act=act, asked=asked: act(asked))
    timed("mark", lambda: viewer.mark({"rows": [7], "marked": True}))
    timed("marked only", lambda: viewer.page({"marks": "marked"}))


def main() -> None:
    """Write a dataset, open it and measure."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        write_dataset(out, rows)
        start = time.process_time()
        viewer = open_viewer(out, None)
        spent, size = time.process_time() - start, viewer.rows.table.nbytes / 1e6
        sys.stdout.write(f"open {viewer.rows.count:,} rows, {size:.0f} MB: {spent:.2f} s\n")
        measure(viewer)


if __name__ == "__main__":
    main()
