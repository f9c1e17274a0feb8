"""What `factory build` prints when it ends or is stopped."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common import console
from factory.common.dataset_files import SHEET
from factory.common.errors import FactoryError
from factory.common.launch_environment import launcher
from factory.common.program import command
from factory.common.text import plural
from factory.recipe.styles import RECOMMENDED

if TYPE_CHECKING:
    from factory.builder.build import BuildReport
    from factory.shards.manifest import FailedImage

_MANY = 10


@contextmanager
def kept_reported(out: str | None) -> Iterator[None]:
    """Report how many images of a dataset are kept if a signal stops its build.

    Args:
        out: Dataset directory or URL; None if another process reports it.
    """
    from factory.common.stop_signals import Stopped

    try:
        yield
    except Stopped:
        # The terminal may be closed, and the dataset not begun.
        with suppress(OSError, FactoryError):
            if out is not None:
                console.log(kept(out))
        raise


def kept(out: str, config: str = "", *, planned: int | None = None) -> str:
    """Return how many images of a dataset are finished, those of unfinished shards included.

    Args:
        out: Dataset directory or URL.
        config: Count this config alone, which may not be begun.
        planned: Number of images in all; default: as the dataset says.
    """
    from factory.inspection.status import status

    own = [one for one in status(out).configs if one.kind == "set" and config in ("", one.name)]
    finished = sum(one.images_done + one.images_kept for one in own)
    total = sum(one.images for one in own) if planned is None else planned
    # Other processes of a launch may still be writing theirs.
    least = "at least " if launcher() else ""
    of = f" of {config}" if config else ""
    return f"{least}{finished:,} of {plural(total, 'image')}{of} are finished and kept"


def plain(report: BuildReport, out: str) -> dict[str, object]:
    """Return the values for `--json`."""
    return {
        "out": out,
        "images": report.generated,
        "kept": report.kept,
        "seconds": report.seconds,
        "configs": list(report.configs),
        "failed": {
            name: [image.model_dump() for image in images] for name, images in report.failed.items()
        },
        "complete": report.is_complete,
    }


def summarize(report: BuildReport, out: str, *, train: str | None) -> None:
    """Print what was generated, what failed, and what to do next.

    Args:
        report: Of the build.
        out: Dataset directory or URL.
        train: Options of `train` that fit the images; None: the caller prints the next steps.
    """
    regenerated = (
        f", {report.regenerated} of them to replace damaged ones" if report.regenerated else ""
    )
    generated, kept = (
        f"{plural(report.generated, 'image')} generated{regenerated}",
        f"{report.kept} already present",
    )
    speed = f", {report.images_per_s:.1f} images/s" if report.generated else ""
    console.write(f"{out}: {generated} ({report.seconds:.0f} s{speed}), {kept}")
    for name, images in report.failed.items():
        _list_failed(name, images)
    console.write(f"configs: {', '.join(report.configs)}")
    if not report.is_complete:
        console.write("this part is done; the part that finishes last writes the card")
        return
    if "://" not in out and train is not None:
        _write_next(report, out, train)


def _write_next(report: BuildReport, out: str, train: str) -> None:
    config = RECOMMENDED if RECOMMENDED in report.configs else report.configs[0]
    sheet, run = Path(out, SHEET), Path("runs", Path(out).absolute().name)
    # Named even if it is the only one: earlier builds may have left others.
    line = f"train {shlex.quote(out)} --config {config} {train} --out {shlex.quote(str(run))}"
    console.write("next:")
    if sheet.is_file():
        console.write(f"  look at {sheet}")
    console.write(f"  {command(line)}")
    console.write(
        f'  from datasets import load_dataset; load_dataset("{out}", "{config}", split="train")'
    )


def _list_failed(config: str, images: Sequence[FailedImage]) -> None:
    for image in images[:_MANY]:
        console.write(
            f"{config}: image {image.index} failed: {image.reason} "
            f"({plural(image.attempts, 'attempt')})"
        )
    if len(images) > _MANY:
        console.write(f"{config}: and {len(images) - _MANY} more")
