"""The metric modules, loaded as `eval` loads them and compared with scikit-learn."""

import shutil

import evaluate
import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score, top_k_accuracy_score

from eval.measure import load_metric

NUM_CLASSES = 7


@pytest.fixture(scope="module")
def guesses():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, NUM_CLASSES))
    labels = rng.integers(NUM_CLASSES, size=400)
    logits[np.arange(400), labels] += 1
    return logits, np.argsort(-logits, axis=1), labels


@pytest.mark.parametrize("k", [1, 3, 5])
def test_top_k_accuracy_is_scikit_learns(guesses, k):
    logits, ranked, labels = guesses
    found = load_metric("top_k_accuracy").compute(
        predictions=ranked.tolist(), references=labels.tolist(), k=k
    )
    assert found["accuracy"] == pytest.approx(top_k_accuracy_score(labels, logits, k=k))
    assert found["num_correct"] == round(found["accuracy"] * 400)


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (10, 10), (81, 100), (5000, 10000)])
def test_interval_is_wilsons(correct, total):
    found = load_metric("top_k_accuracy").compute(
        predictions=[[0]] * total, references=[0] * correct + [1] * (total - correct), k=1
    )
    wilson = binomtest(correct, total).proportion_ci(0.95, "wilson")
    assert (found["low"], found["high"]) == pytest.approx(tuple(wilson), abs=1e-12)
    assert 0 <= found["low"] <= found["high"] <= 1


def test_confusion_matrix_is_scikit_learns(guesses):
    _, ranked, labels = guesses
    found = load_metric("confusion_matrix").compute(
        predictions=ranked[:, 0].tolist(),
        references=labels.tolist(),
        num_true=NUM_CLASSES,
        num_predicted=NUM_CLASSES,
    )
    assert found["matrix"] == confusion_matrix(labels, ranked[:, 0]).tolist()
    assert found["per_class"] == pytest.approx(recall_score(labels, ranked[:, 0], average=None))
    assert accuracy_score(labels, ranked[:, 0]) == np.trace(found["matrix"]) / 400


def test_class_without_images_has_no_accuracy():
    found = load_metric("confusion_matrix").compute(
        predictions=[0, 2, 3], references=[0, 0, 2], num_true=3, num_predicted=4
    )
    assert found["matrix"] == [[1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert found["per_class"] == [0.5, None, 0.0]
    assert found["mean_per_class"] == 0.25


def test_calibration_error_by_hand():
    # Two bins: confidences 0.2 and 0.4 with one right, 0.8 twice with one right.
    found = load_metric("calibration_error").compute(
        predictions=[0.2, 0.4, 0.8, 0.8], references=[0, 1, 1, 0], num_bins=2
    )
    by_hand = 0.5 * abs(0.5 - 0.3) + 0.5 * abs(0.5 - 0.8)
    assert found["calibration_error"] == pytest.approx(by_hand)
    assert found["mean_confidence"] == pytest.approx(0.55)


def test_changed_metric_file_is_loaded_again(tmp_path):
    import eval.measure as measure_module

    path = tmp_path / "calibration_error.py"
    shutil.copy(measure_module._METRICS / path.name, path)
    inputs = {"predictions": [0.5], "references": [1]}
    before = evaluate.load(str(path), keep_in_memory=True).compute(**inputs)
    path.write_text(path.read_text().replace("confidence.mean()", "confidence.mean() + 1"))
    after = evaluate.load(str(path), keep_in_memory=True).compute(**inputs)
    assert (before["mean_confidence"], after["mean_confidence"]) == (0.5, 1.5)
