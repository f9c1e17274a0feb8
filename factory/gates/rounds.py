"""Rounds: a trained classifier chooses which of many new images a config gets.

A round is a recipe: a combination of the config, of candidates with the same recipe and another
seed, and of the indexes of the candidates that were chosen. See "Rounds" in docs/design.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from factory.builder.build import build
from factory.common.errors import UserError
from factory.data.columns import INDEX
from factory.gates.choice import (
    By,
    ClassChoice,
    Measured,
    Quota,
    Wanted,
    by_class,
    choose,
    is_measured,
    read_measured,
)
from factory.gates.judge import Judge
from factory.gates.round_costs import RoundCosts
from factory.gates.round_recipes import RoundRecipes, candidates_name, number_of, root_of
from factory.gates.run import run_gates
from factory.recipe.resolved import ResolvedRecipe
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
        quota: How many images of each class it chose.
        images: Rows of the new config.
        generated: Candidates, over all classes.
        generation_seconds: Time to generate them, over all launches of the round.
        judging_seconds: Time to judge them, and all images that no classifier had judged.
        classes: By class name.
    """

    config: str
    grown: str
    candidates: str
    judge: str
    weights_sha256: str
    by: By
    quota: Quota
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
    before, grown, number = _begin(out, config, wanted)
    name = f"{root_of(grown).name}-round-{number}"
    source = _source(judge, wanted)
    if name in before.configs and stored_recipe(out, name).source != source:
        raise _exists(out, name)
    costs = RoundCosts(out, name)
    with tempfile.TemporaryDirectory() as temporary:
        recipes = RoundRecipes(Path(temporary) / "recipes", grown)
        candidates = recipes.candidates(number, wanted.candidates)
        _require_finished(out, before, but=(candidates, name))
        with costs.timed("generation_seconds"):
            generate(recipes.path(candidates))
        with costs.timed("judging_seconds"):
            measured = _measured(out, judge, candidates, show_progress=show_progress)
        chosen = choose(measured, wanted, labels=before.labels)
        recipe = recipes.round(name, candidates, chosen, source=source)
    if name in before.configs and before.configs[name].fingerprint != recipe.fingerprint:
        raise _exists(out, name)
    settings, entry = BuildSettings(device=before.settings.device), judge.entry()
    build([recipe], out, settings=settings, show_progress=show_progress)
    done = Round(
        config=name,
        grown=config,
        candidates=candidates,
        judge=str(entry.model),
        weights_sha256=str(entry.revision),
        by=wanted.by,
        quota=wanted.quota,
        images=require_set(out).num_images(name),
        generated=len(measured[INDEX]),
        **costs.seconds,
        classes=by_class(measured, chosen, before.labels),
    )
    costs.finish(asdict(done))
    return done


def candidates_of(out: Path, config: str) -> str:
    """Return the name of the config with the candidates of the next round of a config.

    Raises:
        UserError: The config is a combination that is no round, or its recipe cannot be read.
    """
    grown = stored_recipe(out, config)
    return candidates_name(grown, number_of(out, grown))


def _begin(out: Path, config: str, wanted: Wanted) -> tuple[Manifest, ResolvedRecipe, int]:
    """Return the dataset, the recipe of the config to grow, and the number of its next round."""
    if wanted.keep > wanted.candidates:
        raise UserError(
            f"--keep {wanted.keep} is more than --candidates {wanted.candidates}; lower it"
        )
    before = require_set(out)
    require_config(out, before, config)
    grown = stored_recipe(out, config)
    return before, grown, number_of(out, grown)


def _measured(out: Path, judge: Judge, candidates: str, *, show_progress: bool) -> Measured:
    """Return what the judge says about the candidates, which it measures unless it has before."""
    revision = str(judge.entry().revision)
    if not is_measured(out, require_set(out), candidates, weights_sha256=revision):
        judge.choose_from(candidates)
        run_gates(out, [judge], show_progress=show_progress)
    return read_measured(out, require_set(out), candidates)


def _source(judge: Judge, wanted: Wanted) -> str:
    entry = judge.entry()
    rule = "highest entropy" if wanted.by == "entropy" else "margin closest to 0"
    number = f"the {wanted.keep}"
    if wanted.quota == "deficit":
        number = f"on average {wanted.keep} (in proportion to 1 - recall)"
    return (
        f"data-factory grow: of {wanted.candidates} candidates per class, {number} with "
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
