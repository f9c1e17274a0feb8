"""`factory gate OUT`: add quality columns to a finished dataset."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.common import console
from factory.common.console import renamed
from factory.common.devices import reporting_lack_of_memory
from factory.common.errors import UserError
from factory.common.options import (
    add_batch_size,
    add_device,
    add_json,
    add_marks,
    add_quiet,
    option,
)
from factory.common.program import command
from factory.common.stop_signals import stopping_on_signals
from factory.common.text import plural

if TYPE_CHECKING:
    from factory.gates.base import Gate
    from factory.gates.run import GateReport

_BATCH_SIZE = 32
_DUPLICATES = {
    "near-duplicates": "near_duplicate",
    "near-duplicates by embedding": "embedding_duplicate",
}
_GATE_OPTIONS: dict[str, dict[str, tuple[float, float] | None]] = {
    "near_duplicates": {"duplicate_bits": (0, 64), "duplicate_levels": (0, 255)},
    "embedding": {"label_issues": None, "embedding_similarity": (-1, 1)},
    "safety": {"unsafe_label": None, "unsafe_threshold": (0, 1)},
}
"""Options that need a gate, with the range of their numbers."""
_MODELS = ("clip_score", "class_margin", "embedding", "safety")
"""Options that name a model."""
_EPILOG = """\
Images, rows and their order stay unchanged. If the dataset has grown, run the command again to
measure the new rows. Then, for example:"""
_EXAMPLE = 'train OUT --filter "not near_duplicate and clip_score > 0.25" ...'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.epilog = f"{_EPILOG}\n  {command(_EXAMPLE)}\n"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = partial(option, parser)
    parser.add_argument("out", type=Path, metavar="OUT", help="directory of a finished dataset")
    add(
        "--clip-score ID[@REVISION]", "CLIP or SigLIP model, Hub id or directory: column clip_score"
    )
    add(
        "--class-margin ID[@REVISION]",
        "run folder of `train` with the dataset's classes, or CLIP or SigLIP model: columns "
        "class_margin (score of the own class minus that of the nearest other class) and "
        "nearest_other_class",
    )
    _add_embedding(parser)
    _add_safety(parser)
    add(
        "--near-duplicates",
        "columns near_duplicate, near_duplicate_of (index of the earlier image), "
        "near_duplicate_other_label (the earlier image has another class: possible label noise) "
        "and difference_hash; no model",
    )
    add(
        "--duplicate-bits N",
        "largest Hamming distance between two duplicates' 64-bit hashes (default: 4)",
        int,
    )
    add(
        "--duplicate-levels X",
        "largest mean pixel difference between two duplicates, 0 to 255 (default: 8)",
        float,
    )
    add_marks(parser, f"column marked_bad; `{command('view')}` writes the file")
    add_batch_size(parser, _BATCH_SIZE)
    add_device(parser)
    add_json(parser, "out, rows, flagged, columns, notes, class_counts")
    add_quiet(parser)


def _add_embedding(parser: argparse.ArgumentParser) -> None:
    add = partial(option, parser)
    add(
        "--embedding ID[@REVISION]",
        "run folder of `train`, or CLIP or SigLIP model: near-duplicates by the similarity of "
        "embeddings, columns embedding_duplicate, embedding_nearest (index of the most similar "
        "earlier image), embedding_similarity, embedding_duplicate_other_label (a near-duplicate "
        "of another class: possible label noise) and embedding_hash",
    )
    add(
        "--embedding-similarity X",
        "lowest cosine similarity of two duplicates by --embedding, -1 to 1 (default: 0.95)",
        float,
    )
    add(
        "--label-issues",
        "columns label_issue and label_quality (0 to 1): labels that cleanlab finds probably "
        "wrong, by cross-validation on the embeddings of --embedding",
    )


def _add_safety(parser: argparse.ArgumentParser) -> None:
    add = partial(option, parser)
    add(
        "--safety ID[@REVISION]",
        "Stable Diffusion's safety checker or an image classifier: column unsafe",
    )
    add(
        "--unsafe-label NAME",
        "unsafe class of the classifier; may be repeated",
        many=True,
    )
    renamed(parser, "--unsafe-labels", "--unsafe-label", had_commas=True)
    add(
        "--unsafe-threshold P",
        "lowest probability at which an image is flagged (default 0.5)",
        float,
    )


def run(args: argparse.Namespace) -> None:
    """Measure the images and print the results."""
    _check(args)
    batch_size = args.batch_size or _BATCH_SIZE
    _check_files(args)

    from factory.data.row_counts import counts_line
    from factory.gates.run import run_gates

    if any(getattr(args, name) for name in _MODELS):
        console.log_loading()
    memory = reporting_lack_of_memory(f"give a --batch-size below {batch_size}")
    with stopping_on_signals(), memory:
        report = run_gates(args.out, _gates(args, batch_size))
    console.log(counts_line(str(args.out), report.class_counts, {}))
    for note in report.notes:
        console.log(f"warning: {note}")
    if args.json:
        console.write_json({**asdict(report), "out": str(report.out)})
        return
    flagged = [f"{column} {number}" for column, number in report.flagged.items()]
    flags = f"; flagged: {', '.join(flagged)}" if flagged else ""
    columns = ", ".join(report.columns)
    console.write(f"{args.out}: {plural(report.rows, 'row')}, columns {columns}{flags}")
    for name, flag in _DUPLICATES.items():
        _report_label_noise(report, name, flag)


def _check(args: argparse.Namespace) -> None:
    _check_options(args)
    models = any(getattr(args, name) for name in _MODELS)
    if not (models or args.near_duplicates or args.marks):
        raise UserError(
            "choose a gate: --clip-score MODEL, --class-margin MODEL, --embedding MODEL, "
            "--safety MODEL, --near-duplicates or --marks FILE"
        )


def _check_files(args: argparse.Namespace) -> None:
    """Check the dataset and the folders of the models before large libraries are imported."""
    from factory.gates.run import finished_manifest
    from factory.models.clip import require_folder

    finished_manifest(args.out)
    for name in _MODELS:
        model = getattr(args, name)
        if model:
            require_folder(model, option=_spelt(name))


def _check_options(args: argparse.Namespace) -> None:
    for gate, options in _GATE_OPTIONS.items():
        for name, bounds in options.items():
            value = getattr(args, name)
            if value is None or value is False or value == []:
                continue
            if not getattr(args, gate):
                raise UserError(f"{_spelt(name)} needs {_spelt(gate)}; add it")
            if bounds and not bounds[0] <= value <= bounds[1]:
                raise UserError(f"{_spelt(name)} {value}: expected {bounds[0]} to {bounds[1]}")


def _spelt(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _report_label_noise(report: GateReport, name: str, flag: str) -> None:
    repeats, noise = (report.flagged.get(one, 0) for one in (flag, f"{flag}_other_label"))
    if repeats:
        console.write(
            f"{name}: {repeats - noise} of an image of the same class, {noise} of an image of "
            "another class (possible label noise)"
        )


def _gates(args: argparse.Namespace, batch_size: int) -> list[Gate]:
    from factory.gates.run import finished_manifest

    gates: list[Gate] = []
    if args.marks:
        from factory.gates.marked import Marked

        gates.append(Marked(args.marks, finished_manifest(args.out)))
    if args.near_duplicates:
        from factory.gates.duplicates import NearDuplicates

        limits = _given(bits=args.duplicate_bits, levels=args.duplicate_levels)
        gates.append(NearDuplicates(**limits))
    if args.clip_score or args.class_margin or args.safety or args.embedding:
        from factory.builder.ranks import own_device

        device = own_device(args.device).type
    if args.embedding:
        gates += _embedding_gates(args, device=device, batch_size=batch_size)
    if args.clip_score:
        from factory.gates.clip_score import ClipScore

        gates.append(ClipScore(args.clip_score, device=device, batch_size=batch_size))
    if args.class_margin:
        from factory.gates.class_margin import ClassMargin

        gates.append(
            ClassMargin(
                args.class_margin,
                finished_manifest(args.out).labels,
                device=device,
                batch_size=batch_size,
            )
        )
    if args.safety:
        from factory.gates.safety import Safety

        gates.append(
            Safety(
                args.safety,
                device=device,
                batch_size=batch_size,
                labels=args.unsafe_label,
                threshold=args.unsafe_threshold,
            )
        )
    return gates


def _embedding_gates(args: argparse.Namespace, *, device: str, batch_size: int) -> list[Gate]:
    from factory.gates.embedding_duplicates import EmbeddingDuplicates
    from factory.gates.embeddings import Embeddings
    from factory.gates.label_issues import LabelIssues, require_classes, require_cleanlab

    if args.label_issues:
        # Before the model is loaded and the images of any config are embedded.
        require_cleanlab()
        require_classes(args.out)
    embeddings = Embeddings(args.embedding, device=device, batch_size=batch_size)
    limits = _given(similarity=args.embedding_similarity)
    found: list[Gate] = [EmbeddingDuplicates(embeddings, **limits)]
    if args.label_issues:
        found.append(LabelIssues(embeddings))
    return found


def _given(**options: Any) -> dict[str, Any]:
    """Return the options that were given; the gate knows the defaults of the others."""
    return {name: value for name, value in options.items() if value is not None}
