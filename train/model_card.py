"""The card of a published model: training data, scores, and how to load it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from factory.common.errors import UserError
from factory.common.markup import cell, code, table_cell
from factory.common.scores_for_cards import ScoreFile, read_score_file
from factory.common.text import some
from factory.common.untrusted_files import read_json, read_yaml
from factory.common.whole_files import sha256
from factory.data.sampling_record import held_out_kind
from factory.models.small_stem import LOADING
from factory.models.timm_names import SUFFIX
from train.run_folder import CONFIG, CONFIG_JSON, WEIGHTS

SCORES = "scores-*.json"


def card_text(out: Path, *, repo_id: str) -> str:
    """Return the card of a run, `README.md`.

    Raises:
        UserError: A file of the run cannot be read.
    """
    run = _read(out / CONFIG)
    model = _read(out / CONFIG_JSON)
    scores = _scores(out)
    lines = ["---", _header(run, scores, repo_id=repo_id), "---", ""]
    lines += _body(run, model, scores, repo_id=repo_id, note=_weights_note(out / WEIGHTS))
    return "\n".join(lines).rstrip() + "\n"


def _header(run: dict[str, Any], scores: list[ScoreFile], *, repo_id: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    data = run["data"]
    generated = ["synthetic-data"] if held_out_kind(data) == "synthetic" else []
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=code(one.real.name),
            dataset_name=code(one.real.name),
            dataset_split=one.real.split and code(one.real.split),
            metric_type="accuracy",
            metric_name="top-1",
            metric_value=round(one.metrics.top1, 6),
        )
        for one in scores
    ]
    card = ModelCardData(
        library_name="timm",
        pipeline_tag="image-classification",
        tags=["timm", "image-classification", *generated, "data-factory"],
        datasets=[_hub_name(one) for one in data.get("sources") or [data] if one.get("commit")]
        or None,
        license="other",
        license_name="model-terms",
        model_name=repo_id.rpartition("/")[2] if results else None,
        eval_results=results or None,
    )
    return str(card.to_yaml())


def _registration(model: dict[str, Any]) -> list[str]:
    """Return the lines of Python without which timm does not know the architecture."""
    return [*LOADING, ""] if str(model["architecture"]).endswith(SUFFIX) else []


def _body(
    run: dict[str, Any],
    model: dict[str, Any],
    scores: list[ScoreFile],
    *,
    repo_id: str,
    note: dict[str, str],
) -> list[str]:
    names = [cell(name) for name in model["label_names"]]
    side = run["hyperparameters"]["image_size"]
    return [
        f"# {repo_id.rpartition('/')[2]}",
        "",
        f"`{run['model']}` of timm, {len(names)} classes ({some(names, 10)}), {side} x {side} "
        f"pixels. {_start(run)}",
        "",
        "## Use",
        "",
        "With timm (`pip install timm huggingface_hub`):",
        "",
        "```python",
        "import timm",
        "",
        *_registration(model),
        f'model = timm.create_model("hf_hub:{repo_id}", pretrained=True).eval()',
        "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))",
        'names = model.pretrained_cfg["label_names"]',
        "```",
        "",
        "Or with transformers:",
        "",
        "```python",
        "from transformers import pipeline",
        "",
        f'pipeline("image-classification", model="{repo_id}")("photo.jpg")',
        "```",
        "",
        "With data factory (`pip install .` in its checkout), which wrote this card, photos get "
        "the preprocessing of the scores below. Each image gets a list of classes with "
        "probabilities:",
        "",
        "```python",
        "from eval import load_classifier",
        "",
        'images = ["photo.jpg"]  # paths, or images of Pillow',
        f'load_classifier("{repo_id}")(images)',
        "```",
        "",
        "## Training data",
        "",
        *_training_set(run["data"]),
        "",
        "## Scores",
        "",
        *_score_lines(scores, note, run["data"]),
        "",
        "## Reproduce it",
        "",
        f"`config.yaml` records all settings (preset `{run['preset']}`, seed {run['seed']}), the "
        "device, precision, threads, processes and library versions of each part of the training, "
        "and the hash of the data. `metrics.csv` has one line per epoch.",
        "",
        "## Limits",
        "",
        "- The model inherits the biases and gaps of its training images. If they are synthetic, "
        "these include the biases of the image generator.",
        "- Without scores on real images, its accuracy on them is unknown.",
        "- The terms of the training dataset and of the model that generated its images apply.",
    ]


def _start(run: dict[str, Any]) -> str:
    if run.get("weights"):
        digest = code(str(run.get("weights_sha256")))
        return f"Started from the weights in `{code(run['weights'])}` (sha256 `{digest}`)."
    return (
        "Started from timm's pretrained weights." if run["pretrained"] else "Trained from scratch."
    )


def _training_set(data: dict[str, Any]) -> list[str]:
    lines = []
    for one in data.get("sources") or [data]:
        lines += _dataset(one, row_filter=None if one.get("real") else data["row_filter"])
    return [*lines, f"- sha256 of pixels and labels: `{data['pixels_sha256']}`"]


def _dataset(data: dict[str, Any], *, row_filter: str | None) -> list[str]:
    if data.get("commit"):
        name = _hub_name(data)
        where = f"[{name}](https://huggingface.co/datasets/{name}) at `{data['commit']}`"
    else:
        where = f"`{code(Path(data['reference']).name)}`, a local directory"
    rows = f"{data['num_images']:,} {'real ' if data.get('real') else ''}images"
    kept = f", rows where `{code(row_filter)}`" if row_filter else ""
    return [
        f"- {where}",
        f"- config `{code(data['config_name'])}`, split `{code(data['split'])}`{kept}: {rows}",
    ]


def _score_lines(scores: list[ScoreFile], note: dict[str, str], data: dict[str, Any]) -> list[str]:
    if "val_top1" in note:
        held = (
            f"{100 * float(note['val_top1']):.2f} % top-1 on held-out {held_out_kind(data)} images"
        )
        lines = [f"Epoch {note['epoch']} was kept: {held}.", ""]
    else:
        lines = ["No images were held out; the last epoch was kept.", ""]
    if not scores:
        return [*lines, "Not scored on real images yet."]
    lines += ["| test images | number | top-1 | 95 % interval |", "|---|---:|---:|---|"]
    for one in scores:
        low, high = 100 * one.metrics.top1_low, 100 * one.metrics.top1_high
        lines.append(
            f"| {table_cell(one.real.name)} | {one.real.num_images:,} | "
            f"{100 * one.metrics.top1:.2f} % | {low:.2f} to {high:.2f} % |"
        )
    return lines


def _scores(out: Path) -> list[ScoreFile]:
    """Return the scores of the weights in a run folder, without those of older weights."""
    weights = sha256(out / WEIGHTS)
    found = [read_score_file(path) for path in sorted(out.glob(SCORES))]
    return [one for one in found if one.model.weights_sha256 == weights]


def _weights_note(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata() or {})


def _hub_name(data: dict[str, Any]) -> str:
    return str(data["reference"]).removeprefix("hf://datasets/").partition("@")[0]


def _read(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.suffix == ".json" else read_yaml(path)
    if not isinstance(found, dict):
        raise UserError(
            f"{path}: contains {type(found).__name__}, expected a mapping; restore the file of the "
            "run"
        )
    return found
