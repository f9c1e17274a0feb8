"""Write the generator's training digits as a dataset, as an upper bound for generated ones."""

from pathlib import Path
from typing import Any

from factory.common.errors import UserError
from factory.common.whole_files import replace_file
from train.generator.config import SourceConfig
from train.generator.images.captions import Facts
from train.generator.images.domains import DOMAINS
from train.generator.images.rows import Images
from train.generator.images.sources import DigitSource

DATA_FILE = Path("data") / "train-00000-of-00001.parquet"


def write_rendered(out: Path, *, images: int, image_size: int, seed: int) -> None:
    """Write rendered digits in all domains, classes in turn, as one file for `load_dataset`.

    Raises:
        UserError: `out` is not empty, or is a file.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is not empty; name a new folder")
    source = DigitSource(SourceConfig(seed=seed, images=images), image_size=image_size)
    dataset = _as_dataset([source.sample(index) for index in range(images)])
    path = out / DATA_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda to: dataset.to_parquet(str(to)))


def _as_dataset(rows: list[tuple[Images, Facts]]) -> Any:
    import datasets
    from PIL import Image

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=[str(digit) for digit in range(10)]),
            "domain": datasets.Value("string"),
            "printed": datasets.Value("bool"),
        }
    )
    columns = {
        "image": [Image.fromarray(image) for image, _ in rows],
        "label": [int(facts["digit"]) for _, facts in rows],
        "domain": [DOMAINS[facts["domain"]].words[0] for _, facts in rows],
        "printed": [facts["printed"] == "yes" for _, facts in rows],
    }
    return datasets.Dataset.from_dict(columns, features=features)
