"""`factory build RECIPE OUT`: generate a recipe, or a folder of them, into a dataset directory."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import TYPE_CHECKING

from factory.cli.arguments import (
    RECIPE_HELP,
    add_allow_cut_prompts,
    add_allow_pickle,
    add_offload,
    add_quantize,
    add_recipe_changes,
    note_dropped_keys,
    recipes_of,
    warn_of_unknown_words,
)
from factory.cli.build_result import kept_reported, plain, summarize
from factory.common import console
from factory.common.errors import Failure, UserError
from factory.common.launch_environment import launcher
from factory.common.options import (
    add_batch_size,
    add_device,
    add_json,
    add_quiet,
    add_threads,
    option,
    positive,
)
from factory.common.process_messages import is_read_by_another
from factory.common.program import command
from factory.common.text import plural
from factory.recipe.styles import train_words
from factory.shards.settings import DTYPES

if TYPE_CHECKING:
    from factory.builder.build import BuildOptions
    from factory.recipe.resolved import ResolvedRecipe
    from factory.shards.settings import BuildSettings

_PROCESSES = (
    "the bytes do not depend on their number. Under accelerate launch, torchrun, mpirun or srun "
    "the launcher decides"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("recipe", metavar="RECIPE", help=RECIPE_HELP)
    parser.add_argument(
        "out",
        metavar="OUT",
        help="dataset directory or fsspec URL (s3://...): a new one, or one to resume",
    )
    add_recipe_changes(parser)
    option(
        parser,
        "--guidance-interval START,STOP",
        "set sampling.guidance_interval of all recipes: guide images in a part of the steps only, "
        "e.g. 0.2,1: not in the first fifth, which then takes half of the computation",
    )
    _add_settings(parser)
    _add_processes(parser)
    option(
        parser,
        "--allow-failed",
        "exit with 0 even if some images failed; they are reported either way",
    )
    add_allow_cut_prompts(parser)
    add_allow_pickle(parser)
    add_json(parser, "out, images, kept, seconds, configs, failed, complete")
    add_quiet(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("build settings", "fixed at the first start of a build")
    shown = "32; auto: the smallest that is nearly as fast as any, measured before the first image"
    add_batch_size(group, shown, number=_number_or_auto)
    option(group, "--shard-size N", "images per file (default 512)", positive)
    option(
        group,
        "--dtype TYPE",
        "float32, bfloat16, float16, or auto: bfloat16 if the hardware supports it",
        choices=("auto", *DTYPES),
        default="auto",
    )
    add_threads(group, shown=1)
    option(
        group,
        "--attempts N",
        "maximum attempts per image when the result is black, uniform or NaN (default 4)",
        positive,
    )
    _add_speed(group)
    add_device(group)


def _add_speed(group: argparse._ArgumentGroup) -> None:
    """Add settings that trade exactness or time for speed or memory."""
    option(
        group,
        "--cache KIND[:NUMBER]",
        "reuse results of a transformer between steps: first-block[:THRESHOLD], "
        "taylorseer[:STEPS] or cache-dit[:THRESHOLD] (default: compute all)",
    )
    add_quantize(group)
    option(
        group,
        "--compile",
        "translate the network with torch.compile before the first image, which takes a minute or "
        "more: blocks (those that repeat, the least time) or network (all of it)",
        choices=("blocks", "network"),
    )
    slicing = "decode images one by one: larger batches fit into memory"
    option(group, "--vae-slicing", slicing, default=None)
    option(
        group,
        "--fuse-adapters",
        "merge LoRA adapters into the weights of the model, so that no layers are added to it",
        default=None,
    )


def _add_processes(parser: argparse.ArgumentParser) -> None:
    shared = parser.add_argument_group("processes", _PROCESSES)
    option(
        shared,
        "--processes N",
        "processes that generate (default: one per GPU; on CPUs one per core, as far as "
        "memory and the number of files to generate allow)",
        positive,
    )
    option(
        shared,
        "--part I/N",
        "generate part I of N (from 1), e.g. in a job array; starts one process",
    )
    add_offload(shared)
    option(shared, "--claim-expiry S", argparse.SUPPRESS)
    # For `grow`, whose recipe is a temporary file with the words of the dataset: messages name the
    # config, words are not warned about again, and `grow` prints the next step.
    option(shared, "--for-round", argparse.SUPPRESS)


def _number_or_auto(text: str) -> int | str:
    if text == "auto":
        return text
    try:
        return positive(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or auto") from None


def run(args: argparse.Namespace) -> int | None:
    """Run the build and print a summary, or start processes that do."""
    from factory.builder.build import BuildOptions, Part
    from factory.shards.settings import BuildSettings

    settings = BuildSettings(**{one.name: getattr(args, one.name) for one in fields(BuildSettings)})
    options = BuildOptions(
        part=Part.parse(args.part) if args.part else Part(),
        allow_pickle=args.allow_pickle,
        allow_cut_prompts=args.allow_cut_prompts,
    )
    recipes = recipes_of(args, args.recipe, members=False)
    if args.for_round:
        recipes = [one.without_file() for one in recipes]
    if not is_read_by_another():
        console.log_loading()
    processes = _processes(args, recipes, settings)
    if processes > 1:
        from factory.builder.launcher import run_in_processes

        with kept_reported(None if is_read_by_another() else args.out):
            return run_in_processes(processes)
    _build(args, recipes, settings, options)
    return None


def _processes(
    args: argparse.Namespace, recipes: list[ResolvedRecipe], settings: BuildSettings
) -> int:
    """Return the number of processes to start; 1 builds in this one.

    Raises:
        UserError: The build cannot begin, or this process may not start others.
    """
    started = launcher() if args.may_start_processes else ("another program", 1)
    if started:
        _follow(*started, args.processes)
        return 1
    if args.part and args.processes is None:
        return 1
    from factory.builder.processes import check_devices, choose_processes

    choice = choose_processes(recipes, args.out, settings=settings)
    check_devices(args.processes, args.device)
    if args.processes is None and choice.reason:
        chosen = plural(choice.count, "process", "processes")
        console.log(f"{chosen} ({choice.reason}); --processes N changes this")
    return args.processes or choice.count


def _follow(started_by: str, started: int, processes: int | None) -> None:
    """Refuse another number of processes than a launcher has started; say if it is one.

    Raises:
        UserError: The numbers differ.
    """
    if processes not in (None, started):
        raise UserError(
            f"--processes {processes}: {started_by} has started {started}; give the number there"
        )
    if started_by in ("accelerate launch", "torchrun") and started == 1:
        console.log(
            f"1 process, started by {started_by}; `{command('build ...')}` without it uses "
            "the whole machine"
        )


def _build(
    args: argparse.Namespace,
    recipes: list[ResolvedRecipe],
    settings: BuildSettings,
    options: BuildOptions,
) -> None:
    from factory.builder.build import build
    from factory.builder.launcher import end_with_launcher
    from factory.builder.ranks import leave, own_rank
    from factory.common.stop_signals import stopping_on_signals

    end_with_launcher()
    rank = own_rank(args.device)
    if rank == 0:
        if args.claim_expiry is not None:
            console.log("--claim-expiry no longer has an effect: no build waits for another one")
        note_dropped_keys(recipes)
        if not args.for_round:
            warn_of_unknown_words(recipes)
    reports = rank == 0 and not is_read_by_another()
    with stopping_on_signals(for_good=True), kept_reported(args.out if reports else None):
        report = build(recipes, args.out, settings=settings, options=options)
    if rank == 0 and args.json:
        console.write_json(plain(report, args.out))
    elif rank == 0:
        words = train_words(recipes[0].model.id, recipes[0].labels)
        summarize(report, args.out, train=None if args.for_round else words)
    leave()
    if rank == 0 and report.failed and not args.allow_failed:
        raise Failure(
            f"{plural(report.num_failed, 'image')} failed and left out (listed above and in "
            "manifest.json); change the recipe or the model, or accept this with --allow-failed"
        )
