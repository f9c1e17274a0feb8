"""Measurements of `evaluate`, and the card made from them."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from photo_parts import photo_source, small_sheets, write_photos

from factory.common.errors import UserError
from train.generator.cli import main
from train.generator.config import Config, load_config, with_source
from train.generator.evaluation import evaluate, evaluation_sheets, photo_figures
from train.generator.evaluation.run_data import open_run_photos
from train.generator.network.sampling import generate
from train.generator.probe import run_probe
from train.generator.probe.judges import zero_shot
from train.generator.release.card import EMBEDDED_SETTINGS, card_text, training_command, write_card
from train.generator.release.export import export
from train.generator.training import diffusion
from train.generator.training.class_gap import class_gap
from train.generator.training.fit import fit
from train.generator.training.lineage import Part, read_lineage, table_of, write_lineage
from train.generator.training.loss_log import read_log

SETTINGS = {
    "latents": {"channels": 4, "images": 20},
    "text": {"width": 16, "layers": 1, "heads": 2, "vocabulary": 600},
    "unet": {"channels": [16], "heads": [2], "time_width": 32, "norm_groups": 4},
    "fit": {
        "samples": 40,
        "batch_size": 4,
        "log_every": 1,
        "gap_every": 1,
        "probe_every": 1,
        "checkpoint_minutes": 60,
    },
    "decoder": {"channels": [8, 8, 8], "blocks": [1, 1, 1], "steps": 2, "batch_size": 4},
}


@pytest.fixture(scope="module", autouse=True)
def _little_is_measured() -> Iterator[None]:
    """Generate few images wherever a run or a pipeline is measured."""
    with pytest.MonkeyPatch.context() as patch:
        small_sheets(patch)
        patch.setattr(diffusion, "class_gap", partial(class_gap, size=2))
        patch.setattr(run_probe, "PER_CLASS", 4)
        patch.setattr(run_probe, "EPOCHS", 2)
        patch.setattr(run_probe, "STEPS", 2)
        patch.setattr(evaluate, "SPEED_IMAGES", 4)
        patch.setattr(evaluate, "COPY_CHECK_PER_CLASS", 2)
        patch.setattr(photo_figures, "PER_DOMAIN", 2)
        patch.setattr(photo_figures, "JUDGE_EPOCHS", 2)
        patch.setattr(photo_figures, "zero_shot", partial(zero_shot, epochs=2))
        for module in (evaluate, evaluation_sheets, photo_figures):
            patch.setattr(module, "generate", partial(generate, steps=2))
        patch.setattr(evaluation_sheets, "PER_CLASS", 2)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, _little_is_measured: None) -> Path:
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    folder = tmp_path_factory.mktemp("card")
    photos = write_photos(folder / "photos")
    source = photo_source(
        photos,
        mirror=True,
        held_out=3,
        filtered=0.2,
        filters={"poster": 1},
    )
    data = {"image_size": 32, "sources": [source.model_dump()]}
    config = Config.model_validate({**SETTINGS, "data": data})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        fit(config, folder / "run", stages=("denoiser",))
        log = (folder / "run" / "loss.csv").read_text(encoding="utf-8")
        fit(config, folder / "run", stages=("denoiser", "decoder"))
    assert (folder / "run" / "loss.csv").read_text(encoding="utf-8") == log, "opened again"
    return folder / "run"


def test_a_card_contains_measurements_and_notes_of_the_run(run: Path, tmp_path: Path) -> None:
    pipeline, out = tmp_path / "pipeline", tmp_path / "figures"
    export(run, pipeline)
    (run / "failures.txt").write_text("ships look like cats\n", encoding="utf-8")
    (run / "data.md").write_text("Blocks of colour, public domain.\n", encoding="utf-8")
    asked = ["evaluate", str(pipeline), "--run", str(run), "--out", str(out)]
    with pytest.raises(UserError, match="nothing"):
        main([*asked, "--real", str(tmp_path / "nothing")])
    assert not out.exists(), "wrong classes are reported before anything is measured"
    assert main([*asked, "--card", "--images-per-class", "4", "--threads", "1"]) == 0
    figures = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    card = (pipeline / "README.md").read_text(encoding="utf-8")
    shown = 100 * figures["photos"]["prompt_accuracy"]["2"]["top1"]
    assert f"| photographs: prompt accuracy, guidance 2 | {shown:.1f} % |" in card
    assert "images of 2 classes of objects and places as photographs and in other domains" in card
    known = 100 * figures["photos"]["judge_on_filtered_held_out"]["poster"]
    poster = 100 * figures["photos"]["prompt_accuracy_by_domain"]["poster"]
    assert f"| poster | {poster:.0f} % | {known:.0f} % |" in card
    assert "not comparable between runs" not in card, "there was one"
    assert "- ships look like cats\n" in card
    assert "Blocks of colour, public domain." in card
    assert "MNIST" not in card
    assert read_lineage(pipeline)[0].about_data == "Blocks of colour, public domain."
    assert "40 samples in" in card
    assert "on 1 CPU process in" in card
    assert "- 26 captioned images (view ground), 100 % of the samples; 60 % of these" in card
    photographs = 2 * (13 + 5)
    assert figures["memorisation"]["training"] == photographs, "cats and ships"
    assert f"one of {photographs} training photographs (including mirrored copies)" in card
    # Figures of earlier versions also counted crops, and none may be counted.
    memory = figures["memorisation"]
    for copies, words in ((None, " (including mirrored and cropped copies):"), ("", ":")):
        memory = {key: value for key, value in memory.items() if key != "copies"}
        memory |= {} if copies is None else {"copies": copies}
        other = card_text(run, figures | {"memorisation": memory})
        assert f"one of {photographs} training photographs{words} the" in other
    assert _probes_in(card) == [
        f"{100 * float(probe):.1f} %" for k, probe in enumerate(_probes(run)) if k in PROBES_SHOWN
    ]
    assert {"classes.jpg", "loss.png", "nearest.jpg"} <= {path.name for path in pipeline.iterdir()}


def test_a_card_describes_an_earlier_checkpoint_copied_over_the_last(run: Path) -> None:
    path = run / "checkpoint.pt"
    last = path.read_bytes()
    state = torch.load(path, weights_only=True)
    torch.save({**state, "samples": 12}, path)
    try:
        card = card_text(run, FEW_FIGURES)
    finally:
        path.write_bytes(last)
    assert "12 samples in" in card
    shown = [probe for probe in _probes_in(card) if probe]
    assert len(shown) == 3, "of eleven, those after four, eight and twelve samples"
    assert "--samples 12" in card


def test_the_best_probe_is_kept(run: Path) -> None:
    best = torch.load(run / "best.pt", weights_only=True)
    last = torch.load(run / "checkpoint.pt", weights_only=True)
    highest = max(map(float, _probes(run)))
    assert best["best_probe"] == pytest.approx(highest, abs=1e-6)
    assert last["best_probe"] == best["best_probe"], "a lengthened run has to beat it"
    rows = [row for row in read_log(run / "loss.csv") if row["probe"]]
    assert best["samples"] == max(
        int(row["samples"]) for row in rows if float(row["probe"]) == highest
    )


def test_a_card_lists_earlier_runs(run: Path, tmp_path: Path) -> None:
    pipeline, later = tmp_path / "pipeline", tmp_path / "later"
    export(run, pipeline)
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    # One step.
    settings["fit"] |= {"start_from": str(pipeline), "samples": 12, "batch_size": 12}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        fit(Config.model_validate(settings), later, stages=("denoiser",))
        (later / "notes.txt").write_text("At night.\n\n- and slowly\n", encoding="utf-8")
        card = card_text(later, FEW_FIGURES)
        assert "52 samples in" in card
        assert re.search(r"\n1\. 40 samples in \d minutes on 1 CPU process in", card)
        assert re.search(r"\n2\. 12 samples in \d minutes on 1 CPU process in", card)
        assert " At night.\n\n   - and slowly\n" in card, "notes stay inside their item"
        assert "The plot shows the last run." in card
        assert re.search(r"\nRun 1:\n\n- \d+ images in total.*\n- 26 captioned images", card)
        assert re.search(r"\nRun 2:\n\n- \d+ images in total.*\n- 26 captioned images", card)
        assert "not comparable between runs" in card
        assert "from scratch, with the settings of the last run" in card
        (pipeline / "training.yaml").unlink()
        fit(Config.model_validate(settings), tmp_path / "unknown", stages=("denoiser",))
        card = card_text(tmp_path / "unknown", FEW_FIGURES)
        assert "12 samples in" in card
        assert "\n1. Not recorded; not counted above.\n" in card
        assert "\nRun 1:\n\n- not recorded\n" in card
        assert "--samples" not in card, "the number is unknown"
        for text in (
            *("parts: [{samples: many}]", "parts: [", "[]", "", "parts: []"),
            *("parts: [{samples: -1}]", "parts: [{rows: [[x, '1']]}]", "parts: [{}]\nmore: 1"),
        ):
            (pipeline / "training.yaml").write_text(text, encoding="utf-8")
            with pytest.raises(UserError, match=r"training\.yaml: was changed after `export`"):
                fit(Config.model_validate(settings), tmp_path / "bad", stages=("denoiser",))


def test_a_card_is_of_the_run_that_was_exported(run: Path, tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline"
    export(run, pipeline)
    write_lineage([Part(samples=3_000), Part(samples=36)], pipeline)
    asked = ["evaluate", str(pipeline), "--run", str(run), "--out", str(tmp_path / "out"), "--card"]
    found = (
        r"was exported after 3,000 \+ 36 training samples, but the run has 40; export the run again"
    )
    with pytest.raises(UserError, match=found):
        main(asked)
    assert not (tmp_path / "out").exists()
    assert [part.samples for part in read_lineage(pipeline)] == [3_000, 36]


def test_a_run_without_a_log_has_a_card(run: Path, tmp_path: Path) -> None:
    pipeline, bare = tmp_path / "pipeline", tmp_path / "bare"
    shutil.copytree(run, bare)
    (bare / "loss.csv").unlink()
    export(bare, pipeline)
    write_card(pipeline, run=bare, figures=FEW_FIGURES, sheets=tmp_path)
    assert "40 samples in" in (pipeline / "README.md").read_text(encoding="utf-8")
    assert (pipeline / "loss.png").exists()


def test_judges_of_domains_see_filtered_photographs(run: Path) -> None:
    photos = open_run_photos(run)
    assert photos is not None
    for plain, posters in (
        (photos.held_out(), photos.held_out(filters=["poster"])),
        (photos.training(20), photos.training(20, filters=["poster"])),
    ):
        assert plain.labels.tolist() == posters.labels.tolist()
        changed = abs(plain.images.astype(int) - posters.images).mean(axis=(1, 2, 3))
        assert (changed > 4).all()


def test_samples_are_counted_from_the_very_first_run() -> None:
    rows = [["64.000", "0.5"], ["128.000", "0.4"]]
    parts = [Part(), Part(samples=130_000, rows=rows), Part(samples=64_000, rows=rows[:1])]
    assert [row[0] for row in table_of(parts)] == ["64", "128", "194"]


def _probes(run: Path) -> list[str]:
    return [row["probe"] for row in read_log(run / "loss.csv") if row["probe"]]


def _probes_in(card: str) -> list[str]:
    table = card[card.index("| thousand samples |") :].split("\n\n")[0].splitlines()[2:]
    return [line.split("|")[-2].strip() for line in table]


_SPEED = (
    *("import_s", "load_s", "images_per_s", "threads", "batch_size"),
    *("num_inference_steps", "dtype"),
)
FEW_FIGURES = {"size_mb": 1, "speed": dict.fromkeys(_SPEED, 1), "sheets": {}}
# Eight of eleven: ten while it learnt and the last.
PROBES_SHOWN = {0, 1, 3, 4, 6, 7, 9, 10}


def test_the_command_names_the_settings_that_ship_only_where_they_were_used() -> None:
    shipped = with_source(load_config(EMBEDDED_SETTINGS, {}), {"source": "ORG/PHOTOS"})
    assert "--settings train/generator/embedded.yaml --data" in training_command(shipped, samples=8)
    fit = shipped.fit.model_copy(update={"unet_lr": 1e-5})
    first, *others = shipped.data.sources
    sources = (first.model_copy(update={"share": 0.5}), *others)
    data = shipped.data.model_copy(update={"sources": sources})
    for changes in ({"fit": fit}, {"data": data}):
        printed = training_command(shipped.model_copy(update=changes), samples=8)
        assert "--settings SETTINGS.yaml --data" in printed
    asked = {"row_filter": "license != 'none'"}
    printed = training_command(with_source(shipped, asked), samples=8)
    assert "--settings train/generator/embedded.yaml --data" in printed
    assert shlex.split(printed)[-4:] == ["--filter", "license != 'none'", "--samples", "8"]
    sources = (first, others[0].model_copy(update=asked), *others[1:])
    data = shipped.data.model_copy(update={"sources": sources})
    printed = training_command(shipped.model_copy(update={"data": data}), samples=8)
    assert "--settings SETTINGS.yaml --data" in printed
    assert "--filter" not in printed, "it would be asked of the other source too"
    fit = fit.model_copy(update={"start_from": "factory/embedded", "gap_every": 7})
    printed = training_command(shipped.model_copy(update={"fit": fit}), samples=8)
    assert "--settings train/generator/embedded.yaml --data" in printed, "lower rates of a start"


def test_real_sets_need_held_out_photographs(run: Path, tmp_path: Path) -> None:
    digits = tmp_path / "run"
    digits.mkdir()
    (digits / "config.json").write_text(Config().model_dump_json(), encoding="utf-8")
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "model_index.json").write_text("{}", encoding="utf-8")
    asked = ["evaluate", str(tmp_path / "pipeline"), "--run", str(digits)]
    with pytest.raises(
        UserError, match="--real requires a run with held-out photographs of the focus classes"
    ):
        main([*asked, "--out", str(tmp_path / "figures"), "--real", "ORG/NAME"])
