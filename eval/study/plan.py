"""The steps of a study, phase by phase; each phase reads the files of the previous one."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from eval.study.folders import Folders, Run
from eval.study.settings import Settings, recipe_options
from eval.study.spec import ScoringName, Source, StudySpec
from eval.study.steps import Step, content_of
from factory.common.errors import Failure
from factory.common.whole_files import sha256
from factory.models.embedded import EMBEDDED_ID, embedded_revision

REFERENCE = "real images"
_FLAGS = {
    "test-batch": ("--batch-norm", "test-batch"),
    "dropout": ("--dropout",),
    "best-on-test": ("--best-on-test",),
    "as-code": ("--as-code",),
}


class Plan(Folders):
    """A study in a folder: its files and steps."""

    def __init__(
        self, spec: StudySpec, settings: Settings, out: Path, *, processes: int | None = None
    ) -> None:
        """Store the arguments; nothing is read or written yet."""
        super().__init__(spec, out)
        self.settings, self._processes = settings, processes
        self._hashes: dict[str, str] = {}

    def builds(self) -> list[Step]:
        """Return a step per row and image seed."""
        return [
            self._build(name, row, image_seed)
            for name, one in self.spec.sets.items()
            for row in one.rows
            for image_seed in one.image_seeds_of(row)
        ]

    def runs(self) -> list[Run]:
        """Return every training; the datasets must exist."""
        return [
            self._run(name, row=row, model=model, image_seed=image_seed, seed=seed)
            for name, one in self.spec.sets.items()
            for row in (*one.rows, *([REFERENCE] if one.reference else ()))
            for image_seed in (one.image_seeds_of(row) if row != REFERENCE else [0])
            for model in self.spec.models
            for seed in self.spec.seeds
        ]

    def scores(self, runs: list[Run]) -> list[Step]:
        """Return a step per row, image seed and way of scoring, for datasets with real images."""
        groups: dict[tuple[str, str, int], list[Run]] = {}
        for run in runs:
            if self.spec.sets[run.set_name].real is not None:
                groups.setdefault((run.set_name, run.row, run.image_seed), []).append(run)
        return [
            self._score(group, scoring)
            for group in groups.values()
            for scoring in (None, *self.scorings_of(group[0]))
        ]

    def scorings_of(self, run: Run) -> Sequence[ScoringName]:
        """Return the additional ways of scoring of a run; only the first image seed has any."""
        if run.row == REFERENCE:
            return self.spec.scorings
        first = self.spec.sets[run.set_name].image_seeds_of(run.row)[0]
        return self.spec.scorings if run.image_seed == first else ()

    def gaps(self, runs: list[Run]) -> list[Step]:
        """Return a step per row with real images: measure the gap of its first image seed."""
        return [
            self._gap(name, row, features=self.features(name, runs))
            for name, one in self.spec.sets.items()
            if one.real is not None
            for row in one.rows
        ]

    def fidelities(self, runs: list[Run]) -> list[Step]:
        """Return a step per row: score its images with a classifier trained on real ones."""
        found = []
        for name, one in self.spec.sets.items():
            judge = next((r for r in runs if (r.set_name, r.row) == (name, REFERENCE)), None)
            found += [self._fidelity(name, row, judge) for row in one.rows if judge is not None]
        return found

    def clips(self) -> list[Step]:
        """Return a step per CLIP model and dataset with real images."""
        return [
            self._clip(name, model)
            for name, one in self.spec.sets.items()
            if one.real is not None
            for model in self.spec.clip
        ]

    def features(self, name: str, runs: list[Run]) -> str:
        """Return the model for the gap's features: as requested, else a run of this study."""
        if self.spec.features:
            return self.spec.features
        own = [run for run in runs if run.set_name == name]
        known_real = [run for run in own if run.row == REFERENCE]
        return str((known_real or own)[0].folder)

    def _build(self, name: str, row: str, image_seed: int) -> Step:
        one, folder = self.spec.sets[name].row(row), self.folder(name, row, image_seed)
        command = (
            *("factory", "build", one.recipe, str(folder), *recipe_options(self.spec, name, row)),
            *("--set", f"sampling.seed={image_seed}", "--quiet", *self.spec.sets[name].build),
        )

        def outputs() -> list[Path]:
            if not self.entry(folder, one.config).get("complete"):
                return []
            return [folder / shard["file"] for shard in self.shards(folder, one.config)]

        model = embedded_revision() if self.spec.model == EMBEDDED_ID else None
        inputs = (self.settings[name][row].digest, model or self.spec.model or "")
        label = f"build/{name}/{row}-seed-{image_seed}"
        return Step(label, command, inputs, outputs, self._processes, grows=True)

    def _run(self, name: str, *, row: str, model: str, image_seed: int, seed: int) -> Run:
        spec, one = self.spec, self.spec.sets[name]
        source, inputs, chosen = self._training_data(name, row, image_seed)
        keep = min(spec.keep_every, spec.epochs or spec.keep_every)
        arguments = [
            *("train", source.dataset, *chosen, "--model", model, "--seed", str(seed)),
            *("--preset", one.preset or spec.preset),
            *(("--epochs", str(spec.epochs)) if spec.epochs else ()),
            *(("--keep-every", str(keep)) if _wants_epochs(spec) else ()),
            *one.train,
        ]
        label = f"{name}/{row.replace(' ', '-')}/{model}-d{image_seed}-s{seed}"
        # Another dataset or other options are another run with another folder.
        key = hashlib.sha256(json.dumps([arguments, inputs]).encode()).hexdigest()[:8]
        folder = self.out / "runs" / f"{label}-{key}"
        step = Step(
            f"train/{label}",
            (*arguments, "--out", str(folder)),
            inputs,
            lambda: [folder / "model.safetensors", folder / "config.yaml", folder / "metrics.csv"],
        )
        return Run(name, row, model, image_seed, seed, folder, step)

    def _training_data(
        self, name: str, row: str, image_seed: int
    ) -> tuple[Source, tuple[str, ...], list[str]]:
        """Return a row's training images, their hashes, and the options that select them."""
        one = self.spec.sets[name]
        if row == REFERENCE and one.reference is not None:
            # As many as a single row has.
            count = ["--images-per-class", str(one.images_per_class)]
            return (
                one.reference,
                (self._content(one.reference),),
                [*one.reference.options(), *count],
            )
        folder, config = self.folder(name, row, image_seed), one.row(row).config
        source = Source(dataset=str(folder), config=config)
        shards = self.shards(folder, config)
        if not shards:
            raise Failure(
                f"{folder}: has no config {config}; give the recipe of this row the name {config}"
            )
        return source, tuple(shard["sha256"] for shard in shards), source.options()

    def _score(self, runs: list[Run], scoring: ScoringName | None) -> Step:
        name, how = runs[0].set_name, scoring or "standard"
        command = (
            *("eval", "score", *(str(run.folder) for run in runs), *self._real_options(name)),
            *("--suffix", f"study-{how}"),
            *(_FLAGS[scoring] if scoring else ("--save-predictions",)),
        )
        weights = [sha256(run.folder / "model.safetensors") for run in runs]
        paths = [self.scores_path(run, scoring) for run in runs]
        if scoring is None:
            paths += [self.predictions_path(run) for run in runs]
        label = f"{name}/{runs[0].row.replace(' ', '-')}-d{runs[0].image_seed}-{how}"
        inputs = (*weights, *self._real_inputs(name))
        return Step(f"score/{label}", command, inputs, lambda: paths, replaces=True)

    def _first(self, name: str, row: str) -> tuple[str, str, tuple[str, ...]]:
        """Return directory, config and shard hashes of a row's first image seed."""
        one = self.spec.sets[name]
        folder, config = self.folder(name, row, one.image_seeds_of(row)[0]), one.row(row).config
        return str(folder), config, tuple(one["sha256"] for one in self.shards(folder, config))

    def _gap(self, name: str, row: str, *, features: str) -> Step:
        folder, (dataset, config, shards) = self.gap_folder(name, row), self._first(name, row)
        command = (
            *("eval", "gap", dataset, "--syn-config", config),
            *self._real_options(name, prefix="real-"),
            *("--model", features, "--space", "features", "--out", str(folder)),
        )
        weights = Path(features) / "model.safetensors"
        own = sha256(weights) if weights.is_file() else features
        inputs = (own, *self._real_inputs(name), *shards)
        return Step(f"gap/{name}/{row}", command, inputs, lambda: [folder / "gap.json"])

    def _fidelity(self, name: str, row: str, judge: Run) -> Step:
        path, (dataset, config, shards) = self.fidelity_path(name, row), self._first(name, row)
        command = (
            *("eval", "score", str(judge.folder), "--real", dataset),
            *("--config", config, "--split", "train", "--out", str(path)),
        )
        inputs = (sha256(judge.folder / "model.safetensors"), *shards)
        return Step(f"fidelity/{name}/{row}", command, inputs, lambda: [path], replaces=True)

    def _clip(self, name: str, model: str) -> Step:
        folder = self.clip_folder(name, model)
        command = (
            *("eval", "clip", "--model", model, *self._real_options(name), "--out", str(folder)),
            *(text for one in self.spec.sets[name].clip_prompts for text in ("--prompts", one)),
        )
        inputs = (model, *self._real_inputs(name))
        return Step(
            f"clip/{name}/{model.replace('/', '--')}",
            command,
            inputs,
            lambda: sorted(folder.glob("scores-*.json")),
            replaces=True,
        )

    def _real_inputs(self, name: str) -> tuple[str, ...]:
        """Return the inputs of a step that reads test images: their hash, and the label map."""
        real = self.real(name)
        labels = [json.dumps(real.labels, sort_keys=True)] if real.labels else []
        return (self._content(real), *labels)

    def _real_options(self, name: str, *, prefix: str = "") -> list[str]:
        real = self.real(name)
        own = ["--labels", str(self.labels_path(name))] if real.labels else []
        return ["--real", real.dataset, *real.options(prefix), *own]

    def real(self, name: str) -> Source:
        """Return the test images of a dataset, without classes that the recipes lack."""
        one = self.spec.sets[name]
        assert one.real is not None, "only datasets with real images are scored"
        if not one.known_classes_only:
            return one.real
        labels = [*next(iter(self.settings[name].values())).labels, *one.real.labels]
        listed = ", ".join(json.dumps(label, ensure_ascii=False) for label in labels)
        known = f"{one.real.label_column or 'label'} in ({listed})"
        own = f"({one.real.filter}) and {known}" if one.real.filter else known
        return one.real.model_copy(update={"filter": own})

    def _content(self, source: Source) -> str:
        if source.dataset not in self._hashes:
            self._hashes[source.dataset] = content_of(source.dataset)
        return self._hashes[source.dataset]


def _wants_epochs(spec: StudySpec) -> bool:
    return bool({"best-on-test", "as-code"} & set(spec.scorings))
