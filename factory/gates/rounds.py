"""Rounds: a trained classifier chooses which of many new images a config gets.

A round is a recipe: a combination of the config, of candidates with the same recipe and another
seed, and of the indexes of the candidates that were chosen. See "Rounds" in docs/design.md.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from factory.builder.build import build
from factory.common.dataset_files import ROUNDS
from factory.common.errors import UserError
from factory.common.untrusted_files import read_json
from factory.common.whole_files import replace_text
from factory.data.columns import INDEX
from factory.gates.choice import By, ClassChoice, Wanted, by_class, choose, read_measured
from factory.gates.judge import Judge
from factory.gates.round_recipes import RoundRecipes, number_of, root_of
from factory.gates.run import run_gates
from factory.shards.directory import require_config, require_set, stored_recipe
from factory.shards.manifest import Manifest
from factory.shards.settings import BuildSettings


@dataclass(frozen=True)
class Round:
    """A finished round.

    Attributes:
        config: The new config.
        grown: The config that it contains.
        candidates: The config of the candidates.
        judge: Name of the classifier.
        weights_sha256: Hash of its weights.
        by: Criterion.
        images: Rows of the new config.
        generated: Candidates, over all classes.
        generation_seconds: Time to generate them, in the launch that finished the round.
        judging_seconds: Time to judge all images of the dataset that were not judged before.
        classes: By class name.
    """

    config: str
    grown: str
    candidates: str
    judge: str
    weights_sha256: str
    by: By
    images: int
    generated: int
    generation_seconds: float
    judging_seconds: float
    classes: dict[str, ClassChoice]


def add_round(
    out: Path,
    config: str,
    judge: Judge,
    wanted: Wanted,
    *,
    generate: Callable[[Path], None],
    show_progress: bool = True,
) -> Round:
    """Add a round to a finished dataset; a repeated or interrupted call completes the same round.

    Args:
        out: Dataset directory.
        config: Config to grow: one with its own images, or an earlier round.
        judge: The classifier.
        wanted: Size and criterion.
        generate: Builds a recipe file into the dataset.
        show_progress: Whether to show progress bars.

    Raises:
        UserError: The dataset or config is missing or unsuitable, a class has too few candidates,
            or the round exists with other images.
    """
    if wanted.keep > wanted.candidates:
        raise UserError(
            f"--keep {wanted.keep} is more than --candidates {wanted.candidates}; lower it"
        )
    before = require_set(out)
    require_config(out, before, config)
    grown = stored_recipe(out, config)
    number = number_of(out, grown)
    name = f"{root_of(grown).name}-round-{number}"
    source = _source(judge, wanted)
    if name in before.configs and stored_recipe(out, name).source != source:
        raise _exists(out, name)
    with tempfile.TemporaryDirectory() as temporary:
        recipes = RoundRecipes(Path(temporary) / "recipes", grown)
        candidates = recipes.candidates(number, wanted.candidates)
        _require_finished(out, before, but=(candidates, name))
        started = time.monotonic()
        generate(recipes.path(candidates))
        generated = time.monotonic()
        run_gates(out, [judge], show_progress=show_progress)
        judged = time.monotonic()
        manifest = require_set(out)
        measured = read_measured(out, manifest, candidates)
        chosen = choose(measured, wanted, labels=manifest.labels)
        recipe = recipes.round(name, candidates, chosen, source=source)
    known = manifest.configs.get(name)
    if known is not None and known.fingerprint != recipe.fingerprint:
        raise _exists(out, name)
    settings = BuildSettings(device=manifest.settings.device)
    build([recipe], out, settings=settings, show_progress=show_progress)
    done = Round(
        config=name,
        grown=config,
        candidates=candidates,
        judge=str(judge.entry().model),
        weights_sha256=str(judge.entry().revision),
        by=wanted.by,
        images=require_set(out).num_images(name),
        generated=len(measured[INDEX]),
        generation_seconds=round(generated - started, 1),
        judging_seconds=round(judged - generated, 1),
        classes=by_class(measured, chosen, manifest.labels),
    )
    _record(out, done)
    return done


def _source(judge: Judge, wanted: Wanted) -> str:
    entry = judge.entry()
    rule = "highest entropy" if wanted.by == "entropy" else "margin closest to 0"
    return (
        f"data-factory grow: of {wanted.candidates} candidates per class, the {wanted.keep} with "
        f"the {rule} by classifier {entry.model} (weights sha256 {entry.revision})"
    )


def _require_finished(out: Path, manifest: Manifest, *, but: Sequence[str]) -> None:
    """Refuse a dataset that no gate measures, before candidates are generated."""
    for name, entry in manifest.configs.items():
        if not entry.complete and name not in but:
            raise UserError(f"{out}: {name} is not finished; resume its build first")


def _exists(out: Path, name: str) -> UserError:
    return UserError(
        f"{out}: {name} exists with other images ({stored_recipe(out, name).source}); add a round "
        f"to it with --config {name}"
    )


def _record(out: Path, done: Round) -> None:
    """Write a round's cost; of one that existed before, the first record stays."""
    path = out / ROUNDS
    known = read_json(path) if path.is_file() else {}
    if isinstance(known, dict) and done.config not in known:
        text = json.dumps(known | {done.config: asdict(done)}, indent=2, ensure_ascii=False)
        replace_text(path, text + "\n")
