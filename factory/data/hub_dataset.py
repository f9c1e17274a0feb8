"""Download a config of a Hub dataset as local files, checked by hash.

The resolved commit and files are recorded beside the cache of huggingface_hub, so that the same
files are found, and known to be complete, in offline mode.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from factory.common.dataset_files import CARDS, check_card
from factory.common.errors import UserError, first_line
from factory.common.storage import write_text
from factory.data.dataset_builders import IMAGES, find_builder, module_name
from factory.hub.download import check_read_access, fetch, offline, resolve_commit
from factory.hub.errors import client_errors, is_transient, status_of
from factory.hub.ids import HubTarget
from factory.hub.session import HubSession

_FORMAT = 1


@dataclass(frozen=True)
class HubDataset:
    """One config of a dataset in the local cache.

    Attributes:
        commit: Commit of the revision.
        config_name: The config.
        module: Module of datasets that reads it, e.g. `parquet`.
        paths: Paths in the repository, by split.
        features: As from `Features.to_dict`, or None if the files define them.
        folder: Folder of the paths.
        others: Other paths of the repository, if one config reads a whole folder of images.
    """

    commit: str
    config_name: str
    module: str
    paths: dict[str, list[str]]
    features: dict[str, Any] | None
    folder: str
    others: tuple[str, ...] = ()

    def data_files(self) -> dict[str, list[str]]:
        """Return the local files by split."""
        return {
            split: [str(Path(self.folder) / path) for path in paths]
            for split, paths in self.paths.items()
        }


def fetch_dataset(target: HubTarget, config_name: str | None) -> HubDataset:
    """Download one config of a dataset.

    Raises:
        UserError: No such dataset, revision or config; no permission; not in the cache.
        Failure: The Hub cannot be reached, or its files arrive damaged.
    """
    if offline():
        return _remembered(target, config_name)
    commit = resolve_commit(target)
    check_read_access(target)
    # datasets reads whatever the card names as files, addresses included.
    card = fetch(target.at(commit), CARDS.__contains__)
    check_card(card.folder, shown=str(target))
    builder = _find(target, config_name, commit)
    prefix = f"hf://datasets/{target.repo_id}@{commit}/"
    files = {str(split): list(urls) for split, urls in (builder.config.data_files or {}).items()}
    paths = {split: [_path(url, prefix, target) for url in urls] for split, urls in files.items()}
    wanted = {path for listed in paths.values() for path in listed}
    # By commit: the branch may move, and the resolved files must be the ones read.
    others: set[str] = set()

    def is_wanted(path: str) -> bool:
        if path not in wanted:
            others.add(path)
        return path in wanted

    snapshot = fetch(target.at(commit), is_wanted)
    features = builder.config.features
    module = module_name(builder, shown=str(target))
    whole = module == IMAGES and len(builder.builder_configs) == 1
    found = HubDataset(
        commit=commit,
        config_name=builder.config.name,
        module=module,
        paths=paths,
        features=features.to_dict() if features is not None else None,
        folder=str(snapshot.folder),
        others=tuple(sorted(others)) if whole else (),
    )
    _remember(found, target, config_name)
    return found


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
            f"{target}: its files are elsewhere ({url}); download the dataset and name its folder"
        )
    return url.removeprefix(prefix)


def _record(repo_id: str, name: str, config_name: str | None) -> Path:
    from huggingface_hub import constants

    # Hashed: names may contain characters that file names must not, and records must not collide.
    key = json.dumps([constants.ENDPOINT, repo_id, name, config_name])
    digest = hashlib.sha256(key.encode()).hexdigest()
    return Path(constants.HF_HOME) / "data-factory" / "resolved" / f"{digest}.json"


def _remember(found: HubDataset, target: HubTarget, config_name: str | None) -> None:
    """Save the record under the revision's name and the commit's."""
    text = json.dumps({"format": _FORMAT, **asdict(found)})
    for name in {target.revision or "main", found.commit}:
        # Several processes may write the same record at the same time.
        write_text(_record(target.repo_id, name, config_name), text)


def _remembered(target: HubTarget, config_name: str | None) -> HubDataset:
    missing = UserError(
        f"{target}: HF_HUB_OFFLINE is set and this config is not in the cache; unset it once to "
        "download it"
    )
    path = _record(target.repo_id, target.revision or "main", config_name)
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
