"""`models`: list the models that `--model` accepts by name."""

import argparse
from typing import Any

from factory.common.console import table, write, write_json
from factory.common.options import add_json
from factory.common.program import command
from factory.models.presets import PRESETS, ModelPreset

SETTINGS = ("name", "model", "steps", "guidance", "pixels", "note")
NEEDS = ("name", "licence", "gated", "disk", "weights", "speed")
_NOTES = """\
disk: size of the files that a build downloads, in GB.
weights: memory of the weights alone at 16 bits per parameter, in GB. Images need more; how much was
not measured. To find a batch size that fits on this machine: {doctor}
speed: seconds per image at the steps, guidance and pixels above, from a published or measured
figure."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_json(
        parser,
        "models (each with name, id, revision, guidance, steps, size, scheduler, licence, gated, "
        "disk_gb, weights_gb, speed)",
    )


def run(args: argparse.Namespace) -> None:
    """List the models."""
    if args.json:
        write_json({"models": [_plain(one) for one in PRESETS]})
        return
    write(table([settings(one) for one in PRESETS], header=SETTINGS))
    write()
    write(table([needs(one) for one in PRESETS], header=NEEDS, align="lllrr"))
    write()
    write(_NOTES.format(doctor=command("doctor --model NAME")))


def settings(preset: ModelPreset) -> tuple[str, ...]:
    """Return a model's own settings as cells, in the order of `SETTINGS`."""
    return (
        preset.name,
        preset.id,
        str(preset.num_inference_steps),
        f"{preset.guidance_scale:g}",
        str(preset.size or "model's"),
        preset.note,
    )


def needs(preset: ModelPreset) -> tuple[str, ...]:
    """Return a model's licence, access, size and speed as cells, in the order of `NEEDS`."""
    from factory.card.licences import licence_name

    return (
        preset.name,
        licence_name(preset.id),
        "yes" if preset.gated else "no",
        f"{preset.disk_gb:.2g}",
        f"{preset.weights_gb:.2g}",
        _speed_text(preset),
    )


def _speed_text(preset: ModelPreset) -> str:
    speed = _speed(preset)
    if speed is None:
        return "not measured"
    return f"{speed['seconds_per_image']:.2g} s on {speed['device']} ({speed['source']})"


def _speed(preset: ModelPreset) -> dict[str, Any] | None:
    from factory.planner.cost import seconds_per_image, speed_of

    speed, seconds = speed_of(preset.id), seconds_per_image(preset)
    if speed is None or seconds is None:
        return None
    return {"seconds_per_image": seconds, "device": speed.device, "source": speed.source}


def _plain(preset: ModelPreset) -> dict[str, Any]:
    from factory.card.licences import licence_name

    return {
        "name": preset.name,
        "id": preset.id,
        "revision": preset.revision,
        **preset.sampling(),
        "size": preset.size,
        "scheduler": preset.scheduler or preset.own_scheduler,
        "note": preset.note,
        "licence": licence_name(preset.id),
        "gated": preset.gated,
        "disk_gb": preset.disk_gb,
        "weights_gb": preset.weights_gb,
        "speed": _speed(preset),
    }
