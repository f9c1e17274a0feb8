"""The command that repeats a training, from the settings that its run recorded."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from eval.report_page.command_words import (
    USUAL_COLUMNS,
    LabelMaps,
    mapping,
    reference,
    skipped_some,
    words,
)
from eval.report_page.runs import Run
from factory.common.preset_options import option_words

_PRECISIONS = {"float32": "no", "float16": "fp16", "bfloat16": "bf16"}
_GB = 1e9


def train_command(run: Run, maps: LabelMaps, *, out: str) -> str:
    """Return the command line; of a run with several stretches, with the values of the last.

    Args:
        run: A run that recorded its settings.
        maps: Gets its label map.
        out: The new run folder.
    """
    training: dict[str, Any] = run.scores.training or {}
    data = run.data
    sources = run.sources
    stretches = stretches_of(training)
    last = stretches[-1] if stretches else {}
    options = {
        **_data_options(data, sources),
        "--labels": maps.file(data.get("label_map")),
        **_model_options(training),
        **_reading_options(training, data),
        **_environment_options(last),
    }
    usual = {"--config": "default", "--split": "train", **USUAL_COLUMNS}
    line = [
        *_start(last.get("processes")),
        *(
            reference(one.get("reference"), one.get("commit"), otherwise="DATASET")
            for one in sources
            if not one.get("real")
        ),
        *words(options, usual),
        *(
            word
            for key, value in mapping(training.get("model_args")).items()
            for word in words({"--model-arg": f"{key}={json.dumps(value)}"})
        ),
        *_preset_words(training),
        *words({"--out": out}),
    ]
    return shlex.join(line)


def stretches_of(training: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the recorded environment of each stretch of a training, the last one last."""
    found = training.get("environments")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _start(processes: Any) -> list[str]:
    """Return how the line begins: batch norm and rounding depend on the number of processes."""
    if not isinstance(processes, int) or processes < 2:
        return ["data-factory", "train"]
    launch = ["accelerate", "launch", "--multi_gpu", "--num_processes", str(processes)]
    return [*launch, "-m", "train"]


def _preset_words(training: Mapping[str, Any]) -> list[str]:
    """Return the options of the values given for the preset's; of an earlier run, `--epochs`."""
    given = training.get("overrides")
    if not isinstance(given, dict):
        # Maybe a stranger's: only a number is printed.
        return option_words({"epochs": mapping(training.get("hyperparameters")).get("epochs")}, {})
    return option_words(given, mapping(given.get("augmentation")))


def _data_options(data: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the options that choose rows."""
    configs = {str(one.get("config_name") or "default") for one in sources if not one.get("real")}
    real = next((one for one in sources if one.get("real")), None)
    counts = mapping(data.get("class_counts"))
    return {
        "--config": configs.pop() if len(configs) == 1 else None,
        "--split": data.get("split"),
        "--filter": data.get("row_filter"),
        "--image-column": data.get("image_column"),
        "--label-column": data.get("label_column"),
        "--images-per-class": data.get("images_per_class"),
        "--real-train": real
        and reference(real.get("reference"), real.get("commit"), otherwise="REAL"),
        "--allow-empty-classes": 0 in counts.values(),
        "--skip-unreadable": skipped_some(data.get("num_unreadable"), data.get("left_out")),
    }


def _model_options(training: Mapping[str, Any]) -> dict[str, Any]:
    mix, weights = training.get("mix"), training.get("weights")
    return {
        "--mix": ",".join(map(str, mix)) if isinstance(mix, list | tuple) else None,
        "--model": training.get("model"),
        "--pretrained": training.get("pretrained") is True and weights is None,
        "--weights": weights,
        "--head-only": training.get("head_only") is True,
        "--teacher": training.get("teacher"),
        "--preset": training.get("preset"),
        "--seed": training.get("seed"),
    }


def _reading_options(training: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the way images are read: crops and their order depend on it."""
    pixels = training.get("pixels")
    return {
        "--stream": pixels == "stream",
        "--shuffle-buffer": training.get("shuffle_buffer"),
        "--pixel-memory": 0 if pixels == "files" else _pixel_memory(training, data),
    }


def _pixel_memory(training: Mapping[str, Any], data: Mapping[str, Any]) -> float | None:
    """Return the GB of images that were decoded into memory; None below 1 GB, which any has."""
    side = mapping(training.get("hyperparameters")).get("image_size")
    images = data.get("num_images")
    if training.get("pixels") != "memory" or not (_is_count(side) and _is_count(images)):
        return None
    size = images * side**2 * 3 / _GB
    return None if size < 1 else math.ceil(10 * size) / 10


def _is_count(value: Any) -> TypeGuard[int]:
    """Return whether a value, maybe a stranger's, is a number of pixels or images."""
    return isinstance(value, int) and 0 < value < 10**15


def _environment_options(environment: Mapping[str, Any]) -> dict[str, Any]:
    compiled = environment.get("compiled")
    return {
        "--device": environment.get("device"),
        "--threads": environment.get("threads"),
        "--mixed-precision": _PRECISIONS.get(str(environment.get("precision"))),
        "--torchcompile": None if compiled == "no" else compiled,
    }
