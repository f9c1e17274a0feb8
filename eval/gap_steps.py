"""The steps of `eval gap`: represent the sampled images, measure, write the files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.features import Extracted, FeatureModel, Space, choose_space, extract, load_features
from eval.fit import with_fit
from eval.gap import Features, Gap, measure_gap
from eval.gap_formats import differing, formats_of
from eval.gap_groups import groups_of
from eval.gap_plots import plot_classes, plot_coverage, plot_sets
from eval.gap_sample import Labels, Sample
from eval.gap_text import copies_warning, coverage_note, plot_note
from eval.real import RealImages
from eval.score import label_facts
from eval.score_notes import note_fit, note_labels
from eval.tsne import embed
from factory.common.console import log
from factory.common.errors import UserError
from factory.common.whole_files import replace_text
from factory.data.pixels import Fit


@dataclass(frozen=True)
class Setting:
    """All that the compared datasets share.

    Attributes:
        real: The real images.
        model: The model that represents images.
        space: The space to compare in, and the reason.
        batch_size: Images per batch.
        threads: CPU threads.
        seed: Seed of the measurement.
        sides: Representation of the real images, and of the other real ones.
    """

    real: RealImages
    model: FeatureModel
    space: tuple[Space, str]
    batch_size: int
    threads: int
    seed: int
    sides: tuple[Extracted, ...] = ()

    def represent(self, images: RealImages, rows: Labels) -> Extracted:
        """Return the logits or features of some images."""
        return extract(
            self.model,
            images.opened,
            rows,
            space=self.space[0],
            batch_size=self.batch_size,
            threads=self.threads,
        )


@dataclass(frozen=True)
class Measurement:
    """A measured dataset.

    Attributes:
        document: Content of gap.json.
        gap: The figures.
        sample: The compared images.
        values: Representation of the real images, then of the synthetic ones.
    """

    document: dict[str, Any]
    gap: Gap
    sample: Sample
    values: Features

    def write(self, folder: Path) -> None:
        """Write gap.json and the plots."""
        folder.mkdir(parents=True, exist_ok=True)
        head = {
            "title": f"{self.document['synthetic']} and {self.document['real']}",
            "note": plot_note(self.document),
        }
        about = {**head, "note": coverage_note(self.document)}
        places = embed(self.values)
        plot_sets(places, **head, path=folder / "sets")
        plot_classes(
            places,
            labels=self.sample.labels,
            names=self.sample.match.names,
            **head,
            path=folder / "classes",
        )
        plot_coverage(self.document["quality"], **about, path=folder / "coverage")
        write_document(folder / "gap.json", self.document)
        log(f"wrote {folder}/gap.json; sets, classes and coverage as .png and .svg")


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON file."""
    replace_text(path, f"{json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)}\n")


def load_setting(
    real: RealImages,
    sample: Sample,
    *,
    model: str,
    is_run: bool = False,
    fit: Fit | None,
    space: Space | None,
    batch_size: int,
    threads: int,
    seed: int,
) -> Setting:
    """Load the model and represent the real images.

    Raises:
        UserError: The model cannot be loaded, or an image cannot be read.
    """
    loaded = load_features(model, is_run=is_run)
    loaded = replace(loaded, preprocessing=with_fit(loaded.preprocessing, fit))
    note_fit(model, loaded.preprocessing, fit)
    chosen = choose_space(loaded, sample.compared, space)
    setting = Setting(real, loaded, chosen, batch_size, threads, seed)
    sides = tuple(setting.represent(real, rows) for rows in (sample.real, sample.other_real))
    return replace(setting, sides=sides)


def measure_side(
    setting: Setting, synthetic: RealImages, sample: Sample, *, by: Sequence[str]
) -> Measurement:
    """Measure a synthetic dataset.

    Raises:
        UserError: An image cannot be read, or see `groups_of`.
    """
    matched = label_facts(sample.match)
    note_labels(synthetic.opened.reference, matched, real=setting.real.name)
    groups = groups_of(sample, synthetic.opened, by)
    sides = [*setting.sides, setting.represent(synthetic, sample.synthetic)]
    values = [side.values for side in sides]
    _check_variety(setting, values)
    copies = _copies(sides)
    if warning := copies_warning(copies["of_real"], of=len(sample.labels)):
        log(f"warning: {synthetic.name} and {setting.real.name}: {warning}")
    gap = measure_gap(*values, labels=sample.labels, seed=setting.seed, groups=groups)
    document = {
        **_identity(setting, synthetic, sample),
        "dimensions": values[0].shape[1],
        "encoded": _encoded(setting.real, synthetic, sample),
        "copies": copies,
        **gap.as_data(),
    }
    return Measurement(document, gap, sample, np.concatenate([values[0], values[2]]))


def _identity(setting: Setting, synthetic: RealImages, sample: Sample) -> dict[str, Any]:
    """Return the fields of gap.json that say what was compared."""
    both = {"real": setting.real, "synthetic": synthetic}
    space, reason = setting.space
    labels = label_facts(sample.match).model_dump(mode="json", exclude={"names", "num_real"})
    return {
        "format": "data-factory/gap",
        "format_version": 1,
        "synthetic": synthetic.name,
        "source": synthetic.opened.shown,
        "real": setting.real.name,
        "model": setting.model.name,
        "space": space,
        "space_reason": reason,
        "preprocessing": setting.model.preprocessing.model_dump(mode="json"),
        "class_counts": {side: one.class_counts for side, one in both.items()},
        "left_out": {side: one.opened.left_out for side, one in both.items()},
        "images_per_side": len(sample.labels),
        "unreadable": {side: list(one.opened.unreadable) for side, one in both.items()},
        "classes": sample.match.names,
        "labels": labels,
        "seed": setting.seed,
    }


def _encoded(real: RealImages, synthetic: RealImages, sample: Sample) -> dict[str, Any]:
    """Return formats and sizes of both sides; warn if they differ."""
    found = {
        "real": formats_of(real.opened, sample.real),
        "synthetic": formats_of(synthetic.opened, sample.synthetic),
    }
    if warning := differing(found):
        log(f"warning: {synthetic.name} and {real.name}: {warning}")
    return found


def _check_variety(setting: Setting, values: Sequence[Features]) -> None:
    if not np.ptp(np.concatenate(values), axis=0).any():
        space = setting.space[0]
        other = "features" if space == "logits" else "logits"
        raise UserError(
            f"{setting.model.name} gives the same {space} for every image, so there is "
            f"nothing to compare; use --space {other} or another model"
        )


def _copies(sides: Sequence[Extracted]) -> dict[str, int]:
    """Return how many synthetic images have the pixels of a compared real or synthetic one."""
    real = {digest for side in sides[:2] for digest in side.digests}
    synthetic = Counter(sides[2].digests)
    return {
        "of_real": sum(count for digest, count in synthetic.items() if digest in real),
        "repeated": sum(synthetic.values()) - len(synthetic),
    }
