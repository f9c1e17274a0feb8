"""`models`: list the models that `--model` accepts by name."""

import argparse
from typing import Any

from factory.common.console import table, write, write_json
from factory.common.options import add_json
from factory.models.presets import PRESETS, ModelPreset

_HEADER = ("name", "model", "steps", "guidance", "pixels", "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_json(parser, "models (each with name, id, revision, guidance, steps, size, scheduler)")


def run(args: argparse.Namespace) -> None:
    """List the models."""
    if args.json:
        write_json({"models": [_plain(one) for one in PRESETS]})
    else:
        write(table([_cells(one) for one in PRESETS], header=_HEADER))


def _cells(preset: ModelPreset) -> tuple[str, ...]:
    return (
        preset.name,
        preset.id,
        str(preset.num_inference_steps),
        f"{preset.guidance_scale:g}",
        str(preset.size or "model's"),
        preset.note,
    )


def _plain(preset: ModelPreset) -> dict[str, Any]:
    return {
        "name": preset.name,
        "id": preset.id,
        "revision": preset.revision,
        **preset.sampling(),
        "size": preset.size,
        "scheduler": preset.scheduler or preset.own_scheduler,
        "note": preset.note,
    }
