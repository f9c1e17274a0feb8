"""Measure how many images independent launches in one directory generate twice.

    python tests/overlap.py --launches 2 4 8 --shards 50 200 [--without-markers]

Each launch is a build in its own process that does not know the others. Generating an image is a
pause of fixed length, so the number of cores does not matter. The launches differ in speed by 30 %.
The ideal time is the one in which the same launches would have made all shards, had each of them
been busy until the end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from build_parts import FakeRenderer, recipe
from fault_parts import finished, start

from factory.builder.build import build
from factory.card import images, plots_ahead
from factory.recipe.library import load_recipe
from factory.shards.settings import BuildSettings

SETTINGS = BuildSettings(batch_size=2, shard_size=16, dtype="float32")
_SPREAD = 0.15


@dataclass(frozen=True)
class Overlap:
    """Result of several launches in one directory.

    Attributes:
        generated: Images that each launch generated.
        needed: Images of the dataset.
        seconds: From the first launch's first batch to the last shard.
        ideal_s: Seconds if every launch had been busy until the end.
    """

    generated: tuple[int, ...]
    needed: int
    seconds: float
    ideal_s: float

    @property
    def twice(self) -> float:
        """Images generated again, as a fraction of those needed."""
        return sum(self.generated) / self.needed - 1


class _Paced(FakeRenderer):
    """Takes a fixed time for a batch."""

    seconds = 0.0
    began = 0.0

    def render(self, rows: Sequence[Any], *, batch_size: int) -> Any:
        _Paced.began = _Paced.began or time.time()
        time.sleep(_Paced.seconds)
        return super().render(rows, batch_size=batch_size)


def _launch(file: Path, out: Path, batch_s: float, with_markers: bool, results: Path) -> None:
    """Build in a launch of its own."""
    _Paced.seconds = batch_s
    images.plot_distributions = lambda recipes: b"plots"
    plots_ahead.cores_per_process = lambda: 1
    if not with_markers:
        from factory.builder.markers import Markers

        Markers.add = lambda *_: True  # type: ignore[method-assign]
        Markers.next_numbers = lambda *_: {}  # type: ignore[method-assign]
        from factory.builder import prepare

        prepare.list_markers = lambda _: [out]  # type: ignore[assignment,return-value,list-item]
    report = build(
        load_recipe(file), out, settings=SETTINGS, show_progress=False, renderer_factory=_Paced
    )
    results.write_text(json.dumps([report.generated, _Paced.began]))


def measured(
    folder: Path, *, launches: int, shards: int, image_s: float, with_markers: bool = True
) -> Overlap:
    """Start launches in one directory at once and wait for them.

    Args:
        folder: An empty folder; the dataset is `out` in it.
        launches: Number of launches.
        shards: Number of shards of the dataset.
        image_s: Mean seconds per image over the launches.
        with_markers: False hides the launches' markers from each other.
    """
    needed = shards * 16
    recipe(folder, "base", classes=["cat", "dog"], images_per_class=needed // 2)
    pace = [1 + _SPREAD * (2 * place / max(launches - 1, 1) - 1) for place in range(launches)]
    batches = [image_s * 2 * one for one in pace]
    results = [folder / f"launch-{number}.json" for number in range(launches)]
    running = [
        start(_launch, folder / "base.yaml", folder / "out", batch_s, with_markers, file)
        for batch_s, file in zip(batches, results, strict=True)
    ]
    assert [finished(one, within_s=3600) for one in running] == [0] * launches
    generated, began = zip(*(json.loads(file.read_text()) for file in results), strict=True)
    ended = max(path.stat().st_mtime for path in (folder / "out/data/base").iterdir())
    ideal_s = needed / 2 / sum(1 / one for one in batches)
    return Overlap(generated, needed, ended - min(one for one in began if one), ideal_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launches", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--shards", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--image-s", type=float, default=0.05)
    parser.add_argument("--without-markers", action="store_true")
    args = parser.parse_args()
    for shards in args.shards:
        for launches in args.launches:
            with tempfile.TemporaryDirectory() as folder:
                found = measured(
                    Path(folder),
                    launches=launches,
                    shards=shards,
                    image_s=args.image_s,
                    with_markers=not args.without_markers,
                )
            sys.stdout.write(
                f"{shards} shards, {launches} launches: {found.twice:.1%} generated twice, "
                f"{found.seconds:.1f} s, {found.seconds / found.ideal_s - 1:+.1%} over the ideal\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
