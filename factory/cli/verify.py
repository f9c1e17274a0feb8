"""`factory verify OUT`: check that a dataset is complete and matches its plan."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from factory.cli.arguments import add_allow_local_model, add_allow_pickle
from factory.common import console
from factory.common.errors import UserError
from factory.common.options import add_device, add_json, add_quiet, add_seed, option
from factory.common.program import command
from factory.common.text import plural

if TYPE_CHECKING:
    from factory.inspection.verify import Sample, VerifyReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("out", metavar="OUT", help="dataset directory or URL")
    add = partial(option, parser)
    add("--config NAME", "config of the dataset (default: all of them)")
    add(
        "--rebuild PERCENT",
        "regenerate this share of every config and compare, e.g. 1%% (at least one batch)",
    )
    add_seed(parser, "the sample of --rebuild")
    add(
        "--tolerance N",
        "with --rebuild on another machine: largest accepted pixel difference (0 to 255)",
        int,
        default=0,
    )
    add_device(parser, None)
    add_allow_pickle(parser)
    add_allow_local_model(parser)
    add_json(parser, "out, whole, configs, shards, rows, failed, compared, left_over, faults")
    add_quiet(parser)


def run(args: argparse.Namespace) -> int:
    """Check, print each fault, and return 1 if there is any."""
    from factory.inspection.verify import verify_set

    report = verify_set(
        args.out,
        config=args.config,
        sample=_sample(args),
        show_progress=True,
    )
    if args.json:
        console.write_json(_plain(report))
    else:
        _tell(report)
    return 0 if report.whole else 1


def _sample(args: argparse.Namespace) -> Sample | None:
    from factory.inspection.verify import Sample

    if args.rebuild is None:
        return None
    text = args.rebuild.strip()
    try:
        percent = float(text.removesuffix("%")) if text.endswith("%") else 0.0
    except ValueError:
        percent = 0.0
    if not 0 < percent <= 100:
        raise UserError(
            f"--rebuild {args.rebuild}: expected a percentage above 0% and up to 100%, e.g. 1%"
        )
    if not 0 <= args.tolerance <= 255:
        raise UserError(
            f"--tolerance {args.tolerance}: expected 0 to 255, a difference of pixel values"
        )
    return Sample(
        percent / 100,
        seed=args.seed,
        tolerance=args.tolerance,
        device=args.device,
        allow_pickle=args.allow_pickle,
        allow_local_model=args.allow_local_model,
    )


def _plain(report: VerifyReport) -> dict[str, object]:
    return {
        "out": report.out,
        "whole": report.whole,
        "configs": list(report.configs),
        "shards": report.shards,
        "rows": report.rows,
        "failed": report.failed,
        "compared": report.compared,
        "notes": list(report.notes),
        "left_over": list(report.left_over),
        "faults": [fault.as_dict() for fault in report.faults],
    }


def _tell(report: VerifyReport) -> None:
    for fault in report.faults:
        console.write(str(fault))
    if report.notes and not report.whole:
        for note in report.notes:
            console.log(f"note: {note}; small pixel differences are not damage (--tolerance)")
    if report.left_over:
        files = plural(len(report.left_over), "shard file")
        console.log(
            f"note: {files} in the directory that the dataset does not list; "
            f"`{command(f'tidy {report.out}')}` lists leftover files"
        )
    read = f"{plural(report.shards, 'shard')}, {plural(report.rows, 'row')}"
    if report.failed:
        read += f", {plural(report.failed, 'failed image')} listed"
    if report.compared:
        read += f", {plural(report.compared, 'image')} compared"
    if report.whole:
        console.write(f"{report.out}: no faults ({read})")
    else:
        faults = plural(len(report.faults), "fault")
        console.write(
            f"{report.out}: {faults} ({read}); run the same `{command('build')}` again to replace "
            "lost shards"
        )
