"""Write the card of an exported pipeline from its run and its measurements."""

import shlex
import shutil
from pathlib import Path
from typing import Any

from factory.common.plot_style import own_style
from factory.common.whole_files import replace_text
from train.generator.config import DIGITS, Config, load_config, with_source
from train.generator.images.data import load_collection, load_held_out
from train.generator.images.domains import DOMAINS
from train.generator.images.filters import FILTERS
from train.generator.network.sampling import STEPS
from train.generator.network.text import WORDS_FILE
from train.generator.release.export import CARD, load_checkpoint
from train.generator.training.class_gap import GAP_TIMES
from train.generator.training.lineage import check_exported, lineage_of, table_of, write_lineage
from train.generator.training.loss_log import LOG_FILE, read_log
from train.generator.training.run_config import are_alike, load_config_of, read_by_hand

TEMPLATE = "card.md.j2"
EMBEDDED_SETTINGS = Path(__file__).parent.parent / "embedded.yaml"
# A class or domain of lower prompt accuracy is listed as a known failure.
WEAK_DIGIT, WEAK_PHOTO = 0.85, 0.5


def write_card(folder: Path, *, run: Path, figures: dict[str, Any], sheets: Path) -> None:
    """Write README.md into a pipeline folder, and the images that it shows beside it."""
    training = _training(run)
    check_exported(folder, training["parts"])
    plot_loss(training["log"], folder / "loss.png")
    # Notes written by hand since the export also matter for a later start from this pipeline.
    write_lineage(training["parts"], folder)
    for name in (*figures["sheets"], "nearest.jpg"):
        if (sheets / name).exists():
            shutil.copy(sheets / name, folder / name)
    replace_text(folder / CARD, _card_text(run, figures, training))


def card_text(run: Path, figures: dict[str, Any]) -> str:
    """Return the card."""
    return _card_text(run, figures, _training(run))


def _card_text(run: Path, figures: dict[str, Any], training: dict[str, Any]) -> str:
    import jinja2

    config = load_config_of(run)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    collection = load_collection(config.data, run / "data")
    by_eye = [line for line in read_by_hand(run, "failures.txt").splitlines() if line.strip()]
    names = {known["name"] for known in collection.facts if "name" in known}
    return environment.get_template(TEMPLATE).render(
        figures=figures,
        photos=figures.get("photos"),
        digits=figures.get("digits"),
        memory=figures.get("memorisation"),
        sheets=figures["sheets"],
        size=config.data.image_size,
        channels=config.latents.channels,
        subjects=_subjects(config, len(names)),
        steps=STEPS,
        domains=", ".join(FILTERS[name].words[0] for name in _filters(config)),
        digit_domains=", ".join(domain.words[0] for domain in DOMAINS.values()),
        length=config.text.max_length - 2,
        known=len((run / WORDS_FILE).read_text(encoding="utf-8").split()),
        failures=[*by_eye, *_failures(figures)],
        training=training,
        unknown_origin=any(source.source != DIGITS for source in config.data.sources)
        and not training["parts"][-1].about_data,
        command=training_command(config, samples=training["samples_of_all"]),
        percent=lambda share: f"{100 * share:.1f} %",
        whole_percent=_whole_percent,
        shares=lambda found: ", ".join(f"{name} {_whole_percent(v)}" for name, v in found.items()),
    )


def _whole_percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _subjects(config: Config, names: int) -> str:
    """Describe the content of the generated images."""
    focus = len({name for source in config.data.sources for name in source.focus})
    parts = ["digits"] if any(one.source == DIGITS for one in config.data.sources) else []
    if focus:
        domains = " and in other domains" if _filters(config) else ""
        parts.append(f"{focus} classes of objects and places as photographs{domains}")
    nouns = f"some of the {names:,} nouns in its training captions"
    if not parts:
        return nouns if names else "the subjects of its training captions"
    return " and ".join(parts) + (f", and at lower quality {nouns}" if names else "")


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
        below = f"prompt accuracy below {100 * weak:.0f} %"
        for guidance in ("1", "3"):
            shares = measured["prompt_accuracy"][guidance]["per_class"]
            named = [
                f"{name} ({100 * share:.0f} %)"
                for name, share in zip(classes, shares, strict=True)
                if share < weak
            ]
            if named:
                lines.append(f"{kind}, guidance {guidance}, {below}: {', '.join(named)}")
        found = measured["prompt_accuracy_by_domain"].items()
        domains = [f"{name} ({100 * share:.0f} %)" for name, share in found if share < weak]
        if domains:
            lines.append(f"{kind}, domains, {below}: {', '.join(domains)}")
    lines.append("fine texture and small parts (eyes, legs, lettering) are lost in 8x8 latents")
    lines.append("prompts with several objects, counts, colours or written text are not followed")
    return lines


def _training(run: Path) -> dict[str, Any]:
    state = load_checkpoint(run)
    weights = state["average"]
    sizes = {
        part: sum(v.numel() for name, v in weights.items() if name.startswith(part))
        for part in ("unet", "text_encoder")
    }
    held_out = load_held_out(run / "data")
    parts = lineage_of(run, state)
    return {
        "parts": parts,
        # Those before may have held out others.
        "held_out_of": "training" if len(parts) == 1 else "the last run",
        "samples": (samples := sum(part.samples or 0 for part in parts)),
        "samples_of_all": None if any(part.samples is None for part in parts) else samples,
        "minutes": sum(part.minutes for part in parts),
        "unet": f"{sizes['unet'] / 1e6:.1f}",
        "text": f"{sizes['text_encoder'] / 1e6:.1f}",
        "log": read_log(run / LOG_FILE, until=int(state["samples"])),
        "rows": table_of(parts),
        "held_out": len(held_out[0]) if held_out else 0,
    }


def training_command(config: Config, *, samples: int | None) -> str:
    """Return the command that trains such a model again, for the same length if known.

    If the settings are the packaged ones, with or without a `--filter`, it names their file.
    """
    named = [source for source in config.data.sources if source.source != DIGITS]
    data = f" {_data_options(config)}" if named else ""
    length = "" if samples is None else f" --samples {samples}"
    return f"torchrun --nproc-per-node 2 -m train.generator fit --out RUN{data}{length}"


def _data_options(config: Config) -> str:
    shipped = load_config(EMBEDDED_SETTINGS, {})
    filters = [one.row_filter for one in config.data.sources if one.source != DIGITS]
    settings, asked = "SETTINGS.yaml", filters[0] if len(set(filters)) == 1 else None
    for expression in {None, *filters}:
        changes = {"row_filter": expression} if expression else {}
        if are_alike(config, with_source(shipped, changes)):
            settings, asked = "train/generator/embedded.yaml", expression
    options = f"--settings {settings} --data DIR_OR_HUB_ID"
    return f"{options} --filter {shlex.quote(asked)}" if asked else options


@own_style()
def plot_loss(rows: list[dict[str, str]], to: Path) -> None:
    """Plot the loss and the class gap over samples as a small PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    loss, gap = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    learnt = [row for row in rows if row["loss"]]
    thousands = [float(row["samples"]) / 1000 for row in learnt]
    loss.plot(thousands, [float(row["loss"]) for row in learnt], linewidth=1)
    measured = [row for row in rows if row["gap_950"]]
    for name in (f"gap_{t}" for t in GAP_TIMES):
        at = [float(row["samples"]) / 1000 for row in measured]
        gap.plot(at, [float(row[name]) for row in measured], linewidth=1, label=f"t={name[4:]}")
    if measured:
        gap.legend(fontsize=7)
    for axes, title in ((loss, "loss (v)"), (gap, "class gap")):
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("thousand samples", fontsize=8)
        axes.tick_params(labelsize=7)
    figure.savefig(to)
