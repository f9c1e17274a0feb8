"""A tiny training run: killed, resumed, exported, loaded; and the embedded pipeline."""

import json
import re
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from photo_parts import photo_source, small_sheets, write_photos
from quick_python import python
from safetensors.torch import load_file

from factory.common.errors import UserError
from train.generator.cli import main
from train.generator.config import Config
from train.generator.images.data_summary import data_lines
from train.generator.network.sampling import digit_prompts, generate, load_pipeline
from train.generator.probe import run_probe
from train.generator.release.card import training_command
from train.generator.release.export import export, folder_bytes
from train.generator.training import diffusion
from train.generator.training.class_gap import class_gap
from train.generator.training.fit import fit
from train.generator.training.lineage import read_lineage
from train.generator.training.loss_log import read_log
from train.generator.training.run_config import check_config, save_config

EMBEDDED = Path(__file__).parent.parent / "factory" / "embedded"
TINY = {
    "data": {"sources": [{"images": 40}]},
    "latents": {"channels": 4, "images": 40},
    "text": {"width": 16, "layers": 1, "heads": 2, "vocabulary": 600},
    "unet": {"channels": [16, 16], "heads": [1, 2], "time_width": 32, "norm_groups": 4},
    "fit": {"samples": 400, "batch_size": 4, "checkpoint_minutes": 0, "log_every": 1},
    "decoder": {"channels": [8, 8, 8], "blocks": [1, 1, 1], "steps": 2, "batch_size": 4},
}


@pytest.fixture(autouse=True, scope="module")
def _a_process_of_its_own() -> Iterator[None]:
    """Reset threads and precision, which a run sets for its process; measure little."""
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)
    with pytest.MonkeyPatch.context() as patch:
        small_sheets(patch)
        patch.setattr(diffusion, "class_gap", partial(class_gap, size=8))
        patch.setattr(run_probe, "PER_CLASS", 4)
        patch.setattr(run_probe, "EPOCHS", 2)
        patch.setattr(run_probe, "STEPS", 2)
        yield


@pytest.fixture(scope="module")
def killed_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A run that was killed after its first checkpoints, and the steps in the last one."""
    folder = tmp_path_factory.mktemp("generator")
    settings = folder / "tiny.yaml"
    settings.write_text(json.dumps(TINY), encoding="utf-8")
    run = folder / "run"
    command = [python(), "-m", "train.generator", "fit", "--out", str(run)]
    process = subprocess.Popen(
        [*command, "--settings", str(settings)], stderr=subprocess.PIPE, cwd=EMBEDDED.parents[1]
    )
    deadline = time.monotonic() + 120
    while not (run / "checkpoint.pt").exists() and time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before its first checkpoint"
        time.sleep(0.02)
    process.kill()
    _, said = process.communicate()
    assert re.search(rb"digits: [\d,]+ images, 10 classes: ", said), said
    return run, int(torch.load(run / "checkpoint.pt", weights_only=True)["step"])


@pytest.fixture(scope="module")
def finished_run(killed_run: tuple[Path, int]) -> Path:
    run, step = killed_run
    lengths = {**TINY["fit"], "samples": (step + 3) * 4, "sheet_every": 10_000}
    config = Config.model_validate({**TINY, "fit": lengths})
    fit(config, run, stages=("denoiser", "decoder"))
    return run


def test_a_killed_run_resumes_from_its_checkpoint(
    killed_run: tuple[Path, int], finished_run: Path
) -> None:
    samples = [int(row["samples"]) for row in read_log(finished_run / "loss.csv")]
    last = killed_run[1] + 3
    assert samples == [4 * step for step in range(1, last + 1)]
    assert torch.load(finished_run / "checkpoint.pt", weights_only=True)["step"] == last
    assert not list(finished_run.glob("*tmp*"))


def test_a_run_folder_refuses_other_settings(finished_run: Path) -> None:
    other = Config.model_validate({**TINY, "latents": {"channels": 5, "images": 40}})
    with pytest.raises(UserError, match="latents"):
        fit(other, finished_run, stages=("denoiser",))


def test_settings_are_never_seen_half_written(tmp_path: Path) -> None:
    config = Config.model_validate(TINY)
    save_config(config, tmp_path)
    over = threading.Event()

    def write_on() -> None:
        while not over.is_set():
            save_config(config, tmp_path)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        for _ in range(500):
            check_config(config, tmp_path)
    finally:
        over.set()
        writer.join()


def test_a_corrected_filter_is_accepted(tmp_path: Path) -> None:
    photos, run = write_photos(tmp_path / "photos"), tmp_path / "run"
    settings = tmp_path / "tiny.yaml"
    settings.write_text(json.dumps({**TINY, "fit": {**TINY["fit"], "samples": 8}}))
    command = ["fit", "--out", str(run), "--settings", str(settings), "--stage", "denoiser"]
    refusal = "digits are rendered and have no rows to filter; use another source"
    embedded = str(EMBEDDED.parents[1] / "train" / "generator" / "embedded.yaml")
    for asked in ([], ["--data", "digits"], ["--settings", embedded, "--data", "digits"]):
        with pytest.raises(UserError, match=refusal):
            main([*command, *asked, "--filter", "view == 'ground'"])
    command += ["--data", str(photos), "--name-column", "name", "--filter"]
    message = r"photos: row_filter or --filter .*: no column veiw; did you mean view"
    with pytest.raises(UserError, match=message):
        main([*command, "veiw == 'ground'"])
    main([*command, "view == 'ground'"])
    config = Config.model_validate_json((run / "config.json").read_text())
    assert "(`view == 'ground'`)" in data_lines(config, [])[1]
    settings_of = ["--settings", "SETTINGS.yaml", "--data", "DIR_OR_HUB_ID"]
    printed = shlex.split(training_command(config, samples=8))
    assert printed[printed.index("RUN") + 1 :] == [
        *settings_of,
        *("--filter", "view == 'ground'"),
        *("--samples", "8"),
    ]
    with pytest.raises(UserError, match=r"differs in data\.sources\.0\.row_filter \(view =="):
        main([*command, "domain == 'photo'"])


def test_an_export_is_a_stock_pipeline(finished_run: Path, tmp_path: Path) -> None:
    target = tmp_path / "pipeline"
    export(finished_run, target)
    export(finished_run, target)
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]
    pipeline = load_pipeline(target)
    assert {part.dtype for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder)} == {
        torch.float32
    }
    images = generate(pipeline, ["a seven", "ünknown words 漢"], guidance_scale=2, steps=2)
    assert images.shape == (2, 32, 32, 3)
    assert "seven" in (target / "words.txt").read_text(encoding="utf-8").split()


def test_an_export_replaces_nothing_but_an_export(finished_run: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "other.safetensors").write_bytes(b"weights")
    for place in (finished_run, models, models / "other.safetensors"):
        with pytest.raises(
            UserError, match=r"is not a generator that .* export` wrote, and would be replaced"
        ):
            export(finished_run, place)
    assert (finished_run / "checkpoint.pt").exists()
    assert (models / "other.safetensors").read_bytes() == b"weights"


def test_a_run_of_digits_and_photographs_is_probed(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    source = photo_source(photos, mirror=True, held_out=3, filtered=0.2, filters={"poster": 1})
    values = {
        **TINY,
        "data": {"image_size": 32, "sources": [{"images": 20}, source.model_dump()]},
        "fit": {**TINY["fit"], "samples": 16, "batch_size": 8, "gap_every": 1},
    }
    run = tmp_path / "run"
    fit(Config.model_validate(values), run, stages=("denoiser", "decoder"))
    rows = read_log(run / "loss.csv")
    assert [row["samples"] for row in rows] == ["8", "16", "16"]
    assert all(row["gap_950"] for row in rows[:2])
    assert 0 <= float(rows[-1]["probe"]) <= 1
    assert torch.load(run / "best.pt", weights_only=True)["samples"] == 16
    export(run, tmp_path / "pipeline")
    words = (tmp_path / "pipeline" / "words.txt").read_text(encoding="utf-8").split()
    assert {"cat", "ship", "seven"} <= set(words)


def test_a_run_starts_from_an_exported_pipeline(finished_run: Path, tmp_path: Path) -> None:
    pipeline, run = tmp_path / "pipeline", tmp_path / "run"
    export(finished_run, pipeline)
    lengths = {**TINY["fit"], "samples": 8, "unet_lr": 0.0, "text_lr": 0.0, "weight_decay": 0.0}
    values = {**TINY, "fit": {**lengths, "start_from": str(pipeline)}}
    fit(Config.model_validate(values), run, stages=("denoiser", "decoder"))
    start = torch.load(finished_run / "checkpoint.pt", weights_only=True)
    before = start["average"]
    after = torch.load(run / "checkpoint.pt", weights_only=True)["average"]
    assert before.keys() == after.keys()
    for name, value in after.items():
        # Nothing was learnt at rates of zero: what the pipeline's float16 files kept is there.
        assert torch.allclose(value, before[name].half().float(), atol=1e-6), name
    shutil.move(pipeline, moved := tmp_path / "moved")
    (run / "decoder.pt").unlink()
    export(run, tmp_path / "again")
    printed = [part.samples for part in read_lineage(tmp_path / "again")]
    assert printed == [start["samples"], 8], "what went before is known without its run folder"
    vae = "vae/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "again" / vae).read_bytes() == (moved / vae).read_bytes()
    still = {**values["fit"], "samples": 10}
    rates = {**TINY["decoder"], "lr": 0.0}
    fit(
        Config.model_validate({**values, "fit": still, "decoder": rates}),
        run,
        stages=("denoiser", "decoder"),
    )
    kept = load_file(moved / vae)
    for name, value in torch.load(run / "decoder.pt", weights_only=True)["model"].items():
        assert torch.allclose(value, kept[name].float(), atol=1e-3), "it begins at the start's"
    shutil.move(moved, pipeline)
    for same in (f"{pipeline}/", None):
        again = {**values, "fit": {**lengths, "samples": 12, "start_from": same}}
        fit(Config.model_validate(again), run, stages=("denoiser",))
    saved = Config.model_validate_json((run / "config.json").read_text(encoding="utf-8"))
    assert saved.fit.start_from == f"{pipeline}/", "kept where a start does not name it"
    begun = tmp_path / "begun"
    fit(Config.model_validate(TINY | {"fit": lengths}), begun, stages=("denoiser",))
    with pytest.raises(UserError, match="has been trained already and did not start from"):
        fit(Config.model_validate(values), begun, stages=("denoiser",))
    (begun / "checkpoint.pt").unlink()
    (begun / "words.txt").write_text("others\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"was started with another words\.txt than that of"):
        fit(Config.model_validate(values), begun, stages=("denoiser",))
    fit(Config.model_validate(TINY | {"fit": lengths}), begun, stages=("denoiser",))
    other = Config.model_validate({**values, "unet": {**TINY["unet"], "time_width": 16}})
    with pytest.raises(UserError, match="does not fit the run's settings"):
        fit(other, tmp_path / "other", stages=("denoiser",))


def test_export_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json"):
        export(tmp_path, tmp_path / "to")


def test_the_embedded_pipeline_follows_the_prompt() -> None:
    assert folder_bytes(EMBEDDED) <= 25_000_000
    pipeline = load_pipeline(EMBEDDED)
    prompts, _ = digit_prompts("an image of a handwritten {}", per_class=1)
    images = generate(pipeline, prompts[:3], guidance_scale=3, seed=5, steps=4)
    again = generate(pipeline, prompts[:3], guidance_scale=3, seed=5, steps=4)
    assert np.array_equal(images, again)
    same_noise = (
        generate(pipeline, ["a one"], guidance_scale=3, steps=4),
        generate(pipeline, ["a zero"], guidance_scale=3, steps=4),
    )
    assert not np.array_equal(*same_noise)
    chalk = generate(pipeline, ["a chalk drawing of a seven"] * 4, guidance_scale=3, steps=8)
    marker = generate(pipeline, ["a marker drawing of a seven"] * 4, guidance_scale=3, steps=8)
    assert chalk.mean() + 40 < marker.mean()
