"""The commands: `fit`, `export`, `evaluate`, `digits`. Heavy imports are inside them."""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factory.common.console import Parser, renamed
from factory.common.options import (
    add_batch_size,
    add_out,
    add_seed,
    add_threads,
    add_version,
    option,
    positive,
)
from factory.common.program import module

_COLUMNS = {
    "image": "image column of the dataset",
    "caption": "column of captions",
    "name": "column of names, for captions made from them",
}
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=module("train.generator"),
        description="Train, export and evaluate the small text-to-image model.",
    )
    add_version(parser)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_fit(commands)
    _add_export(commands)
    _add_evaluate(commands)
    _add_digits(commands)
    return parser


def _add_fit(commands: Any) -> None:
    fit = commands.add_parser("fit", help="train, or resume an interrupted run")
    add_out(fit, "DIR", "the run; an interrupted run is resumed", required=True)
    fit.add_argument("--settings", type=Path, metavar="FILE", help="a YAML file of settings")
    renamed(fit, "--config", "--settings")
    fit.add_argument(
        "--data",
        metavar="DATASET",
        help="training data, directory or Hub id: replaces every source of the settings except "
        "`digits`",
    )
    for column, what in _COLUMNS.items():
        text = f"{what} (default: the settings')"
        fit.add_argument(f"--{column}-column", metavar="NAME", help=text)
    fit.add_argument(
        "--filter",
        metavar="EXPR",
        help="keep only matching rows of the dataset; of each source, e.g. 'license != \"none\"'",
    )
    fit.add_argument("--image-size", type=positive, metavar="N", help="height and width in pixels")
    fit.add_argument(
        "--images",
        type=positive,
        metavar="N",
        help="number of images: at most, of each such source",
    )
    fit.add_argument(
        "--start-from",
        metavar="PIPELINE",
        help="folder written by `export`, to continue training from",
    )
    fit.add_argument("--samples", type=positive, metavar="N", help="length of the run")
    fit.add_argument("--max-minutes", type=float, metavar="X", help="maximum duration of the run")
    add_batch_size(fit, "the settings'")
    fit.add_argument(
        "--stage", choices=("denoiser", "decoder"), help="train only this part (default: both)"
    )
    fit.set_defaults(run=_fit)


def _add_run(command: argparse.ArgumentParser) -> None:
    option(
        command,
        "--run RUN",
        "folder of `fit`",
        Path,
        meaning="trained model",
        dest="run_folder",
        required=True,
    )


def _add_export(commands: Any) -> None:
    export = commands.add_parser("export", help="write a run as a diffusers pipeline")
    _add_run(export)
    add_out(export, "DIR", "the pipeline", required=True)
    renamed(export, "--to", "--out")
    export.set_defaults(run=_export)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate", help="measure a pipeline: speed, prompt accuracy, probes, memorisation, sheets"
    )
    evaluate.add_argument("pipeline", type=Path)
    _add_run(evaluate)
    add_out(evaluate, "DIR", "measurements and sheets", required=True)
    evaluate.add_argument(
        "--real",
        action="append",
        default=[],
        metavar="DATASET",
        help="real images of the run's focus classes to score the zero-shot probe on: directory or "
        "Hub id; may be repeated",
    )
    evaluate.add_argument(
        "--images-per-class",
        type=positive,
        default=200,
        metavar="N",
        help="images of each class (default: 200)",
    )
    add_threads(evaluate, shown=2)
    evaluate.add_argument("--card", action="store_true", help="also write the pipeline's card")
    evaluate.set_defaults(run=_evaluate)


def _add_digits(commands: Any) -> None:
    digits = commands.add_parser(
        "digits", help="write the rendered training digits of `fit` as a dataset"
    )
    digits.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    digits.add_argument(
        "--images",
        type=positive,
        default=4000,
        metavar="N",
        help="number of images (default: 4000)",
    )
    digits.add_argument(
        "--image-size",
        type=int,
        default=64,
        choices=(64, 32, 16, 8),
        metavar="N",
        help="height and width in pixels: 64, 32, 16 or 8 (default: 64)",
    )
    add_seed(digits, "the digits")
    digits.set_defaults(run=_digits)


def _fit(arguments: argparse.Namespace) -> int:
    from factory.common.devices import reporting_lack_of_memory
    from factory.common.stop_signals import stopping_on_signals
    from train.generator.config import load_config, with_source
    from train.generator.training.fit import STAGES, Stage, fit

    source = {
        "source": arguments.data,
        "image_column": arguments.image_column,
        "caption_column": arguments.caption_column,
        "name_column": arguments.name_column,
        "images": arguments.images,
        "row_filter": arguments.filter,
    }
    data = {"image_size": arguments.image_size}
    length = {
        "start_from": arguments.start_from,
        "samples": arguments.samples,
        "max_minutes": arguments.max_minutes,
        "batch_size": arguments.batch_size,
    }
    overrides = {"data": _given(data), "fit": _given(length)}
    config = with_source(load_config(arguments.settings, overrides), _given(source))
    stages: tuple[Stage, ...] = (arguments.stage,) if arguments.stage else STAGES
    remedy = "lower --batch-size, or `batch_size` of the stage in the config"
    with stopping_on_signals(), reporting_lack_of_memory(remedy):
        fit(config, arguments.out, stages=stages)
    return 0


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _export(arguments: argparse.Namespace) -> int:
    from train.generator.release.export import export

    export(arguments.run_folder, arguments.out)
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from train.generator.evaluation.evaluate import evaluate

    evaluate(
        arguments.pipeline,
        run=arguments.run_folder,
        out=arguments.out,
        real=arguments.real,
        images_per_class=arguments.images_per_class,
        threads=arguments.threads or 2,
        write_card_to=arguments.pipeline if arguments.card else None,
    )
    return 0


def _digits(arguments: argparse.Namespace) -> int:
    from train.generator.images.rendered import write_rendered

    write_rendered(
        arguments.out,
        images=arguments.images,
        image_size=arguments.image_size,
        seed=arguments.seed,
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = _parser().parse_args(argv)
    rank = os.environ.get("RANK", "0")
    level = logging.INFO if rank == "0" else logging.WARNING
    logging.basicConfig(level=level, format=f"[{rank}] {LOG_FORMAT}")
    status: int = arguments.run(arguments)
    return status
