"""Options of a training, and its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from factory.data.label_map import LabelMap
    from factory.data.sampling_record import HeldOutKind

SHUFFLE_BUFFER = 2048


@dataclass(frozen=True)
class TrainOptions:
    """Options of a training run.

    Attributes:
        dataset: Directory (text or path), Hub id or `hf://` path.
        model: timm model name, or one of Table 2 (`train.architectures`).
        out: The run folder (text or path).
        more_datasets: Further datasets to train on, with the classes of the first.
        real_train: Dataset of real images to train on as well, or None.
        label_map: Maps labels of further datasets to classes of the first, or None.
        mix: Share of each dataset in an epoch, in sum 1; None for every image once.
        config_name: Config of the dataset, or None for its default.
        split: Split, or None for its only one or `train`.
        row_filter: Expression over metadata columns, or None.
        images_per_class: Rows to sample per class, or None for all.
        image_column: Column of images, or None for the only one.
        label_column: Column of labels, or None for the only one.
        skip_unreadable: Skip images that cannot be read.
        preset: A key of `train.presets.PRESETS`; None is `finetune` for a pretrained model, else
            `quick`.
        pretrained: Start from timm's weights.
        weights: File of pretrained weights to start from instead (text or path), or None.
        teacher: Run folder or model of the Hub whose probabilities are learnt too, or None.
        head_only: Train the last layer only.
        model_args: Further arguments of `timm.create_model`; must be JSON values.
        overrides: Fields of `Hyperparameters` that override the preset's.
        augmentation: Fields of `Augmentation` that override the preset's.
        seed: Seed of all random choices.
        threads: CPU threads per process, or None for those of the run's earlier epochs, else all
            cores. Rounding depends on their number.
        device: Type of device to train on; `auto` chooses one.
        mixed_precision: `fp16` or `bf16` computes in a 16-bit type; None: as accelerate is
            configured.
        torchcompile: Backend of `torch.compile`, or None to not compile the model.
        pixel_memory: Memory for decoded images in GB; a larger dataset is read from its files in
            each epoch. None: half of the free memory.
        stream: Read the images of a Hub dataset over the network in each epoch.
        shuffle_buffer: Images of a stream that are shuffled together; None: `SHUFFLE_BUFFER`.
        workers: Processes that read images from files or a stream; None: one per core.
        recovery_interval: Steps between checkpoints within an epoch; None: only when the process is
            asked to stop.
        log_with: Names of trackers of accelerate that get the metrics of each epoch, or instances
            of `accelerate.tracking.GeneralTracker`.
        push_to: Model repository `ORG/NAME` to publish the finished run in, or None.
        push_revision: Branch to publish on, created if missing, or None for the default one.
        push_private: Make that repository private.
        push_tag: Tag for the commit, or None.
        push_message: Message of the commit, or None.
        allow_empty_classes: Train even if classes have no images.
        push_replace_card: Overwrite edits of the card on the Hub instead of stopping.
    """

    dataset: str
    model: str
    out: Path
    more_datasets: tuple[str, ...] = ()
    real_train: str | None = None
    label_map: LabelMap | None = None
    mix: tuple[float, ...] | None = None
    config_name: str | None = None
    split: str | None = None
    row_filter: str | None = None
    images_per_class: int | None = None
    image_column: str | None = None
    label_column: str | None = None
    skip_unreadable: bool = False
    preset: str | None = None
    pretrained: bool = False
    weights: Path | None = None
    teacher: str | None = None
    head_only: bool = False
    model_args: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    augmentation: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    threads: int | None = None
    device: str = "auto"
    mixed_precision: str | None = None
    torchcompile: str | None = None
    pixel_memory: float | None = None
    stream: bool = False
    shuffle_buffer: int | None = None
    workers: int | None = None
    recovery_interval: int | None = None
    log_with: tuple[Any, ...] = ()
    push_to: str | None = None
    push_revision: str | None = None
    push_private: bool = False
    push_tag: str | None = None
    push_message: str | None = None
    push_replace_card: bool = False
    allow_empty_classes: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "dataset", str(self.dataset))
        object.__setattr__(self, "out", Path(self.out))
        if self.teacher is not None:
            object.__setattr__(self, "teacher", str(self.teacher))
        if self.weights is not None:
            object.__setattr__(self, "weights", Path(self.weights))
            object.__setattr__(self, "pretrained", True)


def shuffle_buffer(options: TrainOptions) -> int:
    """Return how many images of a stream are shuffled together."""
    return options.shuffle_buffer or SHUFFLE_BUFFER


@dataclass(frozen=True)
class RunSummary:
    """Result of a run.

    Attributes:
        out: The run folder.
        epochs: Total number of epochs.
        best_epoch: Epoch of the saved weights, from 1.
        best_val_top1: Its accuracy on held-out training images, 0 to 1; None without any.
        best_val_map: Its mean average precision, with several labels per image; else None.
        val_by_dataset: The same for each of several datasets, by name.
        num_real_images: Images that were given as real ones, held-out ones included.
        num_val_images: Number of held-out images.
        val_kind: What to call them, see `factory.data.sampling_record.held_out_kind`.
        is_main_process: True in the process that prints the summary.
    """

    out: Path
    epochs: int
    best_epoch: int
    best_val_top1: float | None
    is_main_process: bool
    best_val_map: float | None = None
    val_by_dataset: Mapping[str, float | None] = field(default_factory=dict)
    num_real_images: int = 0
    num_val_images: int = 0
    val_kind: HeldOutKind = "training"
