"""Load the splits of a dataset: a directory, an image folder, a table of images, or a Hub id.

A local directory is never passed to `load_dataset(DIR)`: datasets 5.2 caches by the card's configs
alone, so a changed folder can return its old rows. datasets only *resolves* the directory; its
files are then loaded by path, with their modification times in the cache key.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from factory.common.console import launched_as, log
from factory.common.dataset_files import (
    check_files,
    check_saved,
    names_files,
)
from factory.common.errors import UserError, first_line
from factory.common.program import command
from factory.common.storage import at_home
from factory.common.text import some
from factory.data.column_choice import PREFERRED, columns_of_images
from factory.data.dataset_builders import (
    IMAGES,
    MALFORMED,
    find_builder,
    load_files,
    module_name,
    options_of,
)
from factory.data.early_checks import (
    check_directory,
    is_path,
    is_saved,
    may_be_image_folder,
    refuse_config_of_file,
)
from factory.data.folder_rows import load_folder
from factory.data.image_classes import in_splits
from factory.data.image_folder import ImageFolder, find_images, has_images, listed_images
from factory.data.image_table import (
    PARQUET,
    PATH_COLUMNS,
    by_split,
    is_table,
    read_csv,
    with_images,
)
from factory.data.left_out import files_below, files_left_out, left_out_of, place_of, refuse_lost
from factory.data.row_bounds import require_bounded_rows
from factory.hub.ids import parse_target

if TYPE_CHECKING:
    import datasets

# Suffixes of a folder of recipes.
_BESIDE_RECIPES = {".yaml", ".json", ".md"}
_Columns = tuple[str | None, str | None]
"""Names of the column of images and of the column of labels, where the user gives them."""


@dataclass(frozen=True)
class Loaded:
    """The splits of one config and their source.

    Attributes:
        splits: Rows by split.
        config_name: The config that was read.
        commit: As for `OpenedDataset`, like the fields below.
        has_splits: Whether the dataset names its splits. If not, its rows are the split `train`.
    """

    splits: datasets.DatasetDict
    config_name: str
    commit: str | None = None
    image_folder: Path | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    home: Path | None = None
    has_splits: bool = True


def load_any(
    reference: str,
    config_name: str | None,
    *,
    labelled: bool,
    skip_unreadable: bool,
    columns: _Columns = (None, None),
) -> Loaded:
    """Load the splits of a dataset.

    Args:
        reference: Directory, CSV or Parquet file, or Hub id.
        config_name: None for the default config.
        labelled: Whether images without a class are errors.
        skip_unreadable: Skip images of an image folder in unsupported formats, and what
            `factory.data.left_out.refuse_lost` refuses.
        columns: Columns of images and labels of a CSV file that the user names.

    Raises:
        UserError: It cannot be loaded.
    """
    if not is_path(reference):
        return _load_hub(reference, config_name, labelled=labelled, skip_unreadable=skip_unreadable)
    path = at_home(reference)
    if is_table(path):
        return _load_table(path, config_name, columns, skip_unreadable=skip_unreadable)
    found = _image_folder_of(path, config_name, labelled=labelled, skip_unreadable=skip_unreadable)
    return found or _load_directory(path, config_name, skip_unreadable=skip_unreadable)


def _image_folder_of(
    path: Path, config_name: str | None, *, labelled: bool, skip_unreadable: bool
) -> Loaded | None:
    """Load a directory if it is an image folder whose files no card names.

    datasets would choose splits by words in the names of folders and files.
    """
    if not may_be_image_folder(path, config_name):
        return None
    found = find_images(path)
    if not has_images(found, str(path)):
        _refuse_recipes(found, path)
        found.refuse_without_rows(str(path), labelled=labelled)
        return None
    if not found.holds_images:
        return None
    splits, left_out = load_folder(
        found, labelled=labelled, skip_unreadable=skip_unreadable, shown=str(path)
    )
    named = _names_splits(splits, found)
    return Loaded(splits, "default", image_folder=path, left_out=left_out, has_splits=named)


def _refuse_recipes(found: ImageFolder, path: Path) -> None:
    """Reject what may be a folder of recipes, whose JSON file datasets would read as rows."""
    has_other_json = found.others[".json"] > (path / "schema.json").is_file()
    if found.others[".yaml"] and set(found.others) <= _BESIDE_RECIPES and not has_other_json:
        raise UserError(
            f"{path}: {found.without_images()}; if the .yaml files are recipes, build a dataset "
            f"from them first: `{command(f'build {shlex.quote(str(path))} OUT')}`"
        )


def _names_splits(splits: datasets.DatasetDict, found: ImageFolder) -> bool:
    return set(splits) != {"train"} or in_splits([path.parts for path in found.images])


def _load_directory(path: Path, config_name: str | None, *, skip_unreadable: bool) -> Loaded:
    configs = check_directory(path, config_name)
    if is_saved(path):
        return Loaded(_load_saved(path), "default")
    try:
        builder = find_builder(str(path), config_name)
    except ConnectionError as error:
        raise UserError(f"{path}: {first_line(error)}; is it a dataset directory?") from None
    if config_name is None:
        _report_default(builder.config.name, configs, shown=str(path))
    files = {str(key): list(paths) for key, paths in (builder.config.data_files or {}).items()}
    # The module's name is the format's (`parquet`, `imagefolder`); it loads the files by path.
    check_files((file for listed in files.values() for file in listed), path)
    module = module_name(builder, shown=str(path))
    loaded = load_files(
        str(path),
        module,
        data_files=files,
        features=builder.config.features,
        **options_of(builder, shown=str(path)),
    )
    if module != IMAGES:
        left_out = {} if names_files(path, shown=str(path)) else _lost(path, files)
        if not skip_unreadable:
            refuse_lost(left_out, shown=str(path))
        return Loaded(loaded, builder.config.name, left_out=left_out, home=path)
    left_out = left_out_of(
        find_images(path),
        loaded.values(),
        # Of several configs, one config's files are not the whole folder.
        skip_unreadable=skip_unreadable or len(builder.builder_configs) > 1,
        shown=str(path),
    )
    return Loaded(loaded, builder.config.name, image_folder=path, left_out=left_out)


def _report_default(name: str, configs: Sequence[str], *, shown: str) -> None:
    """Report which of several configs is read if the user named none."""
    if len(configs) > 1 and launched_as()[0] == 0:
        log(
            f"{shown}: using {name}, the default of its {len(configs)} configs "
            f"({some(configs, 8)}); name another one to read it instead"
        )


def _lost(folder: Path, files: dict[str, list[str]]) -> dict[str, int]:
    home = place_of(f"{folder}/")
    read = [place_of(path).removeprefix(home) for paths in files.values() for path in paths]
    return files_left_out(read, files_below(folder))


def _load_table(
    path: Path, config_name: str | None, columns: _Columns, *, skip_unreadable: bool
) -> Loaded:
    """Load a file whose rows contain images, or name image files beside it."""
    import datasets as hf

    refuse_config_of_file(path, config_name)
    image_column, label_column = columns
    if path.suffix.lower() == PARQUET:
        files = {"train": [str(path)]}
        rows = load_files(str(path), "parquet", data_files=files)["train"]
    else:
        texts = {image_column or "", label_column or "", *PREFERRED["label"], *PATH_COLUMNS}
        rows = read_csv(path, texts={name.lower() for name in texts})
    folder = None
    if not columns_of_images(rows):
        folder = path.parent
        rows = with_images(rows, path, column=image_column, skip_unreadable=skip_unreadable)
    splits, named = by_split(rows, path)
    return Loaded(hf.DatasetDict(splits), "default", image_folder=folder, has_splits=named)


def _load_saved(path: Path) -> datasets.DatasetDict:
    """Load a dataset written by `Dataset.save_to_disk`."""
    import datasets as hf

    parts = check_saved(path)
    try:
        for part, files in parts.items():
            described = (part / "dataset_info.json").exists()
            features = hf.DatasetInfo.from_directory(str(part)).features if described else None
            require_bounded_rows(str(path), "arrow", {"": files}, features)
        saved = hf.load_from_disk(str(path))
        for rows in saved.values() if isinstance(saved, hf.DatasetDict) else [saved]:
            # Unlike files that datasets converts, these are used as they are.
            rows.data.validate(full=True)
    except (OSError, ValueError, *MALFORMED) as error:
        raise UserError(
            f"{path}: cannot be loaded as a dataset of `save_to_disk` ({first_line(error)}); save "
            "it again"
        ) from None
    # Its state may hide columns, or give tensors for values.
    saved.reset_format()
    return saved if isinstance(saved, hf.DatasetDict) else hf.DatasetDict(train=saved)


def _load_hub(
    reference: str, config_name: str | None, *, labelled: bool, skip_unreadable: bool
) -> Loaded:
    """Load files of the Hub in the same way as a directory, after checking them."""
    import datasets as hf

    from factory.data.hub_dataset import fetch_dataset

    found = fetch_dataset(
        parse_target(reference, "dataset"),
        config_name,
        labelled=labelled,
        skip_unreadable=skip_unreadable,
    )
    if config_name is None:
        _report_default(found.config_name, found.configs, shown=reference)
    read = [one for paths in found.paths.values() for one in paths]
    # Only image folders have paths in their rows, which may point into the folder.
    held = listed_images(Path(found.folder), {*read, *found.others})
    if found.by_folders:
        loaded, left_out = load_folder(
            held, labelled=labelled, skip_unreadable=skip_unreadable, shown=reference, unwrap=True
        )
        named = _names_splits(loaded, held)
        return Loaded(
            loaded, found.config_name, found.commit, held.folder, left_out, has_splits=named
        )
    features = hf.Features.from_dict(found.features) if found.features else None
    files = found.data_files()
    loaded = load_files(
        reference, found.module, data_files=files, features=features, **found.options
    )
    if found.module != IMAGES:
        left_out = files_left_out(read, found.others)
        if not skip_unreadable:
            refuse_lost(left_out, shown=reference)
        home = Path(found.folder)
        return Loaded(loaded, found.config_name, found.commit, left_out=left_out, home=home)
    left_out = left_out_of(held, loaded.values(), skip_unreadable=skip_unreadable, shown=reference)
    return Loaded(loaded, found.config_name, found.commit, held.folder, left_out)
