"""`prepare`: data that pages of the documentation take as given, on disk and on the Hub."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from tiny_clip import save_clip
from tiny_models import save_stable_diffusion

CLASSES = {
    "pets": ["cat", "dog", "guinea pig"],
    "cifar10": [
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ],
    "eurosat": [
        *("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial"),
        *("Pasture", "PermanentCrop", "Residential", "River", "SeaLake"),
    ],
}


def noise(seed: int) -> np.ndarray:
    """Return a random image, 48 x 40 x 3 uint8."""
    return np.random.default_rng(seed).integers(0, 255, (48, 40, 3), np.uint8)


def photos(folder: Path, classes: list[str]) -> None:
    """Write class folders of photographs, CSV files that name them, and single photographs."""
    from PIL import Image

    rows = []
    for number, name in enumerate(4 * classes):
        path = Path(name, f"IMG_{number:04d}.jpg")
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(number)).save(folder / path)
        rows.append((path, name))
    for file, prefix in (("test.csv", ""), ("other.csv", "my ")):
        lines = ["path,label", *(f"{path},{prefix}{name}" for path, name in rows)]
        (folder / file).write_text("\n".join(lines) + "\n")
    Path("holiday").mkdir(exist_ok=True)
    for single in ("holiday/a.jpg", "IMG_1.jpg", "cat.jpg", "dog.jpg"):
        Image.fromarray(noise(99)).save(single)


def dataset(folder: Path, classes: list[str]) -> None:
    """Write a dataset with the splits `train` and `test`, eight images of each class in each."""
    import datasets
    from PIL import Image

    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=classes)}
    labels = 8 * list(range(len(classes)))
    images = [Image.fromarray(noise(number)) for number in range(len(labels))]
    table = datasets.Dataset.from_dict(
        {"image": images, "label": labels}, features=datasets.Features(features)
    )
    for split in ("train", "test"):
        table.to_parquet(folder / f"data/{split}-00000-of-00001.parquet")


def upload(repo: str, folder: Path, kind: str, tag: str | None) -> None:
    """Upload a folder to the Hub."""
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo, repo_type=kind)
    api.upload_folder(repo_id=repo, folder_path=folder, repo_type=kind)
    if tag:
        api.create_tag(repo, tag=tag, repo_type=kind)


def main() -> None:
    """Write one kind of data."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["photos", "dataset", "clip", "generator"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", choices=CLASSES, default="pets")
    parser.add_argument("--hub", metavar="ID")
    parser.add_argument("--tag")
    args = parser.parse_args()
    models = {"clip": save_clip, "generator": save_stable_diffusion}
    if args.kind in models:
        models[args.kind](args.folder)
    else:
        {"photos": photos, "dataset": dataset}[args.kind](args.folder, CLASSES[args.classes])
    if args.hub:
        upload(args.hub, args.folder, "model" if args.kind in models else "dataset", args.tag)


if __name__ == "__main__":
    main()
