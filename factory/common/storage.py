"""Read and write datasets in a local or shared directory, or at any URL that fsspec supports.

All files are written atomically through this module: on file systems with a temporary name, a sync
and a rename; on object stores with a single put. Files that must not be overwritten are created
exclusively: by a hard link on file systems, by a conditional put (`If-None-Match`) on S3 and stores
that support it. On other stores a check precedes the put, so two writers of one name may both
succeed. For a shard, one image range is then generated twice; for a manifest generation, one of two
simultaneous changes is lost.
"""

import errno
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any, cast

from factory.common.errors import Failure, UserError, first_line

AnyPath = Path
"""A local path, or a `upath.UPath`, which has pathlib's interface for a URL."""

TEMPORARY = ".writing-"
ASIDE = "tidied-"
"""Begins the names, after `TEMPORARY`, of files that `tidy` puts aside before it removes them."""
_STORE_LIBRARIES = frozenset(
    ("adlfs", "aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google", "s3fs")
)
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def open_path(reference: str | Path) -> AnyPath:
    """Return the path of a reference: a `Path`, or a `UPath` for a URL.

    Raises:
        UserError: No installed library supports the URL, or the store cannot be reached.
    """
    if not isinstance(reference, str) or "://" not in reference:
        return at_home(reference) if isinstance(reference, (str, PurePath)) else reference
    from upath import UPath

    try:
        # Other processes make and remove markers and shards: a listing must never be an old one.
        path = UPath(reference, use_listings_cache=False)
        if path.fs.protocol in ("file", ("file", "local")):
            return Path(path.path)
        path.exists()
    except (ImportError, ValueError) as error:
        raise UserError(
            f"{reference}: cannot be opened ({first_line(error)}); install the library for such "
            "addresses, or name a directory"
        ) from None
    except Exception as error:
        # Each store has its own errors for a missing bucket, key or network.
        raise UserError(f"{reference}: cannot be reached: {first_line(error)}") from error
    return cast("AnyPath", path)


def at_home(name: str | Path) -> Path:
    """Return a path with `~` expanded to the home directory.

    Unlike `Path.expanduser`, it does not raise for `~name` of an unknown user.

    Raises:
        UserError: It is a web address.
    """
    if str(name).lower().startswith(("http://", "https://")):
        raise UserError(
            f"{name}: web addresses are not read; download the files and give their folder"
        )
    return Path(os.path.expanduser(name))  # noqa: PTH111


def is_local(path: AnyPath) -> bool:
    """Return whether a path is on a file system."""
    return isinstance(path, PurePath)


def write_bytes(path: AnyPath, data: bytes, *, exclusive: bool = False) -> bool:
    """Write a file atomically: after a crash it is complete or unchanged.

    Args:
        path: Final path of the file.
        data: Its whole content.
        exclusive: Whether to keep a file that exists already.

    Returns:
        False if an existing file was kept.

    Raises:
        OSError: The disk is full or cannot be written; no partial file remains.
    """
    if not is_local(path):
        return _put(path, data, exclusive=exclusive)
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(3)}-{path.name}"
    temporary = path.with_name(name)
    written = False
    try:
        with _naming(path), temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        written = link(temporary, path) if exclusive else bool(temporary.replace(path))
    except FileNotFoundError:
        if temporary.exists() or not path.parent.is_dir():
            raise
        # Another launch has ended and removed the files that were half-written.
        return write_bytes(path, data, exclusive=exclusive)
    finally:
        # Also after Ctrl-C: no temporary files stay in a dataset.
        if not written or exclusive:
            temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return written


def write_text(path: AnyPath, text: str) -> None:
    """Write a small text file atomically: it has the old text or the new one."""
    write_bytes(path, text.encode())


def sync_folder(folder: AnyPath) -> None:
    """Make renames in a folder survive a power failure, if the system can open folders."""
    if not is_local(folder):
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        # Windows cannot open folders.
        return
    try:
        with _naming(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_temporary(path: AnyPath) -> bool:
    """Return whether a file is a temporary file of a running or killed writer."""
    return path.name.startswith(TEMPORARY)


def remove_temporary_files(out: AnyPath) -> None:
    """Remove half-written files of killed writers; a running writer writes its file again."""
    for path in temporary_files(out):
        # What `tidy` has put aside may have to be put back.
        if not path.name.startswith(f"{TEMPORARY}{ASIDE}"):
            path.unlink(missing_ok=True)


def entries(folder: AnyPath) -> list[AnyPath]:
    """Return the sorted paths in a folder; empty if another process has just removed it."""
    try:
        # By name: paths take several times as long to compare.
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def temporary_files(out: AnyPath) -> list[AnyPath]:
    """Return the temporary files of running and killed writers."""
    if not is_local(out):
        return []
    # Unlike `rglob`, it passes over folders that are removed meanwhile.
    found = (Path(folder) / name for folder, _, names in os.walk(out) for name in names)
    return sorted(path for path in found if path.name.startswith(TEMPORARY))


def remove_if_empty(folder: AnyPath) -> None:
    """Remove an empty directory; object stores have none."""
    if is_local(folder):
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def local_copy(folder: AnyPath) -> Iterator[Path]:
    """Return a folder of small files as a local one: itself, or a temporary copy."""
    if is_local(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory() as name:
        for path in folder.iterdir() if folder.is_dir() else ():
            (Path(name) / path.name).write_bytes(path.read_bytes())
        yield Path(name)


@contextmanager
def answering(place: AnyPath) -> Iterator[None]:
    """Report errors of the store behind a URL in one line.

    Raises:
        Failure: The store's library raised an error.
    """
    try:
        yield
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        if is_local(place) or library not in _STORE_LIBRARIES:
            raise
        raise Failure(
            f"{place}: the store does not respond ({first_line(error)}); "
            "run the same command again to resume"
        ) from error


def _put(path: Any, data: bytes, *, exclusive: bool) -> bool:
    try:
        path.fs.pipe_file(path.path, data, mode="create" if exclusive else "overwrite")
    except FileExistsError:
        return False
    except PermissionError as error:
        # Stores raise it without number and name.
        raise PermissionError(errno.EACCES, str(error), str(path)) from error
    except OSError:
        raise
    except Exception as error:
        # Each store has its own errors for being unreachable.
        raise Failure(
            f"{path}: cannot be written ({first_line(error)}); run the same command again to resume"
        ) from error
    return True


def link(temporary: Path, final: Path) -> bool:
    """Give a file its final name; return False if that name exists already."""
    try:
        final.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if final.exists():
            return False
        temporary.rename(final)
    return True


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add the file's name to system errors without one, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise
