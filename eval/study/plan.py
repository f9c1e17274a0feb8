"""The steps of a study, phase by phase: each phase reads what the one before has left."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.study.spec import SetSpec, Source, StudySpec, row_of
from eval.study.steps import Step, content_of, sha256
from factory.embedded_model import EMBEDDED_ID, embedded_revision
from factory.errors import Failure

REFERENCE = "real images"
_FLAGS = {
    "test-batch": ("--batch-norm", "test-batch"),
    "dropout": ("--dropout",),
    "best-on-test": ("--best-on-test",),
    "as-code": ("--as-code",),
}


@dataclass(frozen=True)
class Run:
    """One training: which set, which row, model and seed, and its folder."""

    set_name: str
    row: str
    model: str
    seed: int
    folder: Path
    step: Step


class Plan:
    """A study in a folder: names its files and makes its steps.

    Attributes:
        spec: The study.
        out: Its folder.
    """

    def __init__(self, spec: StudySpec, out: Path, *, processes: int = 1) -> None:
        """Nothing is read or written yet."""
        self.spec, self.out, self._processes = spec, out, processes
        self._hashes: dict[str, str] = {}

    def set_folder(self, name: str) -> Path:
        """Return where the synthetic sets of one real data set lie."""
        return self.out / "sets" / name

    def builds(self) -> list[Step]:
        """Return a step a recipe."""
        return [
            self._build(name, one, recipe)
            for name, one in self.spec.sets.items()
            for recipe in one.recipes
        ]

    def runs(self) -> list[Run]:
        """Return every training; the sets must be there."""
        return [
            self._run(name, one, row=row, model=model, seed=seed)
            for name, one in self.spec.sets.items()
            for row in (*one.rows, *([REFERENCE] if one.reference else ()))
            for model in self.spec.models
            for seed in self.spec.seeds
        ]

    def scores(self, runs: list[Run]) -> list[Step]:
        """Return a step a row and way of scoring, of the sets with real images."""
        rows: dict[tuple[str, str], list[Run]] = {}
        for run in runs:
            if self.spec.sets[run.set_name].real is not None:
                rows.setdefault((run.set_name, run.row), []).append(run)
        return [
            self._score(group, scoring)
            for group in rows.values()
            for scoring in (None, *self.spec.scorings)
        ]

    def scores_path(self, run: Run, scoring: str | None = None) -> Path:
        """Return the scores file of a run."""
        return run.folder / f"scores-study-{scoring or 'honest'}.json"

    def gaps(self, runs: list[Run]) -> list[Step]:
        """Return a step a row that has real images: how far its set is from them."""
        return [
            self._gap(name, row, features=self.features(name, runs))
            for name, one in self.spec.sets.items()
            if one.real is not None
            for row in one.rows
        ]

    def fidelities(self, runs: list[Run]) -> list[Step]:
        """Return a step a row: what a classifier trained on real images says of its pictures."""
        found = []
        for name, one in self.spec.sets.items():
            judge = next((r for r in runs if (r.set_name, r.row) == (name, REFERENCE)), None)
            found += [self._fidelity(name, row, judge) for row in one.rows if judge is not None]
        return found

    def features(self, name: str, runs: list[Run]) -> str:
        """Return the model whose features are compared: as asked, else a run of this study."""
        if self.spec.features:
            return self.spec.features
        own = [run for run in runs if run.set_name == name]
        known_real = [run for run in own if run.row == REFERENCE]
        return str((known_real or own)[0].folder)

    def gap_folder(self, name: str, row: str) -> Path:
        """Return where a row's gap is written."""
        return self.out / "gaps" / name / row

    def fidelity_path(self, name: str, row: str) -> Path:
        """Return where the real classifier's score of a row's pictures is written."""
        return self.out / "fidelity" / name / f"{row}.json"

    def entry(self, name: str, row: str) -> dict[str, Any]:
        """Return what the set's manifest says of a config; empty before it was begun."""
        path = self.set_folder(name) / "manifest.json"
        if not path.is_file():
            return {}
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["configs"].get(row, {})
        return found

    def shards(self, name: str, row: str) -> list[dict[str, Any]]:
        """Return the shards that a config reads, as the manifest lists them."""
        entry = self.entry(name, row)
        if entry.get("kind") == "union":
            return [shard for member in entry["members"] for shard in self.shards(name, member)]
        return list(entry.get("shards", ()))

    def revisions(self, name: str, row: str) -> set[str]:
        """Return what pins the models that drew a config; a model without a revision has none."""
        entry = self.entry(name, row)
        found = {str(entry["revision"])} if entry.get("revision") else set()
        return found.union(*(self.revisions(name, member) for member in entry.get("members", ())))

    def _build(self, name: str, one: SetSpec, recipe: str) -> Step:
        row, folder = row_of(recipe), self.set_folder(name)
        command = (
            *("factory", "build", recipe, str(folder), "--model", self.spec.model),
            *("--images-per-class", str(one.images_per_class), "--quiet", *one.build),
        )

        def outputs() -> list[Path]:
            if not self.entry(name, row).get("complete"):
                return []
            return [folder / shard["file"] for shard in self.shards(name, row)]

        model = embedded_revision() if self.spec.model == EMBEDDED_ID else None
        inputs = (recipes_digest(recipe), model or self.spec.model)
        return Step(f"build/{name}/{row}", command, inputs, outputs, self._processes, grows=True)

    def _run(self, name: str, one: SetSpec, *, row: str, model: str, seed: int) -> Run:
        if row == REFERENCE and one.reference is not None:
            source = one.reference
            inputs = (self._content(source),)
            # As many as a synthetic set of one trick has.
            chosen = [*source.options(), "--images-per-class", str(one.images_per_class)]
        else:
            source = Source(dataset=str(self.set_folder(name)), config=row)
            shards = self.shards(name, row)
            if not shards:
                raise Failure(f"{source.dataset}: has no config {row}; a recipe is named otherwise")
            inputs = tuple(shard["sha256"] for shard in shards)
            chosen = source.options()
        spec = self.spec
        arguments = [
            *("train", source.dataset, *chosen, "--model", model, "--seed", str(seed)),
            *("--preset", spec.preset),
            *(("--epochs", str(spec.epochs)) if spec.epochs else ()),
            *(("--keep-every", str(spec.keep_every)) if _wants_epochs(spec) else ()),
            *one.train,
        ]
        label = f"{name}/{row.replace(' ', '-')}/{model}-s{seed}"
        # Another set or other options are another run, with a folder of its own.
        key = hashlib.sha256(json.dumps([arguments, inputs]).encode()).hexdigest()[:8]
        folder = self.out / "runs" / f"{label}-{key}"
        step = Step(
            f"train/{label}",
            (*arguments, "--out", str(folder)),
            inputs,
            lambda: [folder / "model.safetensors", folder / "config.yaml", folder / "metrics.csv"],
        )
        return Run(name, row, model, seed, folder, step)

    def _score(self, runs: list[Run], scoring: str | None) -> Step:
        name, how = runs[0].set_name, scoring or "honest"
        real = self._real(name)
        command = (
            *("eval", "score", *(str(run.folder) for run in runs)),
            *("--real", real.dataset, *real.options(), "--tag", f"study-{how}"),
            *(_FLAGS[scoring] if scoring else ()),
        )
        weights = [sha256(run.folder / "model.safetensors") for run in runs]
        paths = [self.scores_path(run, scoring) for run in runs]
        label = f"{name}/{runs[0].row.replace(' ', '-')}-{how}"
        return Step(f"score/{label}", command, (*weights, self._content(real)), lambda: paths)

    def _gap(self, name: str, row: str, *, features: str) -> Step:
        real, folder = self._real(name), self.gap_folder(name, row)
        command = (
            *("eval", "gap", str(self.set_folder(name)), "--syn-config", row),
            *("--real", real.dataset, *real.options(), "--model", features, "--out", str(folder)),
        )
        weights = Path(features) / "model.safetensors"
        inputs = (
            sha256(weights) if weights.is_file() else features,
            self._content(real),
            *(shard["sha256"] for shard in self.shards(name, row)),
        )
        return Step(f"gap/{name}/{row}", command, inputs, lambda: [folder / "gap.json"])

    def _fidelity(self, name: str, row: str, judge: Run) -> Step:
        path = self.fidelity_path(name, row)
        command = (
            *("eval", "score", str(judge.folder), "--real", str(self.set_folder(name))),
            *("--config", row, "--split", "train", "--out", str(path)),
        )
        inputs = (
            sha256(judge.folder / "model.safetensors"),
            *(shard["sha256"] for shard in self.shards(name, row)),
        )
        return Step(f"fidelity/{name}/{row}", command, inputs, lambda: [path])

    def _real(self, name: str) -> Source:
        real = self.spec.sets[name].real
        assert real is not None, "only sets with real images are scored"
        return real

    def _content(self, source: Source) -> str:
        if source.dataset not in self._hashes:
            self._hashes[source.dataset] = content_of(source.dataset)
        return self._hashes[source.dataset]


def _wants_epochs(spec: StudySpec) -> bool:
    return bool({"best-on-test", "as-code"} & set(spec.scorings))


def recipes_digest(recipe: str) -> str:
    """Return a hash of every recipe that one recipe may build on: its folder's, or all packaged."""
    path = Path(recipe)
    if path.exists():
        folder = path.resolve() if path.is_dir() else path.resolve().parent
        return content_of(str(folder))
    package = Path(__file__).resolve().parent.parent.parent
    folders = [package / "recipes", package / "factory" / "_recipes"]
    return next((content_of(str(folder)) for folder in folders if folder.is_dir()), recipe)
