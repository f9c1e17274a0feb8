"""Push a finished dataset to a repository on the Hub."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

from factory.card import page, scores
from factory.common.dataset_files import MARKS, REPORT
from factory.common.errors import Failure, Fault, UserError
from factory.common.local_paths import is_inside, require_own
from factory.common.program import command
from factory.common.system_files import is_system_file
from factory.common.text import plural, some
from factory.hub.changes import LocalFile, local_file
from factory.hub.ids import parse_target
from factory.hub.publish import (
    Publication,
    PublishReport,
    check_may_push,
    publish,
    writing_session,
)
from factory.inspection.verify import verify_set
from factory.shards.directory import require_set
from factory.shards.generations import newest
from factory.shards.hub_limits import limit_faults
from factory.shards.manifest import FILE_NAME, Manifest, parse_manifest
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
    report: bool = False,
    dry_run: bool = False,
    show_progress: bool = True,
) -> PublishReport:
    """Publish all files of a dataset in one commit, and check them by hash.

    The copy of the card names the repository in its loading example.

    The push can be repeated after any failure or change: only differences are sent, and files that
    the dataset no longer has are removed on the Hub.

    Args:
        out: Dataset directory.
        repo_id: `ORG/NAME`; created if missing.
        revision: Branch, created if missing; default: the default branch.
        private: Make the repository private; an existing public one is rejected.
        tag: Tag for the commit, e.g. `v1`.
        message: Title of the commit.
        replace_card: Overwrite edits of the card on the Hub instead of stopping.
        report: Send `report.html` too. A push without it leaves the one on the Hub as it is.
        dry_run: Verify and compare, change nothing.
        show_progress: Whether to show progress bars on stderr.

    Raises:
        UserError: The dataset is unfinished or damaged, has no report to send, its card was edited
            on the Hub, or the Hub rejects it.
        Failure: All retries failed, another push was faster, or the dataset changed.
    """
    target = parse_target(repo_id, "dataset")
    if revision is not None:
        target = replace(target, revision=revision)
    place = Path(out)
    if "://" in str(out):
        raise UserError(f"{out}: push needs a local directory; copy the dataset to one first")
    require_own(place)
    found = require_set(place)
    if report:
        _require_report(place)
    _require_within_limits(place, found, target.repo_id)
    session = writing_session(target, tag=tag)
    check_may_push(session, private=private)
    _require_whole(place, found, show_progress=show_progress)
    files = _collected(place, found, target.repo_id)
    if report:
        files[REPORT] = local_file((place / REPORT).read_bytes())
    publication = Publication(
        files=files,
        owned=lambda path: _is_owned(path, files),
        title=message or _title(found),
        private=private,
        tag=tag,
        replaces_card=replace_card,
    )
    return publish(session, publication, dry_run=dry_run, show_progress=show_progress)


def set_files(out: Path, found: Manifest) -> dict[str, LocalFile]:
    """Return all files of a dataset by repository path; shards with the manifest's hash.

    Excluded are names that begin with a dot, which belong to version control, system files, links
    out of the directory (`verify` reports them), unlisted shards, scores of other rows, the report,
    which may be older than the dataset, and marks, which a gate turns into a column.
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
        and name not in (REPORT, MARKS)
    }


def _require_report(out: Path) -> None:
    if not (out / REPORT).is_file():
        raise UserError(
            f"--report: {out / REPORT} not found; write it with `{command(f'report {out}')}`"
        )


def _is_left_out(path: PurePosixPath) -> bool:
    return is_system_file(path) or any(part.startswith(".") for part in path.parts)


def _require_within_limits(out: Path, found: Manifest, repo_id: str) -> None:
    path = out / page.FILE_NAME
    content = page.at_home(path.read_bytes(), repo_id) if path.is_file() else b""
    faults = list(limit_faults(found, content))
    if faults:
        raise UserError(
            [*faults, Fault(f"{out}: exceeds limits of the Hub, so nothing was pushed")]
        )


def _collected(out: Path, found: Manifest, repo_id: str) -> dict[str, LocalFile]:
    """Return the files listed by the verified manifest.

    Manifest and card are read now, so a build or gate that ends later cannot replace them.
    """
    path = out / FILE_NAME
    try:
        shown = page.at_home((out / page.FILE_NAME).read_bytes(), repo_id)
        pinned = {FILE_NAME: path.read_bytes(), page.FILE_NAME: shown}
        files = set_files(out, found)
    except FileNotFoundError:
        raise _changed(out) from None
    # Checked last: a new generation is written before the files that it replaces are removed.
    sent = parse_manifest(path, pinned[FILE_NAME].decode(errors="replace"))
    if sent != found or newest(out).manifest != found:
        raise _changed(out)
    return files | {name: local_file(data) for name, data in pinned.items()}


def _changed(out: Path) -> Failure:
    return Failure(f"{out}: changed while it was read; nothing was pushed. Push again")


def _is_owned(path: str, files: dict[str, LocalFile]) -> bool:
    """Return whether a file on the Hub belongs to the dataset; files that people added stay."""
    folder, slash, _ = path.partition("/")
    if not slash:
        return path in (FILE_NAME, page.FILE_NAME, scores.FILE_NAME) or (
            path == REPORT and REPORT in files
        )
    return folder in _FOLDERS or any(name.startswith(f"{folder}/") for name in files)


def _require_whole(out: Path, found: Manifest, *, show_progress: bool) -> None:
    report = verify_set(out, found=found, show_progress=show_progress)
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
                f"{out}: nothing was pushed: {rest}the dataset has faults. Move or delete stray "
                "files; for other faults run the same build again, then "
                f"`{command(f'verify {out}')}`"
            ),
        ]
    )


def _title(found: Manifest) -> str:
    images = sum(entry.images for entry in found.configs.values())
    return f"{plural(images, 'image')}: {some(found.in_order(), 5)}"
