"""Find files that a dataset does not list: stray files, leftover shards, an older manifest."""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from factory.card import page, scores
from factory.common.dataset_files import MARKS, MAX_CARD_BYTES, REPORT, ROUNDS
from factory.common.errors import UserError
from factory.common.program import command
from factory.common.storage import AnyPath, is_temporary
from factory.common.system_files import is_system_file
from factory.common.untrusted_files import read_text
from factory.inspection.faults import SetFault
from factory.shards import generations, manifest
from factory.shards.directory import recipe_path
from factory.shards.generations import newest
from factory.shards.layout import shard_files
from factory.shards.manifest import Manifest
from factory.shards.parquet import DATA, ShardFile, list_shards
from factory.shards.stamp import read_stamp

_LINK = re.compile(r"(?:\]\(|src=\")([^)\"\s]+)")


def check_generation(out: AnyPath, found: Manifest) -> Iterator[SetFault]:
    """Yield a fault if `manifest.json` is of an older generation because its writer was killed."""
    try:
        now = newest(out).manifest
    except UserError as error:
        yield SetFault(generations.FOLDER, "content", str(error.faults[0]), "a valid state")
        return
    if now != found:
        yield SetFault(
            manifest.FILE_NAME,
            "content",
            "an older state of the dataset",
            f"the newest: `{command(f'card {out}')}` writes it, and the card, again",
        )


def stray_files(out: AnyPath, found: Manifest, left_over: Sequence[str]) -> Iterator[SetFault]:
    """Yield the files that belong to no config.

    Exceptions: top-level names that begin with a dot (version control), system files, images shown
    on the card, kept scores, the report, marks, and the cost of rounds. Shards that are `left_over`
    are no fault as long as the card names the files of each config.
    """
    names = (manifest.FILE_NAME, page.FILE_NAME, scores.FILE_NAME, REPORT, ROUNDS, MARKS)
    known = {out / name for name in names}
    for name in found.configs:
        known |= {recipe_path(out, name), *(out / file for file in shard_files(found, name))}
    known |= {out / link for link in _LINK.findall(_card_text(out))}
    known |= {out / file for file in left_over}
    for path in sorted(out.rglob("*")):
        inner = path.relative_to(out)
        hidden = inner.parts[0].startswith(".") or is_system_file(PurePath(*inner.parts))
        overlooked = hidden and not is_temporary(path)
        if path.is_dir() or overlooked or path in known:
            continue
        what = "a temporary file of an interrupted build" if is_temporary(path) else "a stray file"
        yield SetFault(inner.as_posix(), "file", what, "none (no config has it): move or delete it")


def left_over_shards(out: AnyPath, found: Manifest) -> list[str]:
    """Return the shards of this dataset that no config lists, or not yet."""
    card = _card_text(out)
    if any(f"{DATA}/{name}/train-*" in card for name in found.configs):
        # The card of an older version, which reads all files of a config's folder.
        return []
    left = []
    for name in _config_folders(out):
        listed = set(shard_files(found, name)) if name in found.configs else set()
        for shard in list_shards(out, name):
            file = shard.path.relative_to(out).as_posix()
            if file not in listed and _is_of(shard, name, found):
                left.append(file)
    return left


def _config_folders(out: AnyPath) -> list[str]:
    folder = out / DATA
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _is_of(shard: ShardFile, config: str, found: Manifest) -> bool:
    """Return whether a shard's stamp belongs to this dataset and position."""
    try:
        stamp = read_stamp(shard.path)
    except (OSError, ValueError):
        return False
    entry = found.configs.get(config)
    return (
        (stamp.config, stamp.settings) == (config, found.settings.as_dict())
        and (entry is None or stamp.fingerprint == entry.fingerprint)
        and stamp.start == shard.index * found.settings.shard_size
    )


def _card_text(out: AnyPath) -> str:
    try:
        return read_text(out / page.FILE_NAME, max_bytes=MAX_CARD_BYTES)
    except UserError:
        # Reported by `check_card`.
        return ""
