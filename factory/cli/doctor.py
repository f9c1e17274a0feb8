"""`factory doctor`: report whether this machine can build, and with which batch size."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from factory.cli.arguments import add_allow_pickle, add_offload, add_quantize
from factory.common import console
from factory.common.errors import Failure, UserError
from factory.common.options import add_device, add_json, option
from factory.common.program import command
from factory.common.text import plural

if TYPE_CHECKING:
    from factory.inspection.batch_sizes import BatchSizes


_SECONDS = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    option(
        parser,
        "--model ID[@REVISION]",
        "also generate a few batches with this model to find a batch size that fits",
    )
    option(
        parser,
        "--seconds S",
        "time for generating these batches, without loading the model (default: 20)",
        _seconds,
    )
    add_device(parser)
    add_allow_pickle(parser)
    add_quantize(parser)
    add_offload(parser)
    fields = "version, python, libraries, device, memory, disks, caches, hub, extras, problems"
    add_json(parser, f"{fields}, batch_sizes")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def run(args: argparse.Namespace) -> int:
    """Print the facts; return 1 if a build cannot run, else 0.

    Raises:
        UserError: The model cannot be loaded, or its options are given without it.
    """
    _check_model(args)
    from factory.inspection.doctor import examine

    found = examine()
    sizes = None
    if args.model and not found["problems"]:
        from factory.inspection.batch_sizes import measure_batch_sizes

        try:
            sizes = measure_batch_sizes(
                args.model,
                seconds=_SECONDS if args.seconds is None else args.seconds,
                device=args.device,
                allow_pickle=args.allow_pickle,
                quantize=args.quantize,
                offload=args.offload,
            )
        except Failure as error:
            found["problems"].append(str(error))
    if args.json:
        measured = None if sizes is None else _plain(sizes)
        console.write_json(found | {"batch_sizes": measured})
    else:
        _tell(found, sizes)
    return 1 if found["problems"] else 0


def _check_model(args: argparse.Namespace) -> None:
    """Reject options that only the measurement with a model uses."""
    given = {
        "--seconds": args.seconds is not None,
        "--device": args.device != "auto",
        "--allow-pickle": args.allow_pickle,
        "--quantize": args.quantize,
        "--offload": args.offload,
    }
    unused = [name for name, is_given in given.items() if is_given]
    if unused and not args.model:
        raise UserError(f"{unused[0]} needs --model: nothing is generated without it")


def _tell(found: dict[str, Any], sizes: BatchSizes | None) -> None:
    libraries = ", ".join(f"{name} {one or 'missing'}" for name, one in found["libraries"].items())
    rows = [
        ["data factory", f"{found['version']}, Python {found['python']}"],
        ["libraries", libraries],
        ["device", _device(found["device"])],
        ["memory", _memory(found["memory"])],
        *(
            [f"disk, {name}", f"{_size(one['free'])} free ({one['path']})"]
            for name, one in found["disks"].items()
        ),
        *(
            [f"cache, {name}", f"{_size(one['size'])} ({one['path']})"]
            for name, one in found["caches"].items()
        ),
        ["Hub login", _login(found["hub"])],
        *(
            [f"extra, {name}", f"missing; run: pip install 'data-factory[{name}]'"]
            for name in found["extras"] or ()
        ),
        *([] if found["extras"] is not None else [["extras", "unknown: package not installed"]]),
    ]
    console.write(console.table(rows))
    if sizes is not None:
        _tell_sizes(sizes)
    for problem in found["problems"]:
        console.write(f"problem: {problem}")
    console.write("a build cannot run" if found["problems"] else "a build can run")


def _tell_sizes(sizes: BatchSizes) -> None:
    rows = [[str(one.batch_size), f"{one.images_per_s:.3g}"] for one in sizes.tried.batches]
    console.write()
    console.write(console.table(rows, header=["batch size", "images/s"], align="rr"))
    best = sizes.best
    console.write(
        f"measured with {sizes.model}, {plural(sizes.steps, 'step')}, {sizes.dtype}, one process; "
        f"{sizes.tried.stopped}"
    )
    console.write(
        f"with {plural(sizes.own_steps, 'step')}: between {sizes.slowest_estimate:.3g} and "
        f"{best.images_per_s:.3g} images/s (estimate)"
    )
    console.write(f"use: {command(f'build RECIPE OUT {_options(sizes)}')}")


def _options(sizes: BatchSizes) -> str:
    # On a CPU the processes of a build share the memory that one process measured.
    alone = " --processes 1" if sizes.device == "cpu" else ""
    kinds = {"--quantize": sizes.quantize, "--offload": sizes.offload}
    words = "".join(f" {name} {kind}" for name, kind in kinds.items() if kind)
    return f"--model {sizes.model} --batch-size {sizes.best.batch_size}{words}{alone}"


def _plain(sizes: BatchSizes) -> dict[str, Any]:
    return {
        "model": sizes.model,
        "steps": sizes.steps,
        "dtype": sizes.dtype,
        "quantize": sizes.quantize,
        "offload": sizes.offload,
        "tried": [vars(one) for one in sizes.tried.batches],
        "stopped": sizes.tried.stopped,
        "best": sizes.best.batch_size,
        "options": _options(sizes),
    }


def _device(device: dict[str, Any]) -> str:
    if "type" not in device:
        return "none"
    several = f"{device['count']} x " if device["count"] > 1 else ""
    return (
        f"{several}{device['type']} ({device['name']}), {device['cores']} CPU cores, "
        f"default type {device['dtype']}"
    )


def _memory(memory: dict[str, int]) -> str:
    text = _size(memory["total"])
    if "available" in memory:
        text += f", {_size(memory['available'])} available"
    if "device_total" in memory:
        text += (
            f"; device {_size(memory['device_total'])}, {_size(memory['device_free'])} available"
        )
    return text


def _login(hub: dict[str, Any]) -> str:
    if hub.get("user") is None:
        token = f"token from {hub['token']}; " if hub.get("token") else ""
        return f"{token}{hub.get('note', 'unknown')}"
    rights = {True: "may write", False: "read-only", None: "rights unknown"}[hub["write"]]
    return f"{hub['user']}, token from {hub['token']}, {rights}"


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB"
