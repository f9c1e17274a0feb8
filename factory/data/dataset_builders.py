"""Resolve a directory or Hub id with the library datasets, before any row is read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from factory.common.errors import UserError, first_line
from factory.common.text import suggest

# Formats whose files contain their rows. Others, such as hdf5, iceberg and lance, may point to
# files elsewhere, or have parsers of their own.
IMAGES = "imagefolder"
_MODULES = ("parquet", IMAGES, "arrow", "csv", "json", "text", "webdataset")

# datasets raises these for malformed descriptions: in a card, in a JSON file,
# in the metadata of a Parquet file.
MALFORMED = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError),
    *(NotImplementedError, RecursionError, TypeError),
)


def find_builder(path: str, config_name: str | None, revision: str | None = None) -> Any:
    """Resolve a dataset without reading its rows; report each failure in one line with a remedy.

    Raises:
        UserError: There is no such dataset or config, or it has no data.
        OSError: The network failed.
    """
    import datasets as hf
    from datasets.exceptions import DatasetNotFoundError

    # Messages use the name as the user typed it.
    shown = path.removeprefix("hf://datasets/")
    try:
        with quiet():
            return hf.load_dataset_builder(path, config_name, revision=revision)
    except DatasetNotFoundError as error:
        hint = "check the id; a private one needs a login (hf auth login)"
        raise UserError(f"{shown}: {first_line(error)}; {hint}") from None
    except FileNotFoundError as error:
        raise UserError(
            f"{shown}: {first_line(error)}; is it a dataset directory or Hub id?"
        ) from None
    except ValueError as error:
        fault = _config_fault(path, config_name, revision, error)
        raise UserError(f"{shown}: {fault}") from None
    except MALFORMED as error:
        raise UserError(
            f"{shown}: its card is invalid ({first_line(error)}); correct `configs` and "
            "`dataset_info`, or remove them"
        ) from None


def _config_fault(
    path: str, config_name: str | None, revision: str | None, error: ValueError
) -> str:
    import datasets as hf

    if config_name is None and "onfig" not in str(error):
        return first_line(error)
    try:
        known = hf.get_dataset_config_names(path, revision=revision)
    except (OSError, ValueError, *MALFORMED):
        return first_line(error)
    if config_name is None:
        return f"name one of its configs with --config: {', '.join(known)}"
    return f"no config {config_name!r}; {suggest(config_name, known)}"


def module_name(builder: Any, *, shown: str) -> str:
    """Return the module of datasets behind a builder: the format's name (`parquet`, `imagefolder`).

    Raises:
        UserError: Files of this format can point to other files or addresses, or are not tables.
    """
    module = type(builder).__module__.rsplit(".", 1)[-1]
    if module not in _MODULES:
        raise UserError(
            f"{shown}: its files are {module}, which is not supported; convert them to Parquet, or "
            f"use one of {', '.join(_MODULES)}"
        )
    return module


class quiet:
    """Silence the progress bars of datasets, which would interleave with ours."""

    def __enter__(self) -> None:
        import datasets as hf

        self._enabled = hf.is_progress_bar_enabled()
        hf.disable_progress_bars()

    def __exit__(self, *_: object) -> None:
        import datasets as hf

        if self._enabled:
            hf.enable_progress_bars()


@contextmanager
def closing_csv_files() -> Iterator[None]:
    """Close every CSV file that datasets opens meanwhile, however far it reads.

    It reads the first rows of a `metadata.csv` and abandons the reader, which then holds itself and
    the open file until some later garbage collection; after an error nothing closes the file.
    """
    from datasets.utils import file_utils

    open_file = file_utils.xopen
    with ExitStack() as files:
        file_utils.xopen = lambda *args, **options: files.enter_context(open_file(*args, **options))
        try:
            yield
        finally:
            file_utils.xopen = open_file
