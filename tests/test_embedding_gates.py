"""Gates on embeddings: near-copies and wrong labels that were planted are found."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from build_parts import SETTINGS, FakeRenderer, recipe, tree
from PIL import Image
from test_eval_score import write_run
from test_gates import rows_of
from tiny_clip import save_clip

from eval.report_page.dataset import open_report_dataset
from eval.report_page.distributions import distributions
from eval.report_page.duplicates import duplicates
from eval.report_page.margins import lowest
from eval.viewer.answers import open_viewer
from factory.builder.build import build
from factory.cli.main import main
from factory.common.errors import UserError
from factory.common.row_images import read_image
from factory.data.columns import EMBEDDING_HASH
from factory.data.open import open_dataset
from factory.gates import embedding_duplicates, label_issues
from factory.gates.base import ConfigRows
from factory.gates.embedding_duplicates import (
    FLAG,
    NEAREST,
    OTHER_LABEL,
    SIMILARITY,
    EmbeddingDuplicates,
    sign_hashes,
)
from factory.gates.embeddings import Embeddings
from factory.gates.label_issues import QUALITY

PIXELS, PER_CLASS = 32, 24
# Of the images 0, 1, 2, ... of the classes 0, 1, 2, 0, ...
COPIES = {40: 7, 43: 10, 50: 9, 61: 7}
"""Near-copies by index, and the images that they repeat; 50 and 9 have different classes."""
SWAPPED = {20: 0, 33: 1, 47: 0, 56: 1, 66: 2}
"""Images that show another class than their label."""
THRESHOLD = 0.9996
"""For a model with random weights, to which all images are similar."""
OPTIONS = ("--embedding-similarity", str(THRESHOLD), "--label-issues")


def smooth(index: int, shown: int) -> np.ndarray:
    """Return an image of a class's colour with a pattern of its own."""
    rng = np.random.default_rng(index)
    coarse = rng.integers(0, 130, (4, 4, 3), dtype=np.uint8)
    coarse[..., shown] += 120
    large = Image.fromarray(coarse).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)
    return np.asarray(large)


class Planted(FakeRenderer):
    """Generates images with near-copies and swapped classes."""

    def render(self, rows: Sequence[Any], *, batch_size: int, **options: Any) -> Any:
        return [self._generate(row.index) for row in rows]

    def _generate(self, index: int) -> np.ndarray:
        if index not in COPIES:
            return smooth(index, SWAPPED.get(index, index % 3))
        first = smooth(COPIES[index], COPIES[index] % 3)
        if index % 2:
            return np.roll(first, 1, axis=1)
        file = io.BytesIO()
        Image.fromarray(first).save(file, "jpeg", quality=90)
        return np.asarray(Image.open(file))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    planted = recipe(folder, "base", output={"size": PIXELS}, images_per_class=PER_CLASS)
    build(
        [planted],
        folder / "out",
        settings=SETTINGS,
        show_progress=False,
        renderer_factory=Planted,
    )
    return folder / "out"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run") / "run", names=["cat", "dog", "ship"])


def gate(out: Path, run: Path, *options: str) -> None:
    main(["gate", str(out), "--embedding", str(run), "--quiet", *options])


@pytest.fixture(scope="module")
def gated(built: Path, run: Path) -> Path:
    gate(built, run, *OPTIONS)
    return built


def test_planted_copies_are_found(gated: Path) -> None:
    rows = rows_of(gated, "base")
    assert {row["index"]: row[NEAREST] for row in rows if row[FLAG]} == COPIES
    assert [row["index"] for row in rows if row[OTHER_LABEL]] == [50]
    assert (rows[0][NEAREST], rows[0][SIMILARITY]) == (None, None)
    assert all(row[SIMILARITY] >= THRESHOLD for row in rows if row[FLAG])
    manifest = json.loads((gated / "manifest.json").read_text())
    entry = manifest["gates"]["embedding_duplicates"]
    assert entry["thresholds"] == {"similarity": THRESHOLD} and len(entry["revision"]) == 40


def test_swapped_labels_are_found(gated: Path) -> None:
    """All are found (recall 1), and few others (precision of at least 0.75)."""
    rows = rows_of(gated, "base")
    found = {row["index"] for row in rows if row[label_issues.FLAG]}
    wrong = {*SWAPPED, 50}
    assert wrong <= found and len(found) <= len(wrong) / 0.75
    assert all(0 <= row[QUALITY] <= 1 for row in rows)
    worst = sorted(rows, key=lambda row: row[QUALITY])[: len(wrong)]
    assert {row["index"] for row in worst} <= found
    kept = open_dataset(str(gated), config_name="base", row_filter="not label_issue")
    assert len(kept.dataset) == len(rows) - len(found)


def test_values_are_those_of_cleanlab_and_scikit_learn(gated: Path) -> None:
    """Of probabilities that are the same for scikit-learn's own cross-validation."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3 * 2  # Class 1 and 3 have no image.
    vectors = rng.normal(size=(60, 8)).astype(np.float32) + labels[:, None] * 0.5
    found, is_finished = label_issues.out_of_sample(vectors, labels)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    expected = cross_val_predict(model, vectors, labels, cv=folds, method="predict_proba")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert is_finished
    issues, quality = label_issues.label_issues(labels, found)
    np.testing.assert_array_equal(issues, find_label_issues(labels // 2, found))
    np.testing.assert_array_equal(quality, get_label_quality_scores(labels // 2, found))
    assert 0 < issues.sum() < 30


def test_twice_is_once(gated: Path, run: Path) -> None:
    before = tree(gated)
    gate(gated, run, *OPTIONS)
    assert tree(gated) == before


class Fixed:
    """Embeddings of known vectors."""

    model, revision, method, device = "fixed", "0", "vectors", "cpu"

    def __init__(self, vectors: np.ndarray, labels: np.ndarray) -> None:
        self.vectors, self.labels = vectors, labels
        self.indexes = 10 * np.arange(len(labels))

    def read(self, config: str, rows: ConfigRows) -> None:
        pass


@pytest.mark.parametrize("block", [4, 1024])
def test_near_duplicates_do_not_depend_on_blocks(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """As of a plain loop: compared with earlier images that are no duplicates themselves."""
    monkeypatch.setattr(embedding_duplicates, "_BLOCK", block)
    monkeypatch.setattr(embedding_duplicates, "_KEPT", block - 1)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = rng.integers(0, 3, 60)
    one = EmbeddingDuplicates(Fixed(vectors, labels), similarity=0.9)  # type: ignore[arg-type]
    one.begin("base", ConfigRows(60, list))
    found = [*one.measure([{}] * 25), *one.measure([{}] * 35)]
    kept: list[int] = []
    for row, values in enumerate(found):
        similar = vectors[kept] @ vectors[row]
        alike = [other for other, cosine in zip(kept, similar, strict=True) if cosine >= 0.9]
        assert values[FLAG] is bool(alike)
        assert values[OTHER_LABEL] is any(labels[other] != labels[row] for other in alike)
        if kept:
            assert values[NEAREST] == 10 * kept[similar.argmax()]
            assert values[SIMILARITY] == pytest.approx(similar.max(), abs=1e-6)
        if not alike:
            kept.append(row)
    assert 5 < len(kept) < 40 and any(values[OTHER_LABEL] for values in found)


def test_hashes_of_similar_vectors_differ_in_few_bits() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(1, 100)) + np.array([[0.0], [0.1], [1.0]]) * rng.normal(
        size=(3, 100)
    )
    first, near, far = sign_hashes(vectors.astype(np.float32))
    bits = [int(first ^ other).bit_count() for other in (near, far)]
    # An angle of a radians gives 64 a / pi bits on average.
    assert bits[0] <= 6 < bits[1]


def test_report_and_viewer_use_the_columns(gated: Path) -> None:
    dataset = open_report_dataset(gated)
    (found,) = duplicates(dataset)
    assert (found.compares, found.total, found.across) == ("embeddings", 4, 1)
    assert found.pairs[0].other_label and len(found.pairs) == 4
    weakest = lowest(dataset)
    assert weakest is not None and weakest.column == QUALITY
    # Numbers that name an image or a hash have no chart.
    charts, hidden = {one.name for one in distributions(dataset)}, {EMBEDDING_HASH, NEAREST}
    assert {SIMILARITY, QUALITY} <= charts and not charts & hidden
    viewer = open_viewer(gated, None)
    assert not {one.column for one in viewer.facets} & hidden
    assert viewer.about()["similar"]
    rows = viewer.page({"like": "40", "size": "300"})["rows"]
    assert {row["index"]: row["distance"] for row in rows if row["index"] in (7, 40)}[7] <= 3
    hashes = viewer.rows.numbers(EMBEDDING_HASH)
    expected = [int(hashes[40] ^ hashes[row["row"]]) % 2**64 for row in rows]
    assert [row["distance"] for row in rows] == [one.bit_count() for one in expected]


def test_the_command_counts_label_noise(
    gated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a CLIP model, whose image embeddings are those of transformers."""
    import torch
    from transformers import AutoImageProcessor, AutoModel

    folder, out = save_clip(tmp_path / "clip"), tmp_path / "out"
    shutil.copytree(gated, out)
    gate(out, folder)
    lines = capsys.readouterr().out.splitlines()
    rows = rows_of(out, "base")
    repeats, noise = (sum(row[name] for row in rows) for name in (FLAG, OTHER_LABEL))
    assert lines[-1] == (
        f"near-duplicates by embedding: {repeats - noise} of an image of the same class, {noise} "
        "of an image of another class (possible label noise)"
    )
    assert f"{FLAG} {repeats}" in lines[-2]
    images = [read_image(row["image"], where="") for row in rows]
    pixels = AutoImageProcessor.from_pretrained(folder)(images=images, return_tensors="pt")
    with torch.inference_mode():
        found = AutoModel.from_pretrained(folder).eval().get_image_features(**pixels)
    vectors = getattr(found, "pooler_output", found).numpy()
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for row in rows[1:]:
        (nearest,) = (place for place, one in enumerate(rows) if one["index"] == row[NEAREST])
        cosine = vectors[row["index"]] @ vectors[nearest]
        assert row[SIMILARITY] == pytest.approx(cosine, abs=1e-4)


def test_invalid_input_is_reported(
    gated: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options, message in (
        (["--label-issues"], "--label-issues needs --embedding; add it"),
        (["--embedding-similarity", "0.0"], "--embedding-similarity needs --embedding; add it"),
        (["--embedding-similarity", "nan", "--embedding", "x"], "nan: expected -1 to 1"),
        (["--embedding", "./nowhere"], "--embedding ./nowhere: cannot be loaded"),
    ):
        with pytest.raises(UserError, match=message):
            main(["gate", str(gated), *options])
    small = recipe(tmp_path, "few", output={"size": PIXELS}, images_per_class=1)
    single = recipe(tmp_path, "one", output={"size": PIXELS}, classes=["cat"], images_per_class=2)
    for made, message in (
        (small, "class cat of few has a single image; it needs two"),
        (single, "one has a single class; it needs two"),
    ):
        out = tmp_path / made.name
        build([made], out, settings=SETTINGS, show_progress=False, renderer_factory=Planted)
        with monkeypatch.context() as patch, pytest.raises(UserError, match=message):
            # It is found before any image of any config is embedded.
            patch.setattr(Embeddings, "read", lambda *_: pytest.fail("embedded"))
            gate(out, run, "--label-issues")
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(UserError, match=r'cleanlab: pip install "data-factory\[quality\]"'):
        gate(gated, run, "--label-issues")
