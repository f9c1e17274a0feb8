"""Figures of coverage and quality: closed forms, references, planted faults, two datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import t
from test_eval_gap import gap, place, planted, without_plots, write_set

from eval.coverage import neighbours
from eval.coverage.distances import frechet, kernel_distance
from eval.coverage.figures import figures_of
from eval.coverage.jackknife import NUM_BLOCKS, blocks_of, estimate
from eval.coverage.neighbours import expected_coverage, neighbour_figures
from eval.coverage.vendi import vendi
from eval.gap import CLASS, measure_gap
from eval.gap_compare import compare
from eval.gap_formats import differing, formats_of
from eval.gap_groups import _bins
from factory.common.errors import UserError
from factory.data.open import open_dataset

__all__ = ["place", "without_plots"]


def two(seed: int, n: int = 60, d: int = 6) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), 0.8 * rng.normal(size=(n, d)) + 0.3


def by_definition(real: Any, other: Any, k: int = 5) -> dict[str, float]:
    """The figures, with loops over images, as the papers define them."""

    def apart(a: Any, b: Any) -> float:
        return float(np.sqrt(((a - b) ** 2).sum()))

    def radius(x: Any, i: int, k: int) -> float:
        return sorted(apart(x[i], x[j]) for j in range(len(x)) if j != i)[k - 1]

    n = len(real)
    own, others = ([radius(x, i, k) for i in range(n)] for x in (real, other))
    d = [[apart(real[i], other[j]) for j in range(n)] for i in range(n)]
    closest = [min(range(n), key=lambda i: d[i][j]) for j in range(n)]
    return {
        "precision": np.mean([any(d[i][j] < own[i] for i in range(n)) for j in range(n)]),
        "recall": np.mean([any(d[i][j] < others[j] for j in range(n)) for i in range(n)]),
        "density": sum(d[i][j] < own[i] for i in range(n) for j in range(n)) / (k * n),
        "coverage": np.mean([any(d[i][j] < own[i] for j in range(n)) for i in range(n)]),
        "authenticity": np.mean([d[closest[j]][j] > radius(real, closest[j], 1) for j in range(n)]),
    }


def test_neighbour_figures_are_those_of_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    real, other = two(1, n=40)
    blocks = blocks_of(40)
    found = neighbour_figures(real, other, blocks)
    assert {name: one[0] for name, one in found.items()} == pytest.approx(
        by_definition(real, other)
    )
    # Without block 3, as if its images had never been there.
    kept = blocks != 3
    assert {name: one[4] for name, one in found.items()} == pytest.approx(
        by_definition(real[kept], other[kept])
    )
    # In chunks of 13 rows.
    monkeypatch.setattr(neighbours, "_CHUNK_MIB", 13 * 40 * 8 / 2**20)
    chunks = [len(rows) for rows, _ in neighbours._chunks(real, other)]
    assert len(chunks) > 2
    again = neighbour_figures(real, other, blocks)
    assert all((again[name] == found[name]).all() for name in found)


def test_figures_are_those_of_other_libraries() -> None:
    """Values of prdc 0.2, torch-fidelity 0.4.0 and vendi-score 0.0.3 for these features.

    torch-fidelity: `fid_statistics_to_metric`; `mmd2` of `kernel_poly`, `u-statistic`.
    """
    found = {name: one[0] for name, one in figures_of(*two(2)).items()}
    del found["authenticity"]
    assert found == pytest.approx(
        {
            "precision": 59 / 60,
            "recall": 0.75,
            "density": 1.4533333333333334,
            "coverage": 58 / 60,
            "frechet_distance": 1.1035106023430163,
            "kernel_distance": 0.2624697329801946,
            "vendi": 5.671065029006223,
        }
    )


def test_two_samples_of_one_distribution_have_the_expected_coverage() -> None:
    """Naeem et al.: density 1, and a coverage that depends on the number of images alone."""
    found = [neighbour_figures(*_same(seed, 60), blocks_of(60)) for seed in range(20)]
    coverage = [one["coverage"][0] for one in found]
    error = np.std(coverage) / np.sqrt(len(found))
    assert abs(np.mean(coverage) - expected_coverage(60)) < 3 * error
    assert abs(np.mean([one["density"][0] for one in found]) - 1) < 0.1
    # By hand: 1 - (2 / 5) (1 / 4) for three images and the second neighbour.
    assert expected_coverage(3, 2) == pytest.approx(1 - 2 / 5 * 1 / 4)


def _same(seed: int, n: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)), rng.normal(size=(n, 3))


@pytest.mark.parametrize(("n", "d"), [(60, 4), (21, 40)], ids=["many images", "few images"])
def test_the_frechet_distance_of_two_gaussians(n: int, d: int) -> None:
    """With diagonal covariances it is the distance of means and of standard deviations."""
    rng = np.random.default_rng(0)
    samples = []
    for mean, deviations in (([1, 0, 2, 0], [1, 2, 3, 0]), ([0, 0, 0, 1], [2, 2, 1, 0.5])):
        x = np.zeros((n, d))
        white = rng.normal(size=(n, 4))
        white -= white.mean(axis=0)
        # Exactly uncorrelated, with variance 1.
        white = np.linalg.qr(white)[0] * np.sqrt(n - 1)
        x[:, :4] = white * deviations + mean
        samples.append(x)
    found = frechet(*samples, blocks_of(n))
    assert found[0] == pytest.approx((1 + 0 + 4 + 1) + (1 + 0 + 4 + 0.25))
    assert frechet(samples[0], samples[0], blocks_of(n)) == pytest.approx(0, abs=1e-9)


def test_the_kernel_distance_of_equal_distributions_is_zero_on_average() -> None:
    """Classes of fixed sizes too: comparing all pairs of two samples would be biased there."""
    labels = np.repeat(np.arange(4), 5)
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        one, other = (rng.normal(size=(20, 4)) + 4 * np.eye(4)[labels] for _ in range(2))
        found.append(kernel_distance(one, other, blocks_of(20))[0])
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))


def test_the_kernel_distance_is_the_sum_over_pairs() -> None:
    x, y = two(3, n=20, d=2)

    def k(a: Any, b: Any) -> float:
        return float((a @ b / 2 + 1) ** 3)

    def pairs(rows: list[int]) -> float:
        terms = [
            k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i])
            for i in rows
            for j in rows
            if i != j
        ]
        return float(np.mean(terms))

    found = kernel_distance(x, y, blocks_of(20))
    assert found[0] == pytest.approx(pairs(list(range(20))))
    assert found[8] == pytest.approx(pairs([i for i in range(20) if i != 7]))


def test_the_vendi_score_counts_different_images() -> None:
    blocks = blocks_of(20)
    assert vendi(np.ones((20, 3)), blocks) == pytest.approx(1)
    found = vendi(3 * np.eye(20, 30), blocks)
    assert found == pytest.approx([20, *[19] * NUM_BLOCKS])
    # Four kinds of equal images, in fewer dimensions than images and in more.
    for d in (4, 50):
        assert vendi(np.eye(4, d)[np.arange(20) % 4], blocks)[0] == pytest.approx(4)
    assert estimate(vendi(np.zeros((20, 3)), blocks))["value"] is None


def test_the_interval_of_a_mean_is_students() -> None:
    """With one image per block the jackknife is exact for a mean."""
    x = np.random.default_rng(0).normal(size=NUM_BLOCKS)
    blocks = blocks_of(NUM_BLOCKS)
    values = np.array([x.mean(), *(x[blocks != one].mean() for one in range(NUM_BLOCKS))])
    found = estimate(values)
    reach = t.ppf(0.975, NUM_BLOCKS - 1) * x.std(ddof=1) / np.sqrt(NUM_BLOCKS)
    assert found["value"] == pytest.approx(x.mean())
    assert found["high"] - found["value"] == pytest.approx(reach)
    assert found["value"] - found["low"] == pytest.approx(reach)
    shares = estimate(np.array([0.99, *np.linspace(0.97, 1, NUM_BLOCKS)]), is_share=True)
    assert 0 < shares["low"] < 0.99 < shares["high"] == 1


@pytest.mark.soak
def test_intervals_contain_the_mean() -> None:
    """Those of nearest neighbours are too wide; none is much too narrow."""
    labels = np.repeat(np.arange(4), 50)
    found = []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        real, other, synthetic = (
            scale * rng.normal(size=(200, 6)) + 3 * np.eye(4, 6)[labels] + shift
            for scale, shift in ((1, 0), (1, 0), (0.7, 0.3))
        )
        found.append((figures_of(real, synthetic), figures_of(real, other)))
    for name in found[0][0]:
        for values in (
            [one[name] for one, _ in found],
            [one[name] - other[name] for one, other in found],
        ):
            mean = np.mean([one[0] for one in values])
            ends = [estimate(one) for one in values]
            assert np.mean([one["low"] <= mean <= one["high"] for one in ends]) > 0.88, name


def quality(case: list[Any], synthetic: Any = None) -> dict[str, Any]:
    real, other, usual, labels = case
    groups = {CLASS: {str(label): labels == label for label in np.unique(labels)}}
    found = measure_gap(
        real, other, usual if synthetic is None else synthetic, labels=labels, seed=0, groups=groups
    )
    data: dict[str, Any] = found.as_data()["quality"]
    return data


def difference(found: dict[str, Any], figure: str) -> Any:
    return found["figures"][figure]["difference"]


def test_a_class_collapsed_to_one_image_is_not_covered() -> None:
    real, other, synthetic, labels = planted(1)
    synthetic = synthetic.copy()
    synthetic[labels == 2] = synthetic[labels == 2][0]
    found = quality([real, other, synthetic, labels])
    collapsed = found["groups"][CLASS].pop("2")
    assert collapsed["figures"]["coverage"]["synthetic"]["value"] < 0.4
    assert collapsed["figures"]["recall"]["synthetic"]["value"] == 0
    assert collapsed["figures"]["vendi"]["synthetic"]["value"] == pytest.approx(1)
    assert difference(collapsed, "coverage")["high"] < 0
    for one in found["groups"][CLASS].values():
        assert one["figures"]["coverage"]["synthetic"]["value"] > 0.8
        assert difference(one, "recall")["low"] < 0 < difference(one, "recall")["high"]


def test_copies_of_real_images_are_closer_than_real_images_are() -> None:
    case = planted(1)
    figures = quality(case, case[0])["figures"]
    assert figures["authenticity"]["synthetic"] == {"value": 0, "low": 0, "high": 0}
    assert figures["authenticity"]["difference"]["high"] < 0
    assert figures["frechet_distance"]["synthetic"]["value"] == pytest.approx(0, abs=1e-9)
    assert figures["frechet_distance"]["difference"]["high"] < 0
    assert figures["coverage"]["synthetic"]["value"] == 1
    # Other real images of the same distribution are no copies.
    usual = quality(case)["figures"]["authenticity"]["difference"]
    assert usual["low"] < 0 < usual["high"]


def test_swapped_labels_are_seen_within_classes_only() -> None:
    real, other, synthetic, labels = planted(1)
    swapped = synthetic.copy()
    swapped[labels == 0], swapped[labels == 1] = synthetic[labels == 1], synthetic[labels == 0]
    before, after = (quality([real, other, one, labels]) for one in (synthetic, swapped))
    for name in ("precision", "recall", "coverage"):
        whole = [one["figures"][name]["synthetic"]["value"] for one in (before, after)]
        assert whole[0] == whole[1]
    for label in "01":
        figures = after["groups"][CLASS][label]["figures"]
        assert figures["coverage"]["synthetic"]["value"] < 0.05
    within = [one["within_classes"]["coverage"]["synthetic"]["value"] for one in (before, after)]
    assert within[1] == pytest.approx(within[0] / 2, abs=0.05)


def test_jpeg_and_png_are_reported(tmp_path: Path) -> None:
    for form, size in (("PNG", (8, 9)), ("JPEG", (8, 9)), ("PNG", (16, 9))):
        folder = tmp_path / f"{form}-{size[0]}" / "cat"
        folder.mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", size, (9 * number, 0, 0)).save(folder / f"{number}.{form.lower()}")
    rows = np.array([2, 0])
    png, jpeg, wide = (
        formats_of(open_dataset(tmp_path / name), rows) for name in ("PNG-8", "JPEG-8", "PNG-16")
    )
    assert png == {"formats": {"PNG": 2}, "median_size": [8, 9]}
    assert jpeg["formats"] == {"JPEG": 2} and wide["median_size"] == [16, 9]
    assert differing({"real": png, "synthetic": png}) is None
    assert "real: PNG, 8 x 9 pixels; synthetic: JPEG, 8 x 9" in str(
        differing({"real": png, "synthetic": jpeg})
    )
    assert "synthetic: PNG, 16 x 9 pixels" in str(differing({"real": png, "synthetic": wide}))


def test_real_images_passed_off_as_synthetic_are_counted(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = gap(place, "real", tmp_path / "out", "--syn-split", "test")
    # All 120 images are compared, 60 of them also as synthetic ones.
    assert found["copies"] == {"of_real": 60, "repeated": 0}
    said = capsys.readouterr()
    warning = "60 of 60 synthetic images (100.0%) have the pixels of a real image"
    assert warning in said.err and warning not in said.out, "in a terminal, once"
    assert found["encoded"]["real"] == found["encoded"]["synthetic"]
    assert found["encoded"]["real"] == {"formats": {"PNG": 60}, "median_size": [32, 32]}


def test_one_command_says_which_dataset_covers_more(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    far = str(place / "far")
    one = gap(place, "near", out, "--other", far)
    text, warnings = capsys.readouterr()
    assert one["copies"]["of_real"] == 0 and "pixels of a real image" not in text + warnings
    found = json.loads((out / "comparison.json").read_text())
    coverage = found["figures"]["coverage"]
    assert found["covers_more"] == "one" and coverage["difference"]["low"] > 0
    assert "near-train covers more of the real images than far-train: coverage " in text
    # Each alone has the same figures, from the same real images.
    assert gap(place, "near", tmp_path / "alone") == one
    other = json.loads((out / "other" / "gap.json").read_text())
    assert other["quality"]["figures"]["coverage"]["synthetic"] == coverage["other"]
    assert one["quality"]["figures"]["coverage"]["synthetic"] == coverage["one"]
    # Against itself there is no difference.
    gap(place, "near", tmp_path / "same", "--other", str(place / "near"))
    same = json.loads((tmp_path / "same" / "comparison.json").read_text())
    assert same["covers_more"] is None
    assert same["figures"]["coverage"]["difference"] == {"value": 0, "low": 0, "high": 0}
    assert same["one"].endswith("split train")
    assert same["two_sample"]["difference"]["difference"] == 0


def test_datasets_that_cannot_be_compared_are_refused(place: Path, tmp_path: Path) -> None:
    few = write_set(tmp_path / "few", split="train", seed=2, per_class=15)
    with pytest.raises(
        UserError, match=r"number of images of class ant .*\(20 and 15\).*; give --images 45 or few"
    ):
        gap(place, "near", tmp_path / "out", "--other", str(few))
    with pytest.raises(UserError, match=r"--other-config belongs to --other; add --other "):
        gap(place, "near", tmp_path / "out", "--other-config", "base")
    assert not (tmp_path / "out").exists()
    sides = [_Side({"real": "a", "model": model}) for model in ("m", "n")]
    with pytest.raises(UserError, match="model is m in one and n in the other; measure both with"):
        compare(*sides)  # type: ignore[arg-type]


class _Side:
    def __init__(self, document: dict[str, Any]) -> None:
        names = ("real", "model", "space", "preprocessing", "images_per_side", "seed")
        self.document = {**dict.fromkeys(names), **document}


def test_groups_are_the_values_of_a_column_or_quarters_of_its_numbers(
    place: Path, tmp_path: Path
) -> None:
    rows = range(120)
    columns: dict[str, tuple[str, list[Any]]] = {
        "recipe": ("string", [["base", "photo"][row % 2] for row in rows]),
        "guidance_scale": ("float32", [1 + row % 40 / 10 for row in rows]),
        "steps": ("int32", [[12, 40, None][row % 3] for row in rows]),
    }
    synthetic = str(write_set(tmp_path / "set", split="train", seed=2, columns=columns))
    groups = gap(place, synthetic, tmp_path / "one")["quality"]["groups"]
    assert list(groups) == ["recipe", "guidance_scale", CLASS]
    assert sorted(groups["recipe"]) == ["base", "photo"]
    assert len(groups["guidance_scale"]) == 4
    assert sum(one["images"] for one in groups["guidance_scale"].values()) == 60
    tested = [one["two_sample"]["num_images"] for one in groups["recipe"].values()]
    assert sum(tested) == 60
    groups = gap(place, synthetic, tmp_path / "two", "--by", "steps")["quality"]["groups"]
    assert list(groups) == ["steps", CLASS] and list(groups["steps"]) == ["12", "40", "none"]
    assert len(_bins(np.linspace(1000.1, 1000.9, 40))) == 4, "each quarter has a name of its own"
    for column, message in (("step", "did you mean steps"), ("image", "no such column")):
        with pytest.raises(UserError, match=message):
            gap(place, synthetic, tmp_path / "three", "--by", column)
