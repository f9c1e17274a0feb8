"""Options that several commands share."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from factory.common.errors import UserError
from factory.common.options import (
    FIT_HELP,
    add_batch_size,
    add_device,
    add_quiet,
    add_rows,
    add_skip_unreadable,
    add_threads,
    option,
)
from factory.common.row_options import row_options

if TYPE_CHECKING:
    from eval.real import RealImages

AUTO = "auto"
DATASET = "dataset directory, folder of photos, CSV or Parquet file, or Hub id"


def add_real(parser: argparse.ArgumentParser, *, prefix: str = "", required: bool = True) -> None:
    """Add the options that choose the real images.

    Args:
        parser: The parser of the command.
        prefix: `real-` if the command reads another dataset too.
        required: Whether the command needs them.
    """
    option(parser, "--real DATASET", f"real images: {DATASET}", required=required)
    add_rows(parser, prefix=prefix, of="the real dataset" if prefix else "the dataset")
    add_skip_unreadable(parser)
    option(
        parser,
        "--real-name NAME",
        "name of the real dataset in files and tables (default: folder, config and split)",
    )


def check_real_of(args: argparse.Namespace, *, prefix: str = "") -> None:
    """Check the options of `add_real` before large libraries are imported."""
    from eval.real import check_real

    with row_options(_written(prefix)):
        check_real(args.real, **_chosen(args, prefix), name=args.real_name)


def open_real_of(args: argparse.Namespace, *, prefix: str = "", shows: bool = True) -> RealImages:
    """Open the images that the options of `add_real` choose; see `eval.real.open_real`."""
    from eval.real import open_real

    with row_options(_written(prefix)):
        return open_real(
            args.real,
            **_chosen(args, prefix),
            name=args.real_name,
            skip_unreadable=args.skip_unreadable,
            shows=shows,
        )


def _chosen(args: argparse.Namespace, prefix: str) -> dict[str, Any]:
    """Return the options that choose rows, as `open_real` and `check_real` name them."""
    names = {"config_name": "config", "split": "split", "row_filter": "filter"}
    names |= {name: name for name in ("image_column", "label_column")}
    return {name: getattr(args, prefix + option) for name, option in names.items()}


def _written(prefix: str) -> str:
    return f"--{prefix.replace('_', '-')}{{}}"


def add_fit(parser: argparse.ArgumentParser) -> None:
    """Add the option for images that are not square."""
    option(
        parser,
        "--fit",
        f"{FIT_HELP} (default: as the model was trained, else crop)",
        choices=("crop", "pad", "squash"),
    )


def add_threshold(parser: argparse.ArgumentParser, *, auto: str) -> None:
    """Add the options that choose the threshold of "none of these".

    Args:
        parser: Of the command.
        auto: Help for `--threshold auto`.
    """
    group = parser.add_argument_group("none of these")
    option(
        group,
        "--threshold P|auto|off",
        f'answer "none of these" if the probability is below P; {auto} (default: off)',
        _threshold,
    )
    option(
        group,
        "--data DATASET",
        "training data, directory or Hub id: of the run folder, for --threshold auto (default: "
        "where the run names it, if it is on this machine and unchanged)",
    )


def _threshold(text: str) -> float | str | None:
    """Parse a probability, `auto` or `off`."""
    if text == "off":
        return None
    if text == AUTO:
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("expected a probability from 0 to 1, auto or off")
    return value


def check_threshold(args: argparse.Namespace) -> None:
    """Reject `--data` where nothing reads it.

    Raises:
        UserError: The threshold is not `auto`.
    """
    if args.data is not None and args.threshold != AUTO:
        raise UserError(f"--data {args.data} is read by --threshold auto only; add it")


def check_model(run: str) -> None:
    """Check a run folder or an ONNX file before large libraries are imported.

    Raises:
        UserError: It does not exist, or is something else.
    """
    from eval.checkpoint import check_run, is_onnx
    from eval.onnx_checks import require_file
    from factory.common.storage import at_home

    if is_onnx(run):
        require_file(at_home(run), shown=run)
    else:
        check_run(str(at_home(run)))


def add_process(parser: argparse.ArgumentParser, *, batch_size: int = 256) -> None:
    """Add the options that control inference."""
    add_batch_size(parser, batch_size)
    add_threads(parser)
    add_device(parser)
    add_quiet(parser)
