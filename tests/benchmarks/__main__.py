"""Run benchmarks and write the page: `python -m tests.benchmarks [NAME ...]`.

Results are saved after every section. A section that fails is reported and does not stop others.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import ROOT, machine, page
from .results import load, save
from .sections import SECTIONS
from .timing import Scale

JSON_NAME, PAGE_NAME = "performance.json", "performance.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen sections; return 1 if one failed."""
    parser = _parser()
    args = parser.parse_args(arguments)
    names = [*args.names, *args.only] or _of_target(args.device)
    if unknown := [name for name in names if name not in SECTIONS]:
        parser.error(f"no section {unknown[0]!r}; choose from {', '.join(SECTIONS)}")
    if args.device == "cuda" and not _has_cuda():
        sys.stderr.write("bench-gpu: this machine has no CUDA device; nothing was measured\n")
        return 2
    out = args.out or (ROOT / "docs" if args.scale == "full" else ROOT / "out/benchmarks")
    results = load(out / JSON_NAME)
    failed = []
    for name in names:
        done = results.get(name, {})
        if args.resume and done.get("status") == "measured" and done.get("scale") == args.scale:
            continue
        sys.stderr.write(f"{name} ...\n")
        results[name] = measured(name, Scale(args.scale), args.device, command=_shown(arguments))
        _report(name, results[name])
        failed += [name] if results[name]["status"] == "failed" else []
        save(out / JSON_NAME, results)
        (out / PAGE_NAME).write_text(page.text(results), encoding="utf-8")
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return 1 if failed else 0


def measured(name: str, scale: Scale, device: str, *, command: str) -> dict[str, Any]:
    """Run one section and return its result, or the reason of its failure."""
    found: dict[str, Any] = {
        "command": command,
        "scale": scale.name,
        "date": machine.now(),
        "machine": machine.facts(device),
        "versions": machine.versions(),
    }
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            figures = SECTIONS[name].run(Path(folder), scale, device)
        found |= {"status": "measured", "figures": [one.as_dict() for one in figures]}
    except Exception as error:  # noqa: BLE001 (other sections are measured)
        traceback.print_exc()
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        found |= {"status": "failed", "reason": reason}
    return found | {"seconds": time.monotonic() - started}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    known = ", ".join(SECTIONS)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"sections to run: {known}")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="the same as NAME ..."
    )
    parser.add_argument(
        "--quick",
        dest="scale",
        action="store_const",
        const="quick",
        default="full",
        help="small counts, to try the benchmarks; written to out/benchmarks",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="cuda runs the sections of bench-gpu (default: cpu)",
    )
    parser.add_argument("--resume", action="store_true", help="skip sections measured before")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"folder of {JSON_NAME} and {PAGE_NAME}"
    )
    return parser


def _of_target(device: str) -> list[str]:
    target = "bench-gpu" if device == "cuda" else "bench"
    return [name for name, section in SECTIONS.items() if section.target == target]


def _report(name: str, found: dict[str, Any]) -> None:
    reason = f": {found['reason']}" if found["status"] == "failed" else ""
    sys.stderr.write(f"{name}: {found['status']} in {found['seconds']:.0f} s{reason}\n")


def _shown(arguments: Sequence[str] | None) -> str:
    words = sys.argv[1:] if arguments is None else arguments
    return " ".join(["python -m tests.benchmarks", *words])


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    sys.exit(main())
