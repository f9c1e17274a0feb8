"""Settings and file names of a run folder, and checks that a later start has the same settings."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from factory.common.errors import UserError
from factory.common.whole_files import replace_text
from train.config import differing_keys
from train.generator.config import DIGITS, Config, DataConfig

CONFIG_FILE = "config.json"
CHECKPOINT_FILE = "checkpoint.pt"
# The checkpoint of the best probe.
BEST_FILE = "best.pt"
# For checkpoints of versions that did not record the machine.
UNRECORDED = "a machine that was not recorded"


def load_config_of(folder: Path) -> Config:
    """Read the settings of a run folder.

    Raises:
        UserError: It is not the folder of a generator's run.
    """
    path = folder / CONFIG_FILE
    if not path.exists():
        raise UserError(f"{folder}: no {CONFIG_FILE}; expected a run folder of `fit`")
    try:
        return Config.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError:
        raise UserError(
            f"{path}: not the settings of a generator's run; expected a run folder of `fit`"
        ) from None


def check_config(config: Config, folder: Path) -> None:
    """Compare the settings with those of the run folder, if it has any.

    The length of a started run and its sampling weights may change.

    Raises:
        UserError: The folder belongs to a run with other settings, or is not a run folder; or it
            has been trained already and should start from another pipeline than it did.
    """
    if not (folder / CONFIG_FILE).exists():
        return
    before = load_config_of(folder)
    start = config.fit.start_from
    if start and not _is_same_start(start, before) and (folder / CHECKPOINT_FILE).exists():
        raise UserError(
            f"{folder}: has been trained already and did not start from {start}; choose another "
            "--out, or remove --start-from to resume"
        )
    differing = differing_keys(_fixed(before), _fixed(config))
    if differing:
        raise UserError(
            f"{folder}: contains another run, which differs in {', '.join(differing)}; choose "
            "another --out, or the same settings"
        )


def with_saved_start(config: Config, folder: Path) -> Config:
    """Return the settings; if they name no pipeline to start from, with the run folder's."""
    if config.fit.start_from or not (folder / CONFIG_FILE).exists():
        return config
    fit = config.fit.model_copy(update={"start_from": load_config_of(folder).fit.start_from})
    return config.model_copy(update={"fit": fit})


def read_by_hand(folder: Path, name: str) -> str:
    """Return a note written by hand into a run folder; empty if there is none."""
    path = folder / name
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def _is_same_start(start: str, before: Config) -> bool:
    known = before.fit.start_from
    return known is not None and Path(known).resolve() == Path(start).resolve()


def save_config(config: Config, folder: Path) -> None:
    """Save the settings in the run folder, atomically."""
    text = config.model_dump_json(indent=2)
    replace_text(folder / CONFIG_FILE, text)


def are_alike(one: Config, other: Config) -> bool:
    """Return whether the settings are the same except for data, length and logging.

    For runs that started from a pipeline, learning rates are ignored too, since they should be
    lower than before.
    """
    methods = [_method(config) for config in (one, other)]
    if one.fit.start_from or other.fit.start_from:
        for values in methods:
            values["fit"].update(unet_lr=None, text_lr=None)
    return methods[0] == methods[1]


def _method(config: Config) -> dict[str, Any]:
    values = config.model_dump()
    for source in values["data"]["sources"]:
        if source["source"] != DIGITS:
            source.update(source="")
    values["fit"].update(samples=None, max_minutes=None, start_from=None)
    # Logging intervals do not affect the training.
    values["fit"].update({name: None for name in values["fit"] if name.endswith("_every")})
    values["fit"].update(checkpoint_minutes=None)
    return values


def _fixed(config: Config) -> dict[str, Any]:
    sections = {name: getattr(config, name).model_dump() for name in ("latents", "text", "unet")}
    return sections | {"data": _by_number(config.data.collected())}


def _by_number(data: DataConfig) -> dict[str, Any]:
    values = data.model_dump()
    return values | {"sources": {str(i): one for i, one in enumerate(values["sources"])}}
