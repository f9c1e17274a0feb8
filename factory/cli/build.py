"""`factory build RECIPE OUT`: generate a recipe, or a folder of them, into a dataset directory."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from factory.cli.arguments import (
    RECIPE_HELP,
    add_allow_cut_prompts,
    add_allow_pickle,
    add_recipe_changes,
    recipes_of,
    warn_of_unknown_words,
)
from factory.common import console
from factory.common.errors import Failure

if TYPE_CHECKING:
    from factory.builder.build import BuildReport
    from factory.recipe.resolved import ResolvedRecipe
    from factory.shards.manifest import FailedImage

_MANY = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("recipe", metavar="RECIPE", help=RECIPE_HELP)
    parser.add_argument(
        "out",
        metavar="OUT",
        help="dataset directory or fsspec URL (s3://...): a new one, or one to resume",
    )
    add_recipe_changes(parser)
    group = parser.add_argument_group("build settings", "fixed at the first start of a build")
    group.add_argument("--batch-size", type=int, metavar="N", help="images per batch (default 32)")
    group.add_argument("--shard-size", type=int, metavar="N", help="images per file (default 512)")
    group.add_argument(
        "--dtype",
        default="auto",
        help="float32, bfloat16, float16, or auto: bfloat16 if the hardware supports it",
    )
    group.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads per process (default 1)"
    )
    group.add_argument(
        "--attempts",
        type=int,
        metavar="N",
        help="maximum attempts per image when the result is black, uniform or NaN (default 4)",
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, mps or xpu")
    shared = parser.add_argument_group(
        "independent jobs",
        "several processes, each started without accelerate, that write to the same directory",
    )
    shared.add_argument(
        "--part", metavar="I/N", help="generate part I of N (from 1), e.g. in a job array"
    )
    shared.add_argument(
        "--claim-expiry",
        metavar="S",
        help="no longer has an effect: no build waits for another one",
    )
    parser.add_argument(
        "--allow-failed",
        action="store_true",
        help="exit with 0 even if some images failed; they are reported either way",
    )
    add_allow_cut_prompts(parser)
    add_allow_pickle(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> None:
    """Run the build and print a summary.

    Raises:
        Failure: The build is complete, but some images failed.
    """
    from factory.builder.build import BuildOptions, Part, build
    from factory.builder.ranks import leave, world
    from factory.builder.signals import stopping_on_signals
    from factory.common.launch import warn_if_alone
    from factory.shards.settings import BuildSettings

    settings = BuildSettings(
        batch_size=args.batch_size,
        shard_size=args.shard_size,
        dtype=args.dtype,
        threads=args.threads,
        device=args.device,
        attempts=args.attempts,
    )
    options = BuildOptions(
        part=Part.parse(args.part) if args.part else Part(),
        show_progress=not args.quiet,
        allow_pickle=args.allow_pickle,
        allow_cut_prompts=args.allow_cut_prompts,
    )
    recipes = _recipes(args)
    rank, world_size, device = world(args.device)
    if rank == 0 and world_size == 1:
        # The tasks of a job array are separate processes on purpose.
        alone = not args.part and warn_if_alone(
            f"factory build {args.recipe} {args.out}", in_parts=True
        )
        if not (alone or args.part) and device == "cpu" and args.threads is None:
            _suggest_processes(args)
    if rank == 0:
        if args.claim_expiry is not None:
            console.log("--claim-expiry no longer has an effect: no build waits for another one")
        warn_of_unknown_words(recipes)
    with stopping_on_signals(for_good=True):
        report = build(recipes, args.out, settings=settings, options=options)
    if rank == 0:
        _summarize(report, args.out)
    leave()
    if rank == 0 and report.failed and not args.allow_failed:
        raise Failure(
            f"{report.num_failed} images failed and are left out (listed above and in "
            "manifest.json); change the recipe or the model, or accept this with --allow-failed"
        )


def _recipes(args: argparse.Namespace) -> list[ResolvedRecipe]:
    """Load the named recipes; `build` loads members that only a combination needs."""
    from factory.recipe.library import load_recipe
    from factory.recipe.paths import find_recipe

    if find_recipe(args.recipe).is_dir():
        return recipes_of(args, args.recipe)
    recipe = load_recipe(
        args.recipe,
        overrides=args.overrides,
        images_per_class=args.images_per_class,
        model=args.model,
        sampling=args.sampling,
    )
    return [recipe]


def _suggest_processes(args: argparse.Namespace) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if cores is None or cores < 2:
        return
    console.log(
        f"using 1 of {cores} cores; to use them all: accelerate launch --multi_gpu "
        f"--num_processes {cores} factory build {args.recipe} {args.out} (works without GPUs; "
        "--cpu starts one process only), or --threads"
    )


def _summarize(report: BuildReport, out: str) -> None:
    redrawn = f", {report.redrawn} of them to replace damaged ones" if report.redrawn else ""
    drawn, kept = f"{report.drawn} images generated{redrawn}", f"{report.kept} already present"
    speed = f"{report.seconds:.0f} s, {report.images_per_s:.1f} images/s"
    console.write(f"{out}: {drawn} ({speed}), {kept}")
    for name, images in report.failed.items():
        _list_failed(name, images)
    console.write(f"configs: {', '.join(report.configs)}")
    if not report.is_complete:
        console.write("this part is done; the part that finishes last writes the card")
        return
    if "://" in out:
        return
    console.write("next:")
    console.write("  from datasets import load_dataset")
    console.write(f'  load_dataset("{out}", "{report.configs[0]}", split="train")')


def _list_failed(config: str, images: Sequence[FailedImage]) -> None:
    for image in images[:_MANY]:
        console.write(
            f"{config}: image {image.index} failed: {image.reason} ({image.attempts} attempts)"
        )
    if len(images) > _MANY:
        console.write(f"{config}: and {len(images) - _MANY} more")
