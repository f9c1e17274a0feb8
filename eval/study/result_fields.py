"""Results of a study, as its JSON report lists them."""

from eval.study.settings import RowSettings
from eval.study.statistics import Estimate
from factory.common.frozen import Frozen


class Cell(Frozen):
    """One row's scores with one model.

    Attributes:
        top1: Score of each run, in per cent, sorted by image seed, then by training seed.
        mean: Mean over the runs.
        std: Sample standard deviation over the runs; None for one run.
        train_seconds: Mean training time of a run.
    """

    top1: list[float]
    mean: float
    std: float | None
    train_seconds: float | None


class Gap(Frozen):
    """Distance of a row's images of the first seed from the real ones, with 95 % intervals.

    Attributes:
        two_sample: Accuracy, low and high of a classifier that distinguishes real from synthetic
            images.
        spread: Variance within classes, synthetic over real: ratio, low and high.
        fidelity: Share of images in which a classifier trained on real images sees their class.
    """

    two_sample: list[float]
    spread: list[float | None]
    fidelity: float | None


class Row(Frozen):
    """One row of the table: the paper's score, its settings, measures and cost."""

    name: str
    images: int
    generated: int
    image_seeds: list[int]
    paper: float | None
    settings: RowSettings | None
    build_seconds: float | None
    cells: dict[str, Cell]
    gap: Gap | None
    commands: list[str]


class Compared(Frozen):
    """Two rows compared with one model; `adjusted_p` is Holm's over all of the dataset."""

    row: str
    to: str
    differs: list[str]
    model: str
    paper: float | None
    estimate: Estimate
    adjusted_p: float | None


class SetResult(Frozen):
    """All rows of one test set; `preset` and `train` are those of its trainings."""

    paper: str | None
    preset: str
    train: list[str]
    real: str
    real_images: int
    real_fingerprint: str
    note: str
    floor: list[float] | None
    rows: list[Row]
    comparisons: list[Compared]
    scorings: dict[str, dict[str, float]]
    zero_shot: dict[str, float]


class Results(Frozen):
    """Results of a study.

    Attributes:
        title: Title of the report.
        generator: Model of all images, or None for each recipe's own.
        generator_revisions: Its revisions; several mean that weights were mixed.
        models: timm models.
        seeds: Training seeds.
        preset: Training preset of datasets without one of their own.
        epochs: Number of epochs, or None for the preset's.
        features: Model of the gap's features, by dataset.
        limits: Markdown above the datasets.
        versions: All versions of each library; several mean that the study was resumed with others.
        devices: All devices by what they did, likewise.
        sets: Results by dataset.
    """

    title: str
    generator: str | None
    generator_revisions: list[str]
    models: list[str]
    seeds: list[int]
    preset: str
    epochs: int | None
    features: dict[str, str]
    limits: str
    versions: dict[str, list[str]]
    devices: dict[str, list[str]]
    sets: dict[str, SetResult]
