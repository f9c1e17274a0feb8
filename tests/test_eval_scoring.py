"""Scoring as in the paper's code: measured, labelled, never mixed with standard scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from test_eval_score import NAMES, NUM_IMAGES, write_real, write_run
from test_eval_table import scores

from eval.checkpoint import _metrics, _train_seconds
from eval.cli import main
from eval.scores_io import read_scores
from eval.scoring_mode import Scoring, order_of
from eval.table import collect, make_tables
from eval.table_text import to_markdown
from factory.common.errors import UserError

TRAINING = """\
seed: 3
data: {config_name: base-class, num_images: 500}
hyperparameters: {val_fraction: 0.1}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two saved epochs; the earlier one is much better on the real dataset."""
    folder = tmp_path_factory.mktemp("scoring")
    run = write_run(folder / "run")
    (run / "config.yaml").write_text(TRAINING)
    (run / "metrics.csv").write_text("epoch,seconds\n1,1.5\n2,1.25\n")
    write_real(folder / "real")
    state = load_file(run / "model.safetensors")
    (run / "epochs").mkdir()
    save_file(state, run / "epochs" / "epoch-0005.safetensors")
    constant = {name: tensor.clone() for name, tensor in state.items()}
    constant["fc.weight"].zero_()
    constant["fc.bias"].copy_(torch.arange(len(NAMES)) == 6)
    save_file(constant, run / "epochs" / "epoch-0010.safetensors")
    return run


def score(run: Path, *options: str, batch_size: int = 8) -> None:
    real = run.parent / "real"
    main(["score", str(run), "--real", str(real), "--batch-size", str(batch_size), *options])


def images(run: Path) -> torch.Tensor:
    rng = np.random.default_rng(1)
    pixels = rng.integers(256, size=(NUM_IMAGES, 12, 10, 3), dtype=np.uint8)
    resized = [Image.fromarray(one).resize((32, 32), Image.Resampling.BILINEAR) for one in pixels]
    x = np.stack([np.asarray(one) for one in resized]).astype(np.float32) / 255
    x = (x - np.float32([0.4, 0.5, 0.6])) / np.float32([0.2, 0.25, 0.3])
    return torch.from_numpy(x).permute(0, 3, 1, 2)


def test_names_say_every_departure() -> None:
    assert (Scoring().name, Scoring().slug) == ("standard", "")
    every = Scoring("test-batch", dropout=True, best_on_test=True)
    assert every.name == "test-batch + dropout + best on test"
    assert every.slug == "test-batch-dropout-best-on-test"


def test_batch_norm_of_the_test_batch_is_that_of_training_mode(run: Path) -> None:
    """Expected: the model in training mode on the same batches, the last one filled up."""
    score(run, "--batch-norm", "test-batch", "--fit", "squash")
    found = read_scores(run / "scores-real-test-test-batch.json")
    assert (found.scoring, found.model.batch_norm) == ("test-batch", "test-batch")
    model = timm.create_model(f"local-dir:{run}", pretrained=True).train()
    order = order_of(NUM_IMAGES, Scoring("test-batch"))
    assert order is not None and sorted(order) == list(range(NUM_IMAGES))
    x, labels = images(run)[order], (np.arange(NUM_IMAGES) % len(NAMES))[order]
    right = 0
    with torch.no_grad():
        for start in range(0, NUM_IMAGES, 8):
            rows = list(range(start, min(start + 8, NUM_IMAGES)))
            filled = rows + list(range(8 - len(rows)))
            first = model(x[filled]).argmax(1)[: len(rows)].numpy()
            right += (first == labels[rows]).sum()
    assert found.metrics.num_correct == right
    plain = timm.create_model(f"local-dir:{run}", pretrained=True).eval()
    with torch.no_grad():
        assert not np.array_equal(plain(x).argmax(1).numpy(), model(x).argmax(1).numpy())


def test_best_on_test_is_the_best_visit_and_says_so(run: Path) -> None:
    score(run, "--best-on-test")
    found = read_scores(run / "scores-real-test-best-on-test.json")
    assert found.scoring == "best on test"
    assert found.model.selected_on == "real test images (best of 2 visits)"
    assert [visit.epoch for visit in found.visits] == [5, 10]
    assert found.metrics.top1 == max(visit.top1 for visit in found.visits)
    best = max(found.visits, key=lambda visit: visit.top1)
    from factory.common.whole_files import sha256

    chosen = run / "epochs" / f"epoch-{best.epoch:04d}.safetensors"
    assert found.model.weights_sha256 == sha256(chosen)


def test_as_code_is_all_three_and_repeats(run: Path) -> None:
    score(run, "--as-code")
    path = run / "scores-real-test-test-batch-dropout-best-on-test.json"
    first = path.read_bytes()
    assert read_scores(path).scoring == "test-batch + dropout + best on test"
    score(run, "--as-code", "--batch-norm", "test-batch")
    assert path.read_bytes() == first


def test_as_code_with_evaluation_statistics_is_refused(run: Path) -> None:
    with pytest.raises(UserError, match="remove --batch-norm eval, or replace --as-code by"):
        score(run, "--as-code", "--batch-norm", "eval")


def test_dropout_stays_on_where_a_model_has_it(run: Path, tmp_path: Path) -> None:
    with_dropout = write_run(tmp_path / "run", model_args={"drop_rate": 0.9})
    write_real(tmp_path / "real")
    score(with_dropout)
    score(with_dropout, "--dropout")
    standard = read_scores(with_dropout / "scores-real-test.json")
    dropped = read_scores(with_dropout / "scores-real-test-dropout.json")
    assert standard.metrics.confusion_matrix != dropped.metrics.confusion_matrix
    score(run, "--dropout")  # its model has none
    without = read_scores(run / "scores-real-test-dropout.json")
    score(run)
    plain = read_scores(run / "scores-real-test.json")
    assert without.metrics == plain.metrics and without.scoring == "dropout"
    assert (plain.scoring, plain.visits, plain.model.train_seconds) == ("standard", [], 2.75)


def test_a_score_that_is_misnamed_is_refused(run: Path, tmp_path: Path) -> None:
    score(run, "--batch-norm", "test-batch")
    text = json.loads((run / "scores-real-test-test-batch.json").read_text())
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(text | {"scoring": "honest"}))
    with pytest.raises(
        UserError,
        match=r"but batch_norm, dropout and visits are those of 'test-batch'",
    ):
        read_scores(path)


def test_table_keeps_them_apart(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ((), ("--batch-norm", "test-batch"), ("--best-on-test",)):
        score(run, *options)
    (run / "scores-real-test-dropout.json").unlink(missing_ok=True)
    (run / "scores-real-test-test-batch-dropout-best-on-test.json").unlink(missing_ok=True)
    capsys.readouterr()
    main(["table", str(run), "--cost"])
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert rows[0] == ["top-1 (%)", "real-test", "images", "training (min)"]
    assert [row[0] for row in rows[2:]] == [
        "base-class",
        "base-class [best on test]",
        "base-class [test-batch]",
    ]
    assert all("±" not in row[1] for row in rows[2:])
    assert rows[2][2:] == ["500", "0.0"]


def test_differences_are_to_a_base_scored_alike() -> None:
    def as_code(trick: str, top1: float):
        one = scores(trick, top1, run=f"runs/{trick}-code")
        model = one.model.model_copy(update={"batch_norm": "test-batch"})
        return one.model_copy(update={"model": model, "scoring": "test-batch"})

    some = [scores("base-class", 0.5), scores("own", 0.6), as_code("own", 0.7)]
    table = make_tables(some)[0]
    assert table.cells["own", "digits-test"].difference == pytest.approx(10)
    assert table.cells["own [test-batch]", "digits-test"].difference is None
    table = make_tables([*some, as_code("base-class", 0.55)])[0]
    assert table.cells["own [test-batch]", "digits-test"].difference == pytest.approx(15)


def test_reference_row_of_real_images_comes_last_under_its_name() -> None:
    def real(seed: int, top1: float):
        one = scores("default", top1, seed=seed, run=f"runs/real-{seed}")
        data = {"config_name": "default", "reference": "sets/cifar-train", "num_images": 50}
        return one.model_copy(update={"training": {"seed": seed, "data": data}})

    some = [scores("base-class", 0.5), scores("all-combined", 0.6), real(0, 0.7), real(1, 0.8)]
    table = make_tables(some, reference="cifar-train", reference_text="real images")[0]
    assert table.rows == ["base-class", "all-combined", "real images"]
    cell = table.cells["real images", "digits-test"]
    assert (round(cell.top1), round(cell.std or 0), cell.train_images) == (75, 7, 50)
    assert "real images" in to_markdown([table])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--best-on-test",), "has no saved epochs, .* train with --keep-every 5"),
        (
            ("--batch-norm", "test-batch", "--batch-size", "1"),
            "needs at least two images per batch",
        ),
    ],
)
def test_invalid_scoring_options_are_reported(
    run: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    bare = write_run(tmp_path / "bare")
    with pytest.raises(UserError, match=message):
        main(["score", str(bare), "--real", str(run.parent / "real"), *options])
    assert not list(bare.glob("scores-*"))


def test_an_old_scores_file_is_standard(run: Path, tmp_path: Path) -> None:
    score(run)
    text = json.loads((run / "scores-real-test.json").read_text())
    for key in ("scoring", "zero_shot", "visits"):
        text.pop(key)
    for key in ("dropout", "train_seconds"):
        text["model"].pop(key)
    path = tmp_path / "old.json"
    path.write_text(json.dumps(text))
    (one,) = collect([path])
    assert one.scoring == "standard"
    # What 0.1.0 called it.
    path.write_text(json.dumps(text | {"scoring": "honest"}))
    (one,) = collect([path])
    assert one.scoring == "standard"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (["1.5", "1.25"], 2.75),
        (["1e308", "1e308"], None),
        (["1e13"], None),
        (["nan"], None),
        (["1e999"], None),
        (["-1", "5"], None),
        (["1", "é"], None),
        (["9" * 200_000], None),
    ],
)
def test_times_that_are_no_measurement_are_not_recorded(
    tmp_path: Path, seconds: list[str], expected: float | None
) -> None:
    table = "epoch,seconds\n" + "".join(f"{row},{one}\n" for row, one in enumerate(seconds))
    (tmp_path / "metrics.csv").write_text(table)
    assert _train_seconds(_metrics(tmp_path)) == expected
