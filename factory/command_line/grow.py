"""`grow OUT --judge RUN`: add images that a trained classifier is unsure of."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.cli.arguments import add_allow_cut_prompts, add_allow_local_model, add_allow_pickle
from factory.cli.build_result import kept
from factory.common import console
from factory.common.devices import choose_threads, reporting_lack_of_memory
from factory.common.errors import FactoryError, Failure, UserError
from factory.common.options import add_batch_size, add_device, add_json, add_quiet, option, positive
from factory.common.process_messages import FOLDER, read_all
from factory.common.program import command, own_words
from factory.common.stop_signals import Stopped, stopping_on_signals
from factory.common.storage import at_home

if TYPE_CHECKING:
    from eval.classifier import Classifier
    from factory.gates.choice import ClassChoice
    from factory.gates.rounds import Round
    from factory.shards.manifest import Manifest

_BATCH_SIZE = 256
_WORST = 10
_ADDED = re.compile(r"-(candidates|round)-\d+$")
_DESCRIPTION = """\
Add two configs to a dataset: NAME-candidates-1 with new images from the recipe of NAME and another
seed, and NAME-round-1 with all images of NAME and the candidates that the classifier is least sure
of. All images get the columns judge_entropy, judge_margin and judge_sha256. The judge sees
generated images only. Run again, the command resumes; OUT/rounds.json records the cost.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = _DESCRIPTION
    add = partial(option, parser)
    parser.add_argument("out", type=at_home, metavar="OUT", help="directory of a finished dataset")
    add("--judge RUN", "run folder or ORG/NAME[@REVISION] of the classifier", required=True)
    add(
        "--config NAME",
        "config of the dataset (default: the only one that no round has added)",
    )
    add("--candidates N", "images per class to generate and choose from", positive, required=True)
    add("--keep N", "candidates per class to choose, on average", positive, required=True)
    add(
        "--by CRITERION",
        "entropy: the highest entropy; margin: the probability of the own class is closest to the "
        "highest of another class (default: entropy; docs/rounds.md compares them)",
        choices=("entropy", "margin"),
        default="entropy",
    )
    add(
        "--quota QUOTA",
        "equal: choose the same number of each class; deficit: choose more of a class the lower "
        "the classifier's recall on its candidates, in proportion to 1 - recall (default: equal)",
        choices=("equal", "deficit"),
        default="equal",
    )
    add("--processes N", "processes that generate (default: chosen by build)", positive)
    add_batch_size(parser, _BATCH_SIZE)
    add_device(parser)
    add_allow_cut_prompts(parser)
    add_allow_pickle(parser)
    add_allow_local_model(parser)
    add_json(
        parser,
        "config, grown, candidates, judge, weights_sha256, by, quota, images, generated, "
        "generation_seconds, judging_seconds, classes",
    )
    add_quiet(parser)


def run(args: argparse.Namespace) -> None:
    """Generate candidates, judge them, build the round, and print its cost."""
    with stopping_on_signals(), _naming_itself(args):
        done, architecture = _add_round(args)
    if args.json:
        console.write_json(asdict(done))
    else:
        _report(done, args.out, architecture)


def _add_round(args: argparse.Namespace) -> tuple[Round, str]:
    """Return the round, and the architecture of its judge."""
    from factory.gates.choice import Wanted
    from factory.gates.judge import Judge
    from factory.gates.rounds import add_round
    from factory.shards.directory import require_set

    manifest = require_set(args.out)
    config = args.config or _only_config(args.out, manifest)
    _require_allowed(args, config)
    classifier = _classifier(args, manifest)
    judge = Judge(
        partial(probabilities, classifier, manifest.labels, args.batch_size or _BATCH_SIZE),
        model=Path(args.judge).absolute().name,
        revision=classifier.checkpoint.facts.weights_sha256,
    )
    wanted = Wanted(args.candidates, args.keep, args.by, args.quota)
    with reporting_lack_of_memory("give a smaller --batch-size"):
        done = add_round(
            args.out,
            config,
            judge,
            wanted,
            generate=lambda recipe: _generate(recipe, args, manifest),
        )
    return done, classifier.checkpoint.facts.architecture


@contextmanager
def _naming_itself(args: argparse.Namespace) -> Iterator[None]:
    """Name in a stopped command's message the candidates kept, and the command that continues."""
    try:
        yield
    except Stopped as stop:
        # The terminal may be closed, and the candidates not begun.
        with suppress(OSError, FactoryError):
            stop.args = (f"{stop}; {_kept_candidates(args)}",)
        stop.remedy = f"continue with: {command(shlex.join(sys.argv[1:]))}"
        raise


def _kept_candidates(args: argparse.Namespace) -> str:
    """Return how many candidates of the round are finished."""
    from factory.gates.rounds import candidates_of
    from factory.shards.directory import require_set

    manifest = require_set(args.out)
    name = candidates_of(args.out, args.config or _only_config(args.out, manifest))
    return kept(str(args.out), name, planned=args.candidates * len(manifest.labels))


def _only_config(out: Path, manifest: Manifest) -> str:
    """Return the config of a dataset that has one, beside the candidates and rounds of it."""
    configs = manifest.configs
    names = [one for one in configs if not _ADDED.search(one) or _ADDED.sub("", one) not in configs]
    if len(names) != 1:
        listed = ", ".join(configs)
        raise UserError(f"{out}: has configs {listed}; choose one with --config")
    return names[0]


def _require_allowed(args: argparse.Namespace, config: str) -> None:
    """Refuse a model on this machine: the dataset that names it may be somebody else's."""
    from factory.recipe.model_files import on_this_machine
    from factory.shards.directory import require_config, require_set, stored_recipe

    require_config(args.out, require_set(args.out), config)
    found = on_this_machine(stored_recipe(args.out, config).model)
    if found and not args.allow_local_model:
        raise UserError(
            f"{config}: the stored recipe uses {found[0]!r:.200} on this machine; if the dataset "
            "is yours, add --allow-local-model"
        )


def _classifier(args: argparse.Namespace, manifest: Manifest) -> Classifier:
    """Load the classifier that judges.

    Raises:
        UserError: It cannot be loaded, or has other classes than the dataset.
    """
    from eval.classifier import load_classifier
    from eval.score import set_precision

    set_precision(choose_threads(None, shows=False))
    classifier = load_classifier(args.judge, device=args.device)
    names = classifier.checkpoint.label_names
    if sorted(names) != sorted(manifest.labels):
        other = sorted(set(names) ^ set(manifest.labels))
        raise UserError(
            f"--judge {args.judge}: its classes are not those of {args.out} (only one of them has "
            f"{other[0]!r}); train it on this dataset"
        )
    if unfinished := classifier.checkpoint.facts.unfinished:
        console.log(f"warning: {args.judge} is {unfinished}")
    return classifier


def probabilities(
    classifier: Classifier, labels: Sequence[str], batch_size: int, images: Sequence[Any]
) -> Any:
    """Return the probabilities of some images, shape (images, classes), classes as in `labels`."""
    import numpy as np

    answers = classifier(list(images), top_k=len(labels), batch_size=batch_size)
    found = [{one["label"]: one["score"] for one in answer} for answer in answers]
    return np.asarray([[scores[label] for label in labels] for scores in found])


def _generate(recipe: Path, args: argparse.Namespace, manifest: Manifest) -> None:
    """Build the candidates with the command `build`, which starts processes of its own.

    Raises:
        Failure: It failed, with its reason.
    """
    given = {
        "--allow-cut-prompts": args.allow_cut_prompts,
        "--allow-pickle": args.allow_pickle,
        "--quiet": args.quiet,
    }
    options = ["--for-round", *(name for name, is_given in given.items() if is_given)]
    device = manifest.settings.device
    chosen = {"--processes": args.processes, "--offload": manifest.offload_on(device)}
    options += [word for name, value in chosen.items() if value for word in (name, str(value))]
    words = [*own_words(), "build", str(recipe), str(args.out), "--device", device, *options]
    with tempfile.TemporaryDirectory() as folder:
        # Its summary goes to stderr: stdout is for the result of this command. Its last message is
        # printed by this one, so that a stopped command says one thing.
        environment = os.environ | {FOLDER: folder}
        with subprocess.Popen(words, stdout=2, env=environment) as process:
            try:
                status = process.wait()
            except BaseException:
                process.terminate()
                raise
        said = read_all(Path(folder))
    if status:
        ended = f"its build ended with status {status}; run the same command again to resume"
        raise Failure(f"{recipe.stem} was not generated: {said[0].text if said else ended}")


def _class_row(name: str, one: ClassChoice) -> tuple[str, ...]:
    means = (one.entropy, one.kept_entropy)
    entropies = ("-" if value is None else f"{value:.2f}" for value in means)
    return (name, f"{one.assigned_to_others} of {one.candidates}", str(one.kept), *entropies)


def _report(done: Round, out: Path, architecture: str) -> None:
    chosen = sum(one.kept for one in done.classes.values())
    console.write(
        f"{out}: {done.config} has {done.images} images: those of {done.grown}, and {chosen} of "
        f"{done.generated} candidates"
    )
    console.write(
        f"cost: {done.generated} images generated in {done.generation_seconds:.0f} s, start-up "
        f"included; judged in {done.judging_seconds:.0f} s; over all launches (recorded in "
        "rounds.json)"
    )
    worst = sorted(done.classes.items(), key=lambda one: -one[1].deficit)
    header = ("class", "assigned to others", "kept", "entropy", "entropy of the kept")
    console.write(f"kept per class (--quota {done.quota}):")
    rows = [_class_row(name, one) for name, one in worst[:_WORST]]
    console.write(console.table(rows, header=header, align="lrrrr"))
    if len(worst) > _WORST:
        console.write(f"and {len(worst) - _WORST} more classes (all of them in rounds.json)")
    line = shlex.join(["train", str(out), "--config", done.config, "--model", architecture])
    console.write(f"next: {command(f'{line} --out RUN')}")
