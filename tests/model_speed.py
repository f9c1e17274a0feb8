"""Measure how fast small models train on a CPU, for the table in docs/train.md.

python tests/model_speed.py

Forward, backward and AdamW at 32 px, batch 64, float32, one thread; images per second of CPU time,
the median of five repetitions.
"""

from __future__ import annotations

import sys
import time
from statistics import median

import timm
import torch

MODELS = (
    *("test_byobnet", "test_mambaout", "test_efficientnet", "test_convnext", "test_resnet"),
    *("lcnet_050", "mobilenetv3_small_050", "test_nfnet", "mobilenetv4_conv_small_050"),
    *("mobilenetv3_small_100", "mobilenetv4_conv_small", "resnet10t", "efficientnet_lite0"),
    *("resnet18", "test_vit", "convnext_atto", "vit_tiny_patch16_224"),
)
PATCHES = {"test_vit": 4, "convnext_atto": 2, "vit_tiny_patch16_224": 4}
BATCH, SIDE, STEPS, REPETITIONS = 64, 32, 4, 5


def measure(name: str) -> tuple[float, float]:
    """Return millions of parameters, and images per second of CPU time."""
    torch.manual_seed(0)
    arguments = {"patch_size": PATCHES[name]} if name in PATCHES else {}
    if "vit" in name:
        arguments["img_size"] = SIDE
    model = timm.create_model(name, num_classes=10, **arguments).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    images, labels = torch.randn(BATCH, 3, SIDE, SIDE), torch.arange(BATCH) % 10

    def steps() -> float:
        started = time.process_time()
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
        return time.process_time() - started

    steps()
    seconds = median(steps() for _ in range(REPETITIONS))
    size = sum(one.numel() for one in model.parameters()) / 1e6
    return size, STEPS * BATCH / seconds


def main() -> None:
    """Print the table, fastest first."""
    torch.set_num_threads(1)
    found = {name: measure(name) for name in MODELS}
    lines = ["| model | parameters (million) | images/CPU-s | note |", "|---|---:|---:|---|"]
    for name, (size, speed) in sorted(found.items(), key=lambda one: -one[1][1]):
        note = f"`--model-arg patch_size={PATCHES[name]}`" if name in PATCHES else ""
        lines.append(f"| `{name}` | {size:.2f} | {speed:,.0f} | {note} |")
    sys.stdout.write("\n".join([*lines, f"\ntimm {timm.__version__}, torch {torch.__version__}\n"]))


if __name__ == "__main__":
    main()
