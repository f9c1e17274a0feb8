"""Download a config of a Hub dataset as local files, checked by hash.

The resolved commit and files are recorded beside the cache of huggingface_hub, so that the same
files are found, and known to be complete, in offline mode.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from factory.common.dataset_files import CARDS, MANIFEST, check_card, check_config, names_files
from factory.common.errors import UserError, first_line
from factory.common.storage import write_text
from factory.data.dataset_builders import IMAGES, find_builder, module_name, options_of
from factory.data.folder_rows import load_images
from factory.data.image_folder import has_images, listed_images
from factory.hub.download import Snapshot, check_read_access, fetch, offline, resolve_commit
from factory.hub.errors import client_errors, is_transient, status_of
from factory.hub.ids import HubTarget
from factory.hub.session import HubSession

_FORMAT = 3


@dataclass(frozen=True)
class HubDataset:
    """One config of a dataset in the local cache.

    Attributes:
        commit: Commit of the revision.
        config_name: The config.
        module: Module of datasets that reads it, e.g. `parquet`.
        paths: Paths in the repository, by split.
        features: Result of `Features.to_dict`, or None if the files define them.
        folder: Folder of the paths.
        others: Other paths of the repository, unless other configs or the card name them.
        by_folders: Whether `paths` are an image folder, of images and metadata files.
        configs: Names of all configs in the card.
        options: Options of the module.
    """

    commit: str
    config_name: str
    module: str
    paths: dict[str, list[str]]
    features: dict[str, Any] | None
    folder: str
    others: tuple[str, ...] = ()
    by_folders: bool = False
    configs: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def data_files(self) -> dict[str, list[str]]:
        """Return the local files by split."""
        return {
            split: [str(Path(self.folder) / path) for path in paths]
            for split, paths in self.paths.items()
        }


def fetch_dataset(
    target: HubTarget,
    config_name: str | None,
    *,
    labelled: bool = True,
    skip_unreadable: bool = False,
) -> HubDataset:
    """Download one config of a dataset.

    Raises:
        UserError: No such dataset, revision or config; no permission; not in the cache; images
            without a class or in a format that is not read.
        Failure: The Hub cannot be reached, or its files arrive damaged.
    """
    record = _record(target.repo_id, config_name)
    if offline():
        return _remembered(target, record(target.revision or "main"))
    card, listed = _card(target)
    found = None
    if config_name in (None, "default"):
        found = _images(target, card, listed, labelled=labelled, skip_unreadable=skip_unreadable)
    found = found or _configured(target, config_name, card, listed)
    for name in {target.revision or "main", found.commit}:
        # Several processes may write the same record at the same time.
        write_text(record(name), json.dumps({"format": _FORMAT, **asdict(found)}))
    return found


def _card(target: HubTarget) -> tuple[Snapshot, set[str]]:
    """Download and check the card; return it and the paths of all files."""
    # By commit: the branch may move, and the resolved files must be the ones read.
    commit = resolve_commit(target)
    check_read_access(target)
    listed: set[str] = set()

    def is_card(path: str) -> bool:
        listed.add(path)
        return path in CARDS

    card = fetch(target.at(commit), is_card)
    # datasets reads whatever the card names as files, addresses included.
    check_card(card.folder, shown=str(target))
    return card, listed


def _images(
    target: HubTarget, card: Snapshot, listed: set[str], *, labelled: bool, skip_unreadable: bool
) -> HubDataset | None:
    """Download an image folder whose files no card names; None if it is another dataset."""
    shown = str(target)
    held = listed_images(card.folder, listed)
    if names_files(card.folder, shown=shown) or not has_images(held, shown):
        return None
    if not held.holds_images:
        return None
    if not held.metadata:
        # Faults of the folder are reported before anything is downloaded.
        load_images(
            held, labelled=labelled, skip_unreadable=skip_unreadable, shown=shown, unwrap=True
        )
    paths = [str(path) for path in (*held.images, *held.metadata)]
    wanted = set(paths)
    snapshot = fetch(target.at(card.commit), wanted.__contains__)
    return HubDataset(
        commit=card.commit,
        config_name="default",
        module=IMAGES,
        paths={"images": paths},
        features=None,
        folder=str(snapshot.folder),
        others=tuple(sorted(listed - wanted)),
        by_folders=True,
    )


def find_parquet(target: HubTarget, config_name: str | None) -> HubDataset:
    """Find the Parquet files of a config; download the card and the manifest only.

    Raises:
        UserError: No such dataset, revision or config, no permission, or other files than Parquet.
        Failure: The Hub cannot be reached.
    """
    if offline():
        raise UserError(
            f"{target}: HF_HUB_OFFLINE is set, and --stream needs the Hub; unset it, or omit "
            "--stream to use the cache"
        )
    card, listed = _card(target)
    found = _configured(target, config_name, card, listed, rows=False)
    if found.module != "parquet":
        raise UserError(
            f"{target}: its files are {found.module}, and --stream reads Parquet only; omit "
            "--stream, or convert them"
        )
    return found


def _configured(
    target: HubTarget,
    config_name: str | None,
    card: Snapshot,
    listed: set[str],
    *,
    rows: bool = True,
) -> HubDataset:
    """Find the files that datasets finds in a config, and download them (`rows`)."""
    commit = card.commit
    configs = check_config(card.folder, config_name, shown=str(target))
    builder = _find(target, config_name, commit)
    prefix = f"hf://datasets/{target.repo_id}@{commit}/"
    files = {str(split): list(urls) for split, urls in (builder.config.data_files or {}).items()}
    paths = {split: [_path(url, prefix, target) for url in urls] for split, urls in files.items()}
    wanted = {path for urls in paths.values() for path in urls}
    module = module_name(builder, shown=str(target))
    fetched = {MANIFEST, *(wanted if rows else ())}
    snapshot = fetch(target.at(commit), fetched.__contains__)
    features = builder.config.features
    whole = (
        len(builder.builder_configs) == 1
        if module == IMAGES
        else not names_files(card.folder, shown=str(target))
    )
    return HubDataset(
        commit=commit,
        config_name=builder.config.name,
        module=module,
        paths=paths,
        features=features.to_dict() if features is not None else None,
        folder=str(snapshot.folder),
        others=tuple(sorted(listed - wanted)) if whole else (),
        configs=tuple(configs),
        options=options_of(builder, shown=str(target)),
    )


def _find(target: HubTarget, config_name: str | None, commit: str) -> Any:
    """Resolve the config with datasets; network errors are retried, others are final."""

    def is_final(error: BaseException) -> None:
        network = isinstance(error, ConnectionError | TimeoutError) or status_of(error) is not None
        transport = isinstance(error, client_errors()[0])
        if not (network or transport) or not is_transient(error):
            raise UserError(f"{target}: {first_line(error)}") from None

    return HubSession(target, writes=False).call(
        # With its prefix, so that a local folder of the same name is not used.
        lambda: find_builder(f"hf://datasets/{target.repo_id}", config_name, commit),
        doing="resolving the config",
        check=is_final,
    )


def _path(url: str, prefix: str, target: HubTarget) -> str:
    if not url.startswith(prefix):
        raise UserError(
            f"{target}: its card refers to files outside the repository ({url}), which are not "
            "downloaded; download them and give the folder instead"
        )
    return url.removeprefix(prefix)


def _record(repo_id: str, config_name: str | None) -> Callable[[str], Path]:
    """Return where the record of a revision is."""
    from huggingface_hub import constants

    def path(revision: str) -> Path:
        # Hashed: names may contain characters that file names must not; records must not collide.
        key = json.dumps([constants.ENDPOINT, repo_id, revision, config_name])
        digest = hashlib.sha256(key.encode()).hexdigest()
        return Path(constants.HF_HOME) / "data-factory" / "resolved" / f"{digest}.json"

    return path


def _remembered(target: HubTarget, path: Path) -> HubDataset:
    missing = UserError(
        f"{target}: HF_HUB_OFFLINE is set and this config is not in the cache; unset it once to "
        "download it"
    )
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.pop("format") != _FORMAT:
            raise missing
        found = HubDataset(**record)
    except (OSError, ValueError, KeyError, TypeError):
        raise missing from None
    if not all(Path(file).is_file() for listed in found.data_files().values() for file in listed):
        raise missing
    return found
