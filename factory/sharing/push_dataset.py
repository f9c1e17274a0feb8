"""`push`: a finished set to a dataset repository of the Hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from factory.card import page, scores
from factory.common.errors import Failure, Fault, UserError
from factory.common.inside import is_inside, require_own
from factory.common.system_files import is_system_file
from factory.hub.changes import LocalFile, local_file
from factory.hub.ids import parse_target
from factory.hub.publish import Publication, PublishReport, check_may_push, publish
from factory.inspection.verify import verify_set
from factory.shards.directory import require_set
from factory.shards.generations import newest
from factory.shards.hub_limits import limit_faults
from factory.shards.manifest import FILE_NAME, Manifest
from factory.shards.parquet import DATA

_FOLDERS = frozenset({DATA, "recipes", "card"})
_SHOWN_FAULTS = 10


def push(
    out: str | Path,
    repo_id: str,
    *,
    revision: str | None = None,
    private: bool = False,
    tag: str | None = None,
    message: str | None = None,
    replace_card: bool = False,
    dry_run: bool = False,
    show_progress: bool = True,
) -> PublishReport:
    """Publish a set: every file of it in one commit, checked by hash afterwards.

    The card goes with the repository's id where it says how to load the set.

    Safe to run again after any failure, and after any change of the set: only what differs is sent,
    and files that the set no longer has are removed there.

    Args:
        out: The set's directory.
        repo_id: `ORG/NAME`; made if it is not there.
        revision: Branch, made if it is not there; default: the default branch.
        private: Make it private; a public one that exists is refused.
        tag: Name for the commit, e.g. `v1`.
        message: Title of the commit.
        replace_card: Drop what people changed in the card there, instead of refusing.
        dry_run: Verify and compare, change nothing.
        show_progress: Whether to show progress bars on stderr.

    Raises:
        UserError: The set is unfinished or damaged, people changed its card on the Hub, or the Hub
            refuses it.
        Failure: The Hub went on failing, another push was faster, or the set changed meanwhile.
    """
    target = parse_target(repo_id, "dataset")
    if revision is not None:
        target = replace(target, revision=revision)
    place = Path(out)
    if "://" in str(out):
        raise UserError(f"{out}: push reads a local directory; copy the set to one first")
    if not place.is_dir():
        raise UserError(f"{out}: no such directory; give the directory of a set")
    require_own(place)
    found = require_set(place)
    _require_within_limits(place, found, target.repo_id)
    check_may_push(target, private=private)
    _require_whole(place, found, show_progress=show_progress)
    files = _collected(place, found, target.repo_id)
    publication = Publication(
        files=files,
        owned=lambda path: _is_owned(path, files),
        title=message or _title(found),
        private=private,
        tag=tag,
        replaces_card=replace_card,
    )
    return publish(target, publication, dry_run=dry_run, show_progress=show_progress)


def set_files(out: Path, found: Manifest) -> dict[str, LocalFile]:
    """Return every file of a set by its path in the repository; shards with the manifest's hash.

    Left out are names that begin with a dot, which belong to version control, system files, links
    that lead out of the directory (`verify` calls them faults), shards that are not listed, and
    scores of other rows.
    """
    hashes = {shard.file: shard.sha256 for one in found.configs.values() for shard in one.shards}
    paths = {path.relative_to(out).as_posix(): path for path in sorted(out.rglob("*"))}
    return {
        name: local_file(path, sha256=hashes.get(name))
        for name, path in paths.items()
        if path.is_file()
        and is_inside(path, out)
        and not _is_left_out(PurePosixPath(name))
        and (name in hashes or not name.startswith(f"{DATA}/"))
        and (name != scores.FILE_NAME or scores.kept_scores(out, found))
    }


def _is_left_out(path: PurePosixPath) -> bool:
    return is_system_file(path) or any(part.startswith(".") for part in path.parts)


def _require_within_limits(out: Path, found: Manifest, repo_id: str) -> None:
    path = out / page.FILE_NAME
    content = page.at_home(path.read_bytes(), repo_id) if path.is_file() else b""
    faults = list(limit_faults(found, content))
    if faults:
        raise UserError([*faults, Fault(f"{out}: nothing was pushed")])


def _collected(out: Path, found: Manifest, repo_id: str) -> dict[str, LocalFile]:
    """Return the files of the manifest that was verified, or none of them.

    Manifest and card go as they are now: a build or gate that ends later cannot exchange them.

    Raises:
        Failure: A build or gate changed the set since the manifest was read.
    """
    try:
        shown = page.at_home((out / page.FILE_NAME).read_bytes(), repo_id)
        pinned = {FILE_NAME: (out / FILE_NAME).read_bytes(), page.FILE_NAME: shown}
        files = set_files(out, found)
    except FileNotFoundError:
        raise _changed(out) from None
    # Only now: a new generation is written before the files that it replaces go.
    if newest(out).manifest != found or require_set(out) != found:
        raise _changed(out)
    return files | {name: local_file(data) for name, data in pinned.items()}


def _changed(out: Path) -> Failure:
    return Failure(f"{out}: changed while it was read, so nothing was pushed; push again")


def _is_owned(path: str, files: dict[str, LocalFile]) -> bool:
    """Whether a file on the Hub is the set's; what people added beside it stays."""
    folder, slash, _ = path.partition("/")
    if not slash:
        return path in (FILE_NAME, page.FILE_NAME, scores.FILE_NAME)
    return folder in _FOLDERS or any(name.startswith(f"{folder}/") for name in files)


def _require_whole(out: Path, found: Manifest, *, show_progress: bool) -> None:
    report = verify_set(out, show_progress=show_progress)
    if report.whole:
        return
    if require_set(out) != found:
        raise _changed(out)
    shown = [Fault(str(fault), file=str(out)) for fault in report.faults[:_SHOWN_FAULTS]]
    more = len(report.faults) - len(shown)
    rest = f"{more} more faults; " if more else ""
    raise UserError(
        [
            *shown,
            Fault(
                f"{out}: nothing was pushed: {rest}the set is not whole; delete or move stray "
                f"files, for other faults run the same build again, then `factory verify {out}`"
            ),
        ]
    )


def _title(found: Manifest) -> str:
    configs = found.in_order()
    images = sum(entry.images for entry in found.configs.values())
    names = ", ".join(configs[:5]) + (f" and {len(configs) - 5} more" if len(configs) > 5 else "")
    return f"{images:,} images: {names}"
