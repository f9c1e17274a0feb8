"""The commands: `fit`, `export`, `evaluate`, `digits`, `heads`. Heavy imports are inside them."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factory.common.console import Parser
from factory.common.program import module

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=module("train.generator"),
        description="Train, export and evaluate the small text-to-image model.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_fit(commands)
    _add_export(commands)
    _add_evaluate(commands)
    _add_digits(commands)
    _add_heads(commands)
    return parser


def _add_fit(commands: Any) -> None:
    fit = commands.add_parser("fit", help="train, or resume an interrupted run")
    fit.add_argument("--out", type=Path, required=True, help="run folder")
    fit.add_argument("--config", type=Path, help="a YAML file of settings")
    fit.add_argument(
        "--data",
        help="directory or Hub id that replaces every source of the settings except `digits`",
    )
    fit.add_argument("--image-column")
    fit.add_argument("--caption-column")
    fit.add_argument("--name-column", help="make captions from the names in this column instead")
    fit.add_argument(
        "--filter",
        metavar="EXPR",
        help="keep only matching rows of each such source, e.g. 'license != \"none\"'",
    )
    fit.add_argument("--image-size", type=int)
    fit.add_argument("--images", type=int, help="maximum number of images of each such source")
    fit.add_argument(
        "--start-from",
        metavar="PIPELINE",
        help="folder written by `export`, to continue training from",
    )
    fit.add_argument("--samples", type=int, help="length of the run")
    fit.add_argument("--max-minutes", type=float, help="maximum duration of the run")
    fit.add_argument("--batch-size", type=int, help="per process")
    fit.add_argument(
        "--stage", choices=("denoiser", "decoder"), help="train only this part (default: both)"
    )
    fit.set_defaults(run=_fit)


def _add_export(commands: Any) -> None:
    export = commands.add_parser("export", help="write a run as a diffusers pipeline")
    export.add_argument("--run", dest="run_folder", type=Path, required=True)
    export.add_argument("--to", type=Path, required=True, help="the pipeline folder")
    export.set_defaults(run=_export)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate", help="measure a pipeline: speed, prompt accuracy, probes, memorisation, sheets"
    )
    evaluate.add_argument("pipeline", type=Path)
    evaluate.add_argument("--run", dest="run_folder", type=Path, required=True)
    evaluate.add_argument(
        "--out", type=Path, required=True, help="output folder for measurements and sheets"
    )
    evaluate.add_argument(
        "--real",
        action="append",
        default=[],
        metavar="DATASET",
        help="real dataset of the focus classes for the zero-shot probe; may be repeated",
    )
    evaluate.add_argument("--images-per-class", type=int, default=200)
    evaluate.add_argument("--threads", type=int, default=2)
    evaluate.add_argument("--card", action="store_true", help="also write the pipeline's card")
    evaluate.set_defaults(run=_evaluate)


def _add_digits(commands: Any) -> None:
    digits = commands.add_parser(
        "digits", help="write the rendered training digits of `fit` as a dataset"
    )
    digits.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    digits.add_argument("--images", type=int, default=4000, help="default: 4000")
    digits.add_argument("--image-size", type=int, default=64, choices=(64, 32, 16, 8))
    digits.add_argument("--seed", type=int, default=0)
    digits.set_defaults(run=_digits)


def _add_heads(commands: Any) -> None:
    heads = commands.add_parser(
        "heads",
        help="find the heads of cats and dogs; write a copy of the train split with their boxes",
    )
    heads.add_argument("data", metavar="DATASET", help="a directory or a Hub id")
    heads.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    heads.add_argument("--image-column", default="image")
    heads.add_argument("--name-column", default="name", help="default: name")
    heads.add_argument("--general-column", help="more general words, text or a list")
    heads.set_defaults(run=_heads)


def _fit(arguments: argparse.Namespace) -> int:
    from factory.common.devices import reporting_lack_of_memory
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
    config = with_source(load_config(arguments.config, overrides), _given(source))
    stages: tuple[Stage, ...] = (arguments.stage,) if arguments.stage else STAGES
    with reporting_lack_of_memory("lower --batch-size, or `batch_size` of the stage in the config"):
        fit(config, arguments.out, stages=stages)
    return 0


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _export(arguments: argparse.Namespace) -> int:
    from train.generator.release.export import export

    export(arguments.run_folder, arguments.to)
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from train.generator.evaluation.evaluate import evaluate

    evaluate(
        arguments.pipeline,
        run=arguments.run_folder,
        out=arguments.out,
        real=arguments.real,
        images_per_class=arguments.images_per_class,
        threads=arguments.threads,
        write_card_to=arguments.pipeline if arguments.card else None,
    )
    return 0


def _digits(arguments: argparse.Namespace) -> int:
    from train.generator.pictures.rendered import write_rendered

    write_rendered(
        arguments.out,
        images=arguments.images,
        image_size=arguments.image_size,
        seed=arguments.seed,
    )
    return 0


def _heads(arguments: argparse.Namespace) -> int:
    from train.generator.config import SourceConfig
    from train.generator.pictures.heads import write_heads

    source = SourceConfig(
        source=arguments.data,
        image_column=arguments.image_column,
        caption_column=None,
        name_column=arguments.name_column,
        general_column=arguments.general_column,
    )
    write_heads(source, arguments.out)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = _parser().parse_args(argv)
    rank = os.environ.get("RANK", "0")
    level = logging.INFO if rank == "0" else logging.WARNING
    logging.basicConfig(level=level, format=f"[{rank}] {LOG_FORMAT}")
    status: int = arguments.run(arguments)
    return status
