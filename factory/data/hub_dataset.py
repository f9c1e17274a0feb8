"""A dataset of the Hub as local files: resolved to a commit, downloaded, checked, remembered.

What was resolved is remembered beside the cache of huggingface_hub, so that the same files are
found, and found to be complete, when the network is forbidden.
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
    """One config of a dataset, in the local cache.

    Attributes:
        commit: What the revision named.
        config_name: The config.
        module: What datasets reads it with, e.g. `parquet`.
        paths: Paths in the repository, by split.
        features: As `Features.to_dict` gives them, or None where the files tell.
        folder: Holds the paths.
        others: Other paths of the repository, where one config reads a whole folder of images.
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
    # datasets follows whatever the card names as files, addresses too.
    card = fetch(target.at(commit), CARDS.__contains__)
    check_card(card.folder, shown=str(target))
    builder = _find(target, config_name, commit)
    prefix = f"hf://datasets/{target.repo_id}@{commit}/"
    files = {str(split): list(urls) for split, urls in (builder.config.data_files or {}).items()}
    paths = {split: [_path(url, prefix, target) for url in urls] for split, urls in files.items()}
    wanted = {path for listed in paths.values() for path in listed}
    # By the commit: the branch may move, and what was resolved must be what is read.
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
    """Let datasets resolve the config; what the line did is repeated, the rest is a fault."""

    def is_final(error: BaseException) -> None:
        network = isinstance(error, ConnectionError | TimeoutError) or status_of(error) is not None
        transport = isinstance(error, client_errors()[0])
        if not (network or transport) or not is_transient(error):
            raise UserError(f"{target}: {first_line(error)}") from None

    return HubSession(target, writes=False).call(
        # With its prefix: a folder here that is called the same is not meant.
        lambda: find_builder(f"hf://datasets/{target.repo_id}", config_name, commit),
        doing="resolving the config",
        check=is_final,
    )


def _path(url: str, prefix: str, target: HubTarget) -> str:
    if not url.startswith(prefix):
        raise UserError(
            f"{target}: its files lie elsewhere ({url}); download it and give the folder"
        )
    return url.removeprefix(prefix)


def _record(repo_id: str, name: str, config_name: str | None) -> Path:
    from huggingface_hub import constants

    # Hashed: names may hold what no file name may, and two of them must not share a record.
    key = json.dumps([constants.ENDPOINT, repo_id, name, config_name])
    digest = hashlib.sha256(key.encode()).hexdigest()
    return Path(constants.HF_HOME) / "data-factory" / "resolved" / f"{digest}.json"


def _remember(found: HubDataset, target: HubTarget, config_name: str | None) -> None:
    """Write the record under the revision's name and under the commit's."""
    text = json.dumps({"format": _FORMAT, **asdict(found)})
    for name in {target.revision or "main", found.commit}:
        # Several processes may write the same record at once.
        write_text(_record(target.repo_id, name, config_name), text)


def _remembered(target: HubTarget, config_name: str | None) -> HubDataset:
    missing = UserError(
        f"{target}: HF_HUB_OFFLINE is set and this config is not in the cache; unset it once to "
        "fetch it"
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
