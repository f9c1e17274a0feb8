"""Zero-shot scores, compared with transformers' own pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_eval_score import NAMES, NUM_IMAGES, write_real
from test_eval_table import scores
from tiny_clip import save_clip, save_siglip
from tiny_models import save_stable_diffusion

from eval.cli import main
from eval.clip import class_vectors, score_zero_shot
from eval.prompts import PROMPTS, find_prompts
from eval.real import open_real
from eval.scores_io import read_scores, write_scores
from factory.common.errors import UserError
from factory.models.clip import load_clip

SAVE: dict[str, Callable[[Path], Path]] = {"clip": save_clip, "siglip": save_siglip}


@pytest.fixture(scope="module", params=SAVE)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SAVE[request.param](tmp_path_factory.mktemp("models") / f"clip-{request.param}")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    return write_real(tmp_path_factory.mktemp("real") / "real")


@pytest.mark.parametrize("template", ["a photo of a {class}.", "an image of a {class}"])
def test_probabilities_are_those_of_the_pipeline(
    model: Path, real: tuple[Path, np.ndarray, np.ndarray], template: str
) -> None:
    from transformers import pipeline

    folder, pixels, labels = real
    theirs = pipeline("zero-shot-image-classification", model=str(model), device="cpu")
    reported = theirs(
        [Image.fromarray(one) for one in pixels],
        candidate_labels=NAMES,
        hypothesis_template=template.replace("{class}", "{}"),
    )
    scored = score_zero_shot(
        load_clip(str(model)),
        open_real(str(folder)),
        prompts=find_prompts(template),
        batch_size=8,
        threads=1,
    )
    expected = [[one["label"] for one in image[:5]] for image in reported]
    found = [[NAMES[place] for place in image] for image in scored.predictions.ranked]
    assert found == expected
    assert len({image[0] for image in found}) > 1
    likely = np.array([[one["score"] for one in image[:5]] for image in reported])
    np.testing.assert_allclose(scored.predictions.probabilities, likely, atol=1e-5)
    right = sum(image[0] == NAMES[label] for image, label in zip(expected, labels, strict=True))
    assert scored.scores.metrics.num_correct == right


def test_ensemble_is_the_mean_of_unit_vectors(model: Path) -> None:
    loaded = load_clip(str(model))
    prompts = PROMPTS["clip-cifar"]
    found = class_vectors(loaded, prompts, ["cat", "dog"])
    for place, word in enumerate(["cat", "dog"]):
        texts = [template.replace("{class}", word) for template in prompts.templates]
        mean = loaded.embed_texts(texts).mean(dim=0)
        torch.testing.assert_close(found[place], mean / mean.norm(), rtol=1e-4, atol=1e-5)


def test_clips_own_prompts_are_named_in_full() -> None:
    cifar = PROMPTS["clip-cifar"].templates
    assert len(set(cifar)) == 18
    assert {"a photo of a {class}.", "a low contrast photo of the {class}."} <= set(cifar)
    assert "a photo of the big {class}." in cifar
    eurosat = PROMPTS["clip-eurosat"]
    assert eurosat.templates[0] == "a centered satellite photo of {class}."
    assert eurosat.words(["SeaLake", "annual_crop"]) == ["lake or sea", "annual crop land"]
    assert PROMPTS["paper"].templates == ("an image of a {class}",)
    words = PROMPTS["paper"].words(["AnnualCrop", "aquarium_fish", "cat"])
    assert words == ["annual crop", "aquarium fish", "cat"]


def test_rows_are_in_every_table(
    model: Path,
    real: tuple[Path, np.ndarray, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["clip", "--model", str(model), "--real", str(real[0]), "--out", str(tmp_path)])
    files = sorted(tmp_path.glob("scores-CLIP-*.json"))
    assert len(files) == 2
    found = read_scores(files[0])
    assert found.zero_shot is not None and found.training is None
    assert found.model.architecture == f"CLIP-{model.name.removeprefix('clip-')}"
    assert (found.scoring, len(found.zero_shot.revision)) == ("standard", 40)
    assert found.real.num_images == NUM_IMAGES
    for arch in ("resnet50", "vit"):
        one = scores("base-class", 0.5, arch=arch, real="real-test")
        same = one.real.model_copy(update={"fingerprint": found.real.fingerprint})
        write_scores(one.model_copy(update={"real": same}), tmp_path / f"{arch}.json")
    capsys.readouterr()
    main(["table", *map(str, tmp_path.glob("*.json"))])
    text = capsys.readouterr().out
    name = found.model.architecture
    for part in text.split("###")[1:]:
        rows = [line.split("|")[1].strip() for line in part.splitlines() if line.startswith("|")]
        assert rows[2:] == [
            f"{name} (clip-single prompts)",
            f"{name} (paper prompts)",
            "base-class",
        ]
    main(["table", *map(str, files)])
    assert f"{name} (paper prompts)" in capsys.readouterr().out


def test_a_label_map_words_the_prompts(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["Sea or Lake", "Forest", "Deep Forest"]
    real, *_ = write_real(tmp_path / "real", names=names)
    out, path = tmp_path / "out", tmp_path / "map.yaml"
    arguments = ["clip", "--model", str(model), "--real", str(real), "--out", str(out)]
    arguments += ["--prompts", "clip-eurosat"]
    main(arguments)
    assert "has no wording for Sea or Lake, Deep Forest; the class name" in capsys.readouterr().err
    path.write_text("Sea or Lake: SeaLake\nDeep Forest: Forest\n")
    main([*arguments, "--labels", str(path)])
    reported = capsys.readouterr().err
    assert "no wording" not in reported and "counted as one class: Forest, Deep Forest" in reported
    found = read_scores(next(out.iterdir()))
    assert found.labels.names == ["SeaLake", "Forest"] and found.labels.matched == "map"
    assert found.zero_shot is not None
    assert found.zero_shot.wordings == ["lake or sea", "forest"]
    assert np.asarray(found.metrics.confusion_matrix).sum(axis=1).tolist() == [10, 20]
    path.write_text("Sea: SeaLake\n")
    with pytest.raises(UserError, match="has no label 'Sea'; did you mean 'Sea or Lake'"):
        main([*arguments, "--labels", str(path)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prompts", "clip-cifer"), "unknown prompts; did you mean clip-cifar"),
        (("--prompts", "a {thing}"), r"only \{class\} is allowed"),
        (("--prompts", "a {class"), r"write \{class\}"),
        (("--model", "./nowhere"), "cannot be loaded"),
    ],
)
def test_bad_arguments_are_one_line(
    real: tuple[Path, np.ndarray, np.ndarray], options: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        main(["clip", "--model", "none", "--real", str(real[0]), *options])
    assert "\n" not in str(caught.value)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    save_stable_diffusion(tmp_path / "sd")
    with pytest.raises(UserError, match=r"--model .*text_encoder"):
        load_clip(str(tmp_path / "sd" / "text_encoder"))


def test_prompts_that_are_cut_are_counted(
    model: Path,
    real: tuple[Path, np.ndarray, np.ndarray],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["clip", "--model", str(model), "--real", str(real[0]), "--batch-size", "30"]
    arguments += ["--out", str(tmp_path), "--prompts", "a {class}"]
    main([*arguments, "--json", "--prompts", "a photo of a small " + "brown " * 10 + "{class}"])
    out, err = capsys.readouterr()
    assert "warning: 7 of 7 " in err
    files = [Path(one["file"]) for one in json.loads(out)["scores"]]
    assert sorted(files) == sorted(tmp_path.glob("scores-*.json"))
    found = [read_scores(path).zero_shot for path in tmp_path.glob("scores-*.json")]
    assert sorted(one.cut for one in found if one is not None) == [0, 7]
