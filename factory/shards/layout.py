"""Map shards to file names.

The name of a shard includes a hash of its planned content: `train-00003-1f0c9a52b7de.parquet` is
shard 3, and the twelve digits are a hash of recipe, settings, image range and columns. So a file's
content never changes under its name: a grown last shard, a shard with new columns and a replacement
of a damaged file are new files. The manifest lists the files of the dataset; other files are
leftovers (`factory.builder.tidy`). The replacement's name is derived from the damaged file's, so no
name is used twice.

Datasets of older versions have names with the shard count (`train-00003-of-00010.parquet`). They
stay as they are, because the manifest lists them too.
"""

import hashlib
import json
from collections.abc import Collection, Iterator

from factory.shards.manifest import Manifest
from factory.shards.parquet import DATA, NAME, shard_count, shard_rows
from factory.shards.stamp import Stamp

_KEY_DIGITS = 12


def total_shards(manifest: Manifest, config: str) -> int:
    """Return the number of shards of a complete config; 0 for a union."""
    entry = manifest.configs[config]
    if entry.kind == "union":
        return 0
    return shard_count(entry.images, shard_size=manifest.settings.shard_size)


def wanted_stamp(manifest: Manifest, config: str, index: int) -> Stamp:
    """Return the expected stamp of a complete shard, without `failed` and hash."""
    entry, settings = manifest.configs[config], manifest.settings
    images = shard_rows(index, num_images=entry.images, shard_size=settings.shard_size)
    return Stamp(
        config=config,
        fingerprint=entry.fingerprint,
        settings=settings.as_dict(),
        start=images.start,
        stop=images.stop,
    )


def file_of(stamp: Stamp, manifest: Manifest) -> str:
    """Return the file for a stamp, which may cover only the first rows of a shard."""
    entry = manifest.configs[stamp.config]
    # A share's rows depend on its size: a larger one copies other rows of its members.
    of = entry.images if entry.kind == "share" else 0
    what = [stamp.unsealed().model_dump(exclude={"failed"}), manifest.variables, of]
    index = stamp.start // manifest.settings.shard_size
    return shard_file(stamp.config, index, key_of(json.dumps(what, sort_keys=True)))


def names_from(file: str) -> Iterator[str]:
    """Yield a shard's file name, that of its replacement, that of the replacement's, and so on."""
    while True:
        yield file
        folder, _, name = file.rpartition("/")
        number = number_of(name)
        assert number is not None, "it is a shard's file"
        file = f"{folder}/{_name(number, key_of(file))}"


def key_of(text: str) -> str:
    """Return the hash digits in a file name."""
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


def shard_file(config: str, index: int, key: str) -> str:
    """Return a shard's file, relative to the dataset directory."""
    return f"{DATA}/{config}/{_name(index, key)}"


def _name(index: int, key: str) -> str:
    return f"train-{index:05d}-{key}.parquet"


def shard_files(manifest: Manifest, config: str) -> list[str]:
    """Return the files of a config by number; see `file_at`."""
    return [file_at(manifest, config, index) for index in range(total_shards(manifest, config))]


def file_at(manifest: Manifest, config: str, index: int) -> str:
    """Return the file of a shard: the listed one, or the one that a build will write."""
    entry = manifest.configs[config]
    if entry.complete and index < len(entry.shards):
        return entry.shards[index].file
    return first_name(manifest, config, index)


def first_name(manifest: Manifest, config: str, index: int) -> str:
    """Return the listed file of a complete shard, or else the planned file name."""
    shards, stamp = manifest.configs[config].shards, wanted_stamp(manifest, config, index)
    if index < len(shards) and number_of(shards[index].file) == index:
        is_whole = shards[index].rows + len(shards[index].failed) == stamp.stop - stamp.start
        if is_whole:
            return shards[index].file
    return file_of(stamp, manifest)


def is_counted(file: str) -> bool:
    """Return whether a shard has an older version's name, which includes the shard count."""
    return "-of-" in file.rpartition("/")[2]


def number_of(file: str) -> int | None:
    """Return the number in a shard's name; None for other files."""
    match = NAME.fullmatch(file.rpartition("/")[2])
    return int(match[1]) if match else None


def present_shards(manifest: Manifest, config: str, files: Collection[str]) -> dict[int, str]:
    """Return the files of a config's finished shards, by shard number.

    Only file names are compared; no file is opened.

    Args:
        manifest: Manifest of the dataset.
        config: Name of the config.
        files: Existing files of the config, relative to the dataset's directory.
    """
    found = {}
    total = total_shards(manifest, config)
    for index in range(total):
        counted = f"{DATA}/{config}/train-{index:05d}-of-{total:05d}.parquet"
        for file in (file_at(manifest, config, index), counted):
            if file in files:
                found[index] = file
                break
    return found
