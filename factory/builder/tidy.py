"""Remove files that a dataset no longer lists: outgrown shards, damaged ones, old columns.

Removing a file cannot be undone, and a process may pause right before it. So a build removes only
files that no build can list again: damaged ones, and shards of fewer images or columns than the
listed ones, since a dataset only grows. All other leftovers are removed by `factory tidy`.
"""

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from factory.builder.markers import left_over_markers, remove_empty_folders
from factory.builder.partial_shards import left_over_partial_shards
from factory.card.reader_files import publish
from factory.common.local_paths import OLD_CLAIMS, STAGES, require_own
from factory.common.storage import (
    ASIDE,
    TEMPORARY,
    AnyPath,
    is_local,
    link,
    remove_if_empty,
    temporary_files,
)
from factory.data.columns import arrow_schema
from factory.shards.directory import Look, require_set
from factory.shards.generations import Generation, latest, newest, replace
from factory.shards.layout import names_from, total_shards, wanted_stamp
from factory.shards.manifest import Manifest
from factory.shards.parquet import DATA, NAME, ShardFile
from factory.shards.stamp import inspect

_ASIDE = re.compile(rf"{re.escape(TEMPORARY + ASIDE)}[0-9a-f]{{6}}-({NAME.pattern})")
_REPLACEMENTS = 10
"""More damaged files of one shard in a row than can be expected."""


@dataclass(frozen=True)
class Tidied:
    """Result of `factory tidy`.

    Attributes:
        files: Leftovers, relative to the dataset directory, with their sizes in bytes.
        unfinished: Configs whose files were not touched: a build may list them later.
        removed: Number of removed files.
        put_back: Shards that a stopped `tidy` had put aside, and that are not leftovers. Without
            `delete`, all shards that are still put aside.
    """

    files: dict[str, int]
    unfinished: tuple[str, ...]
    removed: int
    put_back: tuple[str, ...] = ()


def tidy(out: AnyPath, *, delete: bool) -> Tidied:
    """Find, and optionally remove, leftovers of builds and gates.

    Files listed by the newest generation and files with unknown names are never touched.

    Raises:
        UserError: There is no dataset, or one of its folders is a link to another place.
    """
    if is_local(out):
        require_own(out)
    require_set(out)
    now = newest(out)
    # Listed once: what another `tidy` puts aside from now on is not touched.
    temporary = temporary_files(out)
    aside = _put_aside(out, temporary)
    if delete:
        _put_back(aside)
    look = Look.at(out, now, now.dropped)
    shards = [shard.path for _, shard in _unlisted(look, now.written)]
    shards += [shard.path for name in now.dropped for shard in look.shards[name]]
    stages = old_stages(out, now.number)
    others = [file for stage in stages for file in stage.rglob("*") if file.is_file()]
    others += left_over_markers(out, now.written)
    others += left_over_partial_shards(out, now.written)
    claims = out / OLD_CLAIMS
    others += [path for path in sorted(claims.glob("*")) if path.is_file()]
    others += [path for path in temporary if path not in (*others, *aside)]
    sizes = {path.relative_to(out).as_posix(): _size(path) for path in (*shards, *others)}
    unfinished = [name for name, entry in now.written.configs.items() if not entry.complete]
    put_back = [path for path in aside.values() if path not in shards]
    removed = 0
    if delete:
        removed = _remove(out, now, shards)
        for path in others:
            path.unlink(missing_ok=True)
        for stage in stages:
            shutil.rmtree(stage, ignore_errors=True)
        remove_empty_folders(out)
        for folder in (out / STAGES, claims):
            remove_if_empty(folder)
        removed += len(others)
    names = (path.relative_to(out).as_posix() for path in put_back)
    return Tidied(sizes, tuple(unfinished), removed, tuple(names))


def _put_aside(out: AnyPath, temporary: list[AnyPath]) -> dict[AnyPath, AnyPath]:
    """Return shards that a suspended or killed `tidy` has put aside, with their paths before.

    Such a file may be the only copy of a listed shard. If its name is taken, it is superfluous.
    """
    found = {}
    for path in temporary:
        match = _ASIDE.fullmatch(path.name)
        if match and path.parent.parent == out / DATA and not path.with_name(match[1]).exists():
            found[path] = path.with_name(match[1])
    return found


def _put_back(aside: dict[AnyPath, AnyPath]) -> None:
    """Give shards their names back: only then is each one judged and removed safely."""
    for path, name in aside.items():
        # The `tidy` that has put it aside may go on at any time.
        with suppress(FileNotFoundError):
            link(path, name)
        path.unlink(missing_ok=True)


def _size(path: AnyPath) -> int:
    """Return the size of a file in bytes; 0 if another process has just removed it."""
    try:
        return int(path.stat().st_size)
    except FileNotFoundError:
        return 0


def remove_left_over(look: Look) -> int:
    """Remove the shards that no build can list again; return their number."""
    manifest = look.generation.manifest
    if manifest is None:
        return 0
    found = [
        shard.path
        for config, shard in _unlisted(look, manifest)
        if _is_superseded(look.out, manifest, config, shard)
    ]
    return _remove(look.out, look.generation, found)


def _remove(out: AnyPath, now: Generation, paths: list[AnyPath]) -> int:
    """Remove files that generation `now` does not list.

    A new generation is created first: a process that has written files to list them in the
    generation after `now` finds its number taken and reads again. A process that changes the
    dataset afterwards reads the directory too, so this stops as soon as a newer generation exists.
    """
    mine = replace(out, now, now.written, recipes={}) if paths else None
    if mine is None:
        return 0
    # The card, or an older `manifest.json`, may still name files that are about to be removed.
    publish(out, card=True)
    for number, path in enumerate(paths):
        if not _remove_if_newest(out, path, mine.number):
            return number
    return len(paths)


def _remove_if_newest(out: AnyPath, path: AnyPath, newest_number: int) -> bool:
    """Remove a file if `newest_number` is still the newest generation; return whether it was.

    A newer generation may list the file. This process may be suspended between check and removal,
    so a local file is first renamed, and gets its name back if a newer generation exists by then.
    This is safe because a build creates its generation before it uses an unlisted file.
    """
    if latest(out) != newest_number:
        return False
    if not is_local(path):
        path.unlink(missing_ok=True)
        return True
    aside = path.with_name(f"{TEMPORARY}{ASIDE}{secrets.token_hex(3)}-{path.name}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return True
    is_newest = latest(out) == newest_number
    if not is_newest:
        with suppress(FileNotFoundError):
            link(aside, path)
    aside.unlink(missing_ok=True)
    return is_newest


def _unlisted(look: Look, manifest: Manifest) -> Iterator[tuple[str, ShardFile]]:
    """Yield the unlisted shards of complete configs.

    Shards of incomplete configs may belong to another launch, which lists them later.
    """
    for name, entry in manifest.configs.items():
        if not entry.complete:
            continue
        listed = {shard.file for shard in entry.shards}
        # A config that is newer than the listing has no leftovers.
        for shard in look.shards.get(name, ()):
            file = shard.path.relative_to(look.out).as_posix()
            if file not in listed and not _repairs(look.out, manifest, name, shard):
                yield name, shard


def old_stages(out: AnyPath, newest_number: int) -> list[AnyPath]:
    """Return the folders of gate passes over older generations, which cannot finish any more."""
    folder = out / STAGES
    if not is_local(out) or not folder.is_dir():
        return []
    numbers = {path: path.name.partition("-")[0] for path in sorted(folder.iterdir())}
    return [
        path for path, number in numbers.items() if number.isdigit() and int(number) < newest_number
    ]


def _is_superseded(out: AnyPath, manifest: Manifest, config: str, shard: ShardFile) -> bool:
    """Return whether no build can list a file again, since datasets only grow."""
    try:
        found = inspect(shard.path)
    except FileNotFoundError:
        return False
    file = shard.path.relative_to(out).as_posix()
    if found.fault or found.stamp is None or _was_replaced(manifest, config, shard.index, file):
        return True
    if shard.index >= total_shards(manifest, config):
        return False
    wanted = wanted_stamp(manifest, config, shard.index)
    columns = arrow_schema(manifest.labels, manifest.variables).names
    return (
        found.stamp.is_of(wanted)
        and found.stamp.stop <= wanted.stop
        and set(found.columns) <= set(columns)
    )


def _was_replaced(manifest: Manifest, config: str, index: int, file: str) -> bool:
    """Return whether the listed file replaces this one, directly or through other files."""
    shards = manifest.configs[config].shards
    return index < len(shards) and shards[index].file in islice(names_from(file), 1, _REPLACEMENTS)


def _repairs(out: AnyPath, manifest: Manifest, config: str, shard: ShardFile) -> bool:
    """Return whether a file replaces a listed, damaged one: a repair is in progress."""
    entry = manifest.configs[config]
    if shard.index >= len(entry.shards):
        return False
    listed = entry.shards[shard.index].file
    file = shard.path.relative_to(out).as_posix()
    if file not in islice(names_from(listed), 1, _REPLACEMENTS) or _is_damaged(shard.path):
        return False
    return _is_damaged(out / listed)


def _is_damaged(path: AnyPath) -> bool:
    try:
        return inspect(path).fault is not None
    except FileNotFoundError:
        return True
