"""Gates: their measures, and datasets that change in nothing but their new columns."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from build_parts import SETTINGS, FakeRenderer, combination, recipe, tree
from PIL import Image
from test_eval_score import write_run
from tiny_clip import save_clip, save_image_classifier, save_safety_checker, save_siglip

from eval import load_classifier
from factory.builder.build import build
from factory.cli.main import main
from factory.common.errors import UserError
from factory.common.program import command
from factory.common.row_images import read_image
from factory.data.columns import DIFFERENCE_HASH
from factory.data.open import open_dataset
from factory.gates import run as gate_run
from factory.gates import stage
from factory.gates.duplicates import FLAG, OF, OTHER_LABEL, NearDuplicates, difference_hash
from factory.gates.run import run_gates
from factory.models.clip import load_clip
from factory.shards.manifest import read_manifest
from factory.shards.stamp import inspect

PIXELS = 24
COLUMNS = {FLAG: "bool", OF: "int64", OTHER_LABEL: "bool", DIFFERENCE_HASH: "int64"}


class RepeatingRenderer(FakeRenderer):
    """Generates smooth images; every fourth one is the first with a little noise."""

    def render(self, rows: Sequence[Any], *, batch_size: int, **options: Any) -> Any:
        return [self._generate(row) for row in rows]

    def _generate(self, row: Any) -> np.ndarray:
        number = 0 if row.index % 4 == 0 else row.index
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((PIXELS, PIXELS), Image.Resampling.BICUBIC), np.int16)
        noise = np.random.default_rng(row.seed).integers(-3, 4, smooth.shape)
        return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def generate(recipes: Any, out: Path) -> None:
    build(recipes, out, settings=SETTINGS, show_progress=False, renderer_factory=RepeatingRenderer)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A dataset of two configs, their union and an equal share."""
    base = recipe(tmp_path, "base", output={"size": PIXELS})
    domain = recipe(
        tmp_path,
        "domain",
        prompt="a {d} {class}",
        variables={"d": ["x", "y"]},
        output={"size": PIXELS},
    )
    both = combination(tmp_path, "both", ["base", "domain"])
    share = combination(tmp_path, "share", ["base", "domain"], images_per_class=4)
    generate([base, domain, both, share], tmp_path / "out")
    return tmp_path / "out"


def rows_of(out: Path, config: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for path in sorted((out / "data" / config).iterdir()):
        found += pq.read_table(path).to_pylist()
    return found


def test_near_duplicates_are_flagged_and_the_first_is_kept(made: Path) -> None:
    report = run_gates(made, [NearDuplicates()], show_progress=False)
    assert report.columns == (FLAG, OF, OTHER_LABEL, DIFFERENCE_HASH)
    for config in ("base", "domain"):
        rows = rows_of(made, config)
        expected = [row["index"] % 4 == 0 and row["index"] > 0 for row in rows]
        assert [row[FLAG] for row in rows] == expected
        assert [row[OF] for row in rows] == [0 if flag else None for flag in expected]
        hashes = [difference_hash(read_image(row["image"], where="")) for row in rows]
        assert [row[DIFFERENCE_HASH] % 2**64 for row in rows] == hashes
        # Image 0 is a cat; its repeats 4, 8 and 12 are a dog, a ship and a cat.
        noise = [row["index"] in (4, 8) for row in rows]
        assert [row[OTHER_LABEL] for row in rows] == noise
    assert report.flagged[FLAG] >= 6
    assert 4 <= report.flagged[OTHER_LABEL] < report.flagged[FLAG]
    assert len(rows_of(made, "share")) == 12
    names = [
        row["class"] for config in ("base", "domain", "share") for row in rows_of(made, config)
    ]
    assert report.class_counts == {name: names.count(name) for name in set(names)}


def test_images_and_row_order_are_unchanged(made: Path) -> None:
    before = {config: rows_of(made, config) for config in ("base", "domain", "share")}
    old = read_manifest(made)
    run_gates(made, [NearDuplicates()], show_progress=False)
    for config, rows in before.items():
        now = rows_of(made, config)
        assert [{k: v for k, v in row.items() if k not in COLUMNS} for row in now] == rows
    assert not (made / ".gating").exists()
    new = read_manifest(made)
    assert old is not None and new is not None
    for name, entry in new.configs.items():
        assert entry.fingerprint == old.configs[name].fingerprint
        for shard in entry.shards:
            found = inspect(made / shard.file)
            assert (found.sha256, found.fault, found.rows) == (shard.sha256, None, shard.rows)
            assert found.stamp is not None and found.stamp.config == name
    gate = new.gates["near_duplicates"]
    assert gate.columns == COLUMNS
    assert gate.thresholds == {"bits": 4.0, "levels": 8.0}


def test_the_set_reads_with_its_columns_and_filters(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert len(datasets.load_dataset(str(made), "both", split="train")) == 30
    run_gates(made, [NearDuplicates()], show_progress=False)
    loaded = datasets.load_dataset(str(made), "both", split="train")
    assert sum(loaded[FLAG]) == 6
    kept = open_dataset(str(made), config_name="both", row_filter=f"not {FLAG}")
    assert len(kept.dataset) == 24
    card = (made / "README.md").read_text()
    assert (
        "`difference_hash`, `near_duplicate`, `near_duplicate_of`, "
        "`near_duplicate_other_label` | difference hash" in card
    )
    generated = card.split("## Columns")[1].split("Measured after generation")[0]
    assert FLAG not in generated


def test_twice_is_once(made: Path) -> None:
    run_gates(made, [NearDuplicates()], show_progress=False)
    first = tree(made)
    run_gates(made, [NearDuplicates()], show_progress=False)
    assert tree(made) == first


def test_a_gated_dataset_passes_verify(made: Path) -> None:
    from factory.inspection.verify import verify_set

    run_gates(made, [NearDuplicates()], show_progress=False)
    report = verify_set(made)
    assert not report.faults and report.rows == 42


def test_growing_keeps_measured_values_and_new_rows_are_null(made: Path, tmp_path: Path) -> None:
    run_gates(made, [NearDuplicates()], show_progress=False)
    before = rows_of(made, "base")
    larger = recipe(tmp_path, "base", output={"size": PIXELS}, images_per_class=9)
    generate(larger, made)
    grown = rows_of(made, "base")
    assert len(grown) == 27 and grown[:15] == before
    assert all(row[FLAG] is None for row in grown[15:])
    manifest = read_manifest(made)
    assert manifest is not None and "near_duplicates" in manifest.gates
    run_gates(made, [NearDuplicates()], show_progress=False)
    again = rows_of(made, "base")
    assert [row[FLAG] for row in again] == [
        row["index"] % 4 == 0 and row["index"] > 0 for row in again
    ]
    # Grown and then measured, or measured, grown and measured again: the same files.
    other = tmp_path / "other"
    base = recipe(tmp_path, "base", output={"size": PIXELS}, images_per_class=9)
    generate(base, other)
    run_gates(other, [NearDuplicates()], show_progress=False)
    generate(
        recipe(tmp_path, "more", output={"size": PIXELS}, variables={"z": ["1"]}, prompt="{z}"),
        other,
    )
    assert [row[FLAG] for row in rows_of(other, "base")] == [row[FLAG] for row in again]
    assert {row[FLAG] for row in rows_of(other, "more")} == {None}


@pytest.mark.parametrize("point", ["staging", "linking", "replacing", "card", "tidying"])
def test_a_stopped_pass_is_resumed(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    import shutil

    whole = tmp_path / "whole"
    shutil.copytree(made, whole)
    run_gates(whole, [NearDuplicates()], show_progress=False)
    before = tree(made)

    class Stop(Exception):
        pass

    calls = {"count": 0}

    def stop_after(real: Any, passes: int) -> Any:
        def stopping(*args: Any, **options: Any) -> Any:
            calls["count"] += 1
            if calls["count"] > passes:
                raise Stop
            return real(*args, **options)

        return stopping

    with monkeypatch.context() as patch:
        if point == "staging":
            patch.setattr(gate_run, "write_shard", stop_after(gate_run.write_shard, 2))
        elif point == "linking":
            patch.setattr(stage, "_link", stop_after(stage._link, 3))
        elif point == "replacing":
            patch.setattr(stage, "replace", stop_after(None, 0))
        elif point == "card":
            patch.setattr(stage, "publish", stop_after(None, 0))
        else:
            patch.setattr(stage, "remove_left_over", stop_after(None, 0))
        with pytest.raises(Stop):
            run_gates(made, [NearDuplicates()], show_progress=False)
    if point in ("staging", "linking", "replacing"):
        now = tree(made)
        assert {path: now[path] for path in before} == before, "readers see no half of it"
    run_gates(made, [NearDuplicates()], show_progress=False)
    assert tree(made) == tree(whole)


@pytest.mark.parametrize("save", [save_clip, save_siglip])
def test_clip_score_is_the_cosine_of_image_and_prompt(
    made: Path, tmp_path: Path, save: Any
) -> None:
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    folder = save(tmp_path / "model")
    main(["gate", str(made), "--clip-score", str(folder), "--batch-size", "4", "--quiet"])
    rows = rows_of(made, "domain")
    model = AutoModel.from_pretrained(folder).eval()
    options: dict[str, Any] = {"padding": True}
    if model.config.model_type == "siglip":
        options = {"padding": "max_length", "max_length": 64}
    tokens = AutoTokenizer.from_pretrained(folder)(
        [row["prompt"] for row in rows], return_tensors="pt", **options
    )
    opened = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in rows]
    pixels = AutoImageProcessor.from_pretrained(folder)(images=opened, return_tensors="pt")
    with torch.inference_mode():
        output = model(**{**tokens, **pixels})
    cosines = (output.image_embeds * output.text_embeds).sum(dim=1)
    assert [row["clip_score"] for row in rows] == pytest.approx(cosines.tolist(), abs=1e-5)
    manifest = read_manifest(made)
    assert manifest is not None
    entry = manifest.gates["clip_score"]
    assert entry.model == str(folder) and len(entry.revision or "") == 40


def test_rows_that_are_measured_are_not_measured_again(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from factory.gates.clip_score import ClipScore

    folder = save_clip(tmp_path / "model")
    measured: list[int] = []
    real = ClipScore.measure

    def counting(self: ClipScore, rows: Any) -> Any:
        measured.append(len(rows))
        return real(self, rows)

    monkeypatch.setattr(ClipScore, "measure", counting)
    command = ["gate", str(made), "--clip-score", str(folder), "--quiet"]
    main(command)
    assert sum(measured) == 15 + 15 + 12
    measured.clear()
    main([*command, "--near-duplicates"])
    assert measured == []
    generate(recipe(tmp_path, "base", output={"size": PIXELS}, images_per_class=6), made)
    main(command)
    assert sum(measured) == 3
    measured.clear()
    other = save_siglip(tmp_path / "other")
    main(["gate", str(made), "--clip-score", str(other), "--quiet"])
    assert sum(measured) == 18 + 15 + 12  # another model says other things of every row
    manifest = read_manifest(made)
    assert manifest is not None and manifest.gates["clip_score"].model == str(other)


def test_the_class_margin_compares_the_own_class_with_the_nearest_other(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By a run, whose classes are in another order, and by CLIP; `train --filter` reads it."""
    run = write_run(tmp_path / "run", names=["ship", "bird", "cat", "dog"])
    main(["gate", str(made), "--class-margin", str(run), "--quiet", "--batch-size", "4"])
    noted = capsys.readouterr().err
    rows = rows_of(made, "base")
    logits = load_classifier(run).checkpoint.model
    transform = load_classifier(run).transform.apply
    opened = [Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in rows]
    with torch.inference_mode():
        scores = logits(torch.stack([transform(one) for one in opened]))[:, [2, 3, 0]]
    names = ["cat", "dog", "ship"]
    for row, one in zip(rows, scores.tolist(), strict=True):
        own = one[row["label"]]
        rest = {name: value for name, value in zip(names, one, strict=True) if value != own}
        assert row["class_margin"] == pytest.approx(own - max(rest.values()), abs=1e-4)
        assert row["nearest_other_class"] == max(rest, key=rest.__getitem__)
    every = [row for config in ("base", "domain", "share") for row in rows_of(made, config)]
    below = sum(row["class_margin"] <= 0 for row in every)
    assert f"{below} of {len(every)} measured images look at least as much like another" in noted
    kept = open_dataset(str(made), config_name="base", row_filter="class_margin > 0")
    assert len(kept.dataset) == sum(row["class_margin"] > 0 for row in rows)
    model = save_clip(tmp_path / "clip")
    main(["gate", str(made), "--class-margin", str(model), "--quiet"])
    clip = load_clip(str(model))
    texts = clip.embed_texts([f"a photo of a {name}" for name in names])
    with torch.inference_mode():
        cosines = clip.embed_images(torch.stack([clip.pixels(one) for one in opened])) @ texts.T
    for row, one in zip(rows_of(made, "base"), cosines.tolist(), strict=True):
        own = one.pop(row["label"])
        assert row["class_margin"] == pytest.approx(own - max(one), abs=1e-5)
    card = (made / "README.md").read_text()
    assert "cosine similarity with a photo of a CLASS: own class minus nearest other" in card


def test_a_class_margin_needs_the_classes(made: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", names=["cat", "bird"])
    with pytest.raises(UserError, match=r"run: has no class for dog, ship of the dataset \(it has"):
        main(["gate", str(made), "--class-margin", str(run), "--quiet"])
    generate(recipe(tmp_path, "one", classes=["cat"]), tmp_path / "one")
    with pytest.raises(UserError, match="--class-margin: the dataset has a single class"):
        main(["gate", str(tmp_path / "one"), "--class-margin", str(run), "--quiet"])


@pytest.mark.parametrize(("threshold", "flag"), [(-2.0, True), (2.0, False)])
def test_safety_checker_flags_and_never_blackens(
    made: Path, tmp_path: Path, threshold: float, flag: bool
) -> None:
    folder = save_safety_checker(tmp_path / "checker", threshold=threshold)
    before = [row["image"] for row in rows_of(made, "base")]
    main(["gate", str(made), "--safety", str(folder), "--quiet"])
    for option in (["--unsafe-threshold", "0.5"], ["--unsafe-label", "nsfw"]):
        with pytest.raises(UserError, match="is a safety checker, which decides by itself; remove"):
            main(["gate", str(made), "--safety", str(folder), *option])
    rows = rows_of(made, "base")
    assert [row["unsafe"] for row in rows] == [flag] * 15
    assert [row["image"] for row in rows] == before


def test_any_classifier_flags_by_its_unsafe_classes(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_image_classifier(tmp_path / "classifier", ["normal", "nsfw", "drawing"])
    main(["gate", str(made), "--safety", str(folder), "--quiet", "--json"])
    printed = json.loads(capsys.readouterr().out)
    rows = [row for config in ("base", "domain", "share") for row in rows_of(made, config)]
    assert all(row["unsafe"] == (row["unsafe_score"] >= 0.5) for row in rows)
    assert printed["flagged"] == {"unsafe": sum(row["unsafe"] for row in rows)}
    scores = [row["unsafe_score"] for row in rows]
    options = [
        "--unsafe-label",
        "normal",
        "--unsafe-label",
        "drawing",
        "--unsafe-threshold",
        "0.25",
    ]
    main(["gate", str(made), "--safety", str(folder), "--quiet", *options])
    rows = [row for config in ("base", "domain", "share") for row in rows_of(made, config)]
    assert [row["unsafe_score"] for row in rows] == pytest.approx(
        [1 - one for one in scores], abs=1e-5
    )
    assert all(row["unsafe"] == (row["unsafe_score"] >= 0.25) for row in rows)
    plain = save_image_classifier(tmp_path / "plain", ["cat", "dog"])
    with pytest.raises(
        UserError, match=r"none of its classes has a common name for unsafe \(cat, dog\)"
    ):
        main(["gate", str(made), "--safety", str(plain)])
    with pytest.raises(UserError, match=r"--unsafe-label fox: .* has: cat, dog"):
        main(["gate", str(made), "--safety", str(plain), "--unsafe-label", "fox"])


def test_invalid_gate_input_is_reported(made: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ([str(made)], "choose a gate"),
        (
            [str(tmp_path / "none"), "--near-duplicates"],
            f"directory not found; name a directory that `{command('build')}` wrote",
        ),
        ([str(made), "--clip-score", "./nowhere"], "--clip-score ./nowhere: cannot be loaded"),
        (
            [str(made), "--near-duplicates", "--duplicate-bits", "99"],
            "--duplicate-bits 99: expected 0 to 64",
        ),
        ([str(made), "--duplicate-bits", "3"], "--duplicate-bits needs --near-duplicates; add it"),
        ([str(made), "--marks", "x", "--duplicate-levels", "0.0"], "levels needs --near-dup"),
        ([str(made), "--marks", "x", "--unsafe-threshold", "0.5"], "threshold needs --safety"),
        ([str(made), "--marks", "x", "--unsafe-label", "nsfw"], "--unsafe-label needs --safety"),
        ([str(made), "--safety", "x", "--unsafe-threshold", "nan"], "nan: expected 0 to 1"),
    ):
        with pytest.raises(UserError, match=message):
            main(["gate", *arguments])
    shard = next((made / "data" / "base").iterdir())
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"differs from the file that manifest\.json lists"):
        main(["gate", str(made), "--near-duplicates", "--quiet"])


def test_a_variable_with_a_gates_name_is_refused(tmp_path: Path) -> None:
    generate(
        recipe(
            tmp_path, "base", output={"size": 8}, prompt="{unsafe}", variables={"unsafe": ["a"]}
        ),
        tmp_path / "out",
    )
    folder = save_safety_checker(tmp_path / "checker", threshold=2.0)
    with pytest.raises(
        UserError, match="has a variable unsafe, which is also the name of a gate's"
    ):
        main(["gate", str(tmp_path / "out"), "--safety", str(folder), "--quiet"])


def test_the_command_counts_label_noise_and_cut_prompts(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["gate", str(made), "--near-duplicates", "--quiet"])
    flagged = run_gates(made, [NearDuplicates()], show_progress=False).flagged
    same, noise = flagged[FLAG] - flagged[OTHER_LABEL], flagged[OTHER_LABEL]
    printed = (
        f"near-duplicates: {same} of an image of the same class, {noise} of an image of another"
    )
    assert printed in capsys.readouterr().out
    # The tiny model's tokenizer makes a token of every letter and reads 64 of them.
    prompt = ["a {class}", "a {class} " + "and a tree " * 6]
    generate(recipe(tmp_path, "long", prompt=prompt, images_per_class=20), tmp_path / "long")
    model = save_clip(tmp_path / "clip")
    main(["gate", str(tmp_path / "long"), "--clip-score", str(model), "--quiet", "--json"])
    seen = capsys.readouterr()
    assert "3 of 6 distinct prompts exceed the limit of 64 tokens of" in seen.err
    assert "3 of 6 distinct prompts" in json.loads(seen.out)["notes"][0]
    main(["gate", str(made), "--clip-score", str(model), "--quiet"])
    assert "exceed the limit" not in capsys.readouterr().err
