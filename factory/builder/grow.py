"""New columns for shards that exist: copies with null columns, beside the files they replace.

Nothing is drawn again, nothing is overwritten, and it can be stopped anywhere and begun again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from factory.common.errors import Failure
from factory.common.storage import AnyPath
from factory.shards.directory import Look
from factory.shards.layout import file_of, key_of, names_from, shard_file
from factory.shards.manifest import Manifest, ShardEntry
from factory.shards.parquet import ShardFile, read_rows, shard_hash, write_shard
from factory.shards.stamp import inspect

if TYPE_CHECKING:
    import datasets


def add_columns(
    look: Look, old: Manifest, new: Manifest, *, features: datasets.Features
) -> Manifest:
    """Write copies of the shards that lack columns of the dataset, which are null there.

    Args:
        look: The dataset's directory.
        old: What binds the build of the manifest that is there.
        new: With the columns the dataset will have.
        features: Of `new`.

    Returns:
        `new`, listing the copies of what `old` lists.

    Raises:
        Failure: a shard is damaged; copied, it would look whole.
    """
    out, number = look.out, look.generation.number
    configs = dict(new.configs)
    for name, entry in old.configs.items():
        same = entry.complete and configs[name].images == entry.images
        if entry.kind == "share" and not same:
            # A share of another size takes other rows of its members: it is written again.
            continue
        listed = {shard.file for shard in entry.shards}
        copies = {}
        for shard in look.shards[name]:
            file = shard.path.relative_to(out).as_posix()
            # Of a complete config, files that are not listed are left over.
            if file in listed or not entry.complete:
                base = number if entry.complete else None
                copies[file] = _with_columns(
                    out, shard, new, features=features, config=name, number=base
                )
        shards = tuple(copies.get(shard.file, shard) for shard in configs[name].shards)
        configs[name] = configs[name].model_copy(update={"shards": shards})
    return new.model_copy(update={"configs": configs})


def _with_columns(
    out: AnyPath,
    shard: ShardFile,
    new: Manifest,
    *,
    features: datasets.Features,
    config: str,
    number: int | None,
) -> ShardEntry:
    found = inspect(shard.path)
    if found.fault:
        raise Failure(
            f"{shard.path}: {found.fault}; build {config} again first, which generates it again"
        )
    if found.columns == tuple(features):
        return found.entry(shard.path.relative_to(out).as_posix())
    stamp = found.stamp
    assert stamp is not None, "a shard without fault has a stamp"
    rows = read_rows(shard.path)
    first = file_of(stamp, new)
    if number is not None:
        # Listed in the next generation or never: `factory tidy`, which makes one before it removes
        # a file, cannot remove a copy that a later build uses.
        first = shard_file(config, shard.index, key_of(f"{number} {first}"))
    for file in names_from(first):
        written = write_shard(out / file, rows, features=features, stamp=stamp)
        if written is not None:
            return written
        # An earlier build was stopped after it had written the copy. What it copied may have been
        # damaged or measured again since.
        before = inspect(out / file)
        if before.sha256 == shard_hash(rows, features=features, stamp=stamp):
            return before.entry(file)
    raise AssertionError("there is always another name")
