"""The files of a study: their names, and what the manifests of its datasets list."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.study.spec import StudySpec
from eval.study.steps import Step


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        image_seed: Base seed that its images were generated with; 0 for the reference row, whose
            images are real.
        seed: Training seed.
    """

    set_name: str
    row: str
    model: str
    image_seed: int
    seed: int
    folder: Path
    step: Step


class Folders:
    """The names of a study's files in a folder."""

    def __init__(self, spec: StudySpec, out: Path) -> None:
        """Store the arguments; nothing is read or written yet."""
        self.spec, self.out = spec, out

    def folder(self, name: str, row: str, image_seed: int) -> Path:
        """Return the dataset directory of a row's images of one seed.

        Rows without changes share a directory per image seed, so that unions find their members.
        """
        own = f"-{row}" if self.spec.sets[name].row(row).set else ""
        return self.out / "sets" / name / f"seed-{image_seed}{own}"

    def scores_path(self, run: Run, scoring: str | None = None) -> Path:
        """Return the scores file of a run."""
        return run.folder / f"scores-study-{scoring or 'standard'}.json"

    def predictions_path(self, run: Run) -> Path:
        """Return the file with a row per test image."""
        return run.folder / "predictions-study-standard.parquet"

    def gap_folder(self, name: str, row: str) -> Path:
        """Return the folder of a row's gap."""
        return self.out / "gaps" / name / row

    def fidelity_path(self, name: str, row: str) -> Path:
        """Return the file with the real classifier's score of a row's images."""
        return self.out / "fidelity" / name / f"{row}.json"

    def clip_folder(self, name: str, model: str) -> Path:
        """Return the folder of a CLIP model's scores on a dataset."""
        return self.out / "clip" / name / model.replace("/", "--")

    def labels_path(self, name: str) -> Path:
        """Return the label map of a dataset, a file for `--labels`."""
        return self.out / "labels" / f"{name}.yaml"

    def entry(self, folder: Path, config: str) -> dict[str, Any]:
        """Return a config's manifest entry; empty before the build."""
        path = folder / "manifest.json"
        if not path.is_file():
            return {}
        configs = json.loads(path.read_text(encoding="utf-8"))["configs"]
        found: dict[str, Any] = configs.get(config, {})
        return found

    def shards(self, folder: Path, config: str) -> list[dict[str, Any]]:
        """Return the shards that a config reads, as the manifest lists them."""
        entry = self.entry(folder, config)
        if entry.get("kind") == "union":
            return [one for member in entry["members"] for one in self.shards(folder, member)]
        return list(entry.get("shards", ()))

    def manifests(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return the manifests of some datasets' directories, of every image seed."""
        folders = {
            self.folder(name, row, image_seed): None
            for name in names
            for row in self.spec.sets[name].rows
            for image_seed in self.spec.sets[name].image_seeds_of(row)
        }
        return [json.loads((one / "manifest.json").read_text("utf-8")) for one in folders]

    def revisions_of(self, name: str) -> set[str]:
        """Return the revisions of the models that generated a dataset's images."""
        one = self.spec.sets[name]
        return set[str]().union(
            *(
                self.revisions(self.folder(name, row, image_seed), one.row(row).config)
                for row in one.rows
                for image_seed in one.image_seeds_of(row)
            )
        )

    def revisions(self, folder: Path, config: str) -> set[str]:
        """Return the revisions of the models that generated a config."""
        entry = self.entry(folder, config)
        found = {str(entry["revision"])} if entry.get("revision") else set()
        members = entry.get("members", ())
        return found.union(*(self.revisions(folder, member) for member in members))
