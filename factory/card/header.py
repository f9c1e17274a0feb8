"""The YAML header of a card, which the Hub indexes and `load_dataset` reads.

Each config's entry has a fingerprint of its shards: `load_dataset` of a local directory caches by
this header alone. Without the fingerprint, a changed dataset would load its old rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from factory.card.facts import title
from factory.card.licences import licence_fields
from factory.common.errors import UserError
from factory.common.untrusted_files import parse_yaml
from factory.data.columns import IMAGE, LABEL, value_types
from factory.shards.layout import is_counted
from factory.shards.manifest import Manifest
from factory.shards.parquet import DATA, fingerprint

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
    (10_000_000_000, "1B<n<10B"),
    (100_000_000_000, "10B<n<100B"),
    (1_000_000_000_000, "100B<n<1T"),
)
# Half of the largest card that the Hub accepts (`factory.shards.hub_limits`).
_MOST_INFO_BYTES = 500_000


def general_fields(
    labels: Sequence[str], *, models: Sequence[str], num_images: int
) -> dict[str, Any]:
    """Return the part of the header that does not depend on files."""
    return {
        "pretty_name": title(labels),
        **licence_fields(models),
        "annotations_creators": ["machine-generated"],
        "source_datasets": ["original"],
        "task_categories": ["image-classification"],
        "task_ids": ["multi-class-image-classification"],
        "size_categories": [next((name for limit, name in _SIZES if num_images < limit), "n>1T")],
        "tags": ["synthetic", "diffusers", "text-to-image", "data-factory"],
    }


def built_fields(manifest: Manifest) -> dict[str, Any]:
    """Return the part of the header that describes files.

    `dataset_info` is left out where it would be too large for the Hub: `load_dataset` finds the
    features in the Parquet files too.
    """
    info = {"dataset_info": _dataset_info(manifest)}
    if len(to_yaml(info).encode()) > _MOST_INFO_BYTES:
        info = {}
    return {**info, "configs": config_entries(manifest)}


def to_yaml(fields: dict[str, Any]) -> str:
    """Return the header's text, without the lines of dashes."""
    import yaml

    text: str = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=120)
    return text


def config_entries(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the header's configs: names, files, and a fingerprint of the shards.

    Files are listed one by one, because a glob would also match files of stopped builds.
    """
    entries = []
    for place, name in enumerate(manifest.in_order()):
        shards = [one for leaf in manifest.leaves(name) for one in manifest.configs[leaf].shards]
        entry: dict[str, Any] = {"config_name": name}
        if place == 0:
            entry["default"] = True
        entry["description"] = f"shards {fingerprint(one.sha256 for one in shards)}"
        entry["data_files"] = _data_files([one.file for one in shards])
        entries.append(entry)
    return entries


def older_data_files(manifest: Manifest, name: str) -> list[dict[str, Any]] | None:
    """Return `data_files` in the form of older versions, if they built all files of a config."""
    leaves = manifest.leaves(name)
    shards = [one for leaf in leaves for one in manifest.configs[leaf].shards]
    if not all(is_counted(one.file) for one in shards):
        return None
    return _data_files([f"{DATA}/{leaf}/train-*.parquet" for leaf in leaves])


def with_exact_files(text: str, manifest: Manifest) -> str:
    """Return a card of an older version with its globs replaced by file names."""
    parts = text.split("---\n", 2)
    if len(parts) != 3 or "train-*.parquet" not in parts[1]:
        return text
    try:
        header = parse_yaml(parts[1], file="README.md")
        entries = [entry for entry in header["configs"] if isinstance(entry, dict)]
    except (UserError, KeyError, TypeError):
        # Not a card of a build; `load_dataset` reads no configs from it.
        return text
    exact = {entry["config_name"]: entry["data_files"] for entry in config_entries(manifest)}
    changed = False
    for entry in entries:
        name = str(entry.get("config_name"))
        if name in exact and entry.get("data_files") == older_data_files(manifest, name):
            entry["data_files"] = exact[name]
            changed = True
    if not changed:
        return text
    return "---\n".join((parts[0], to_yaml(header), parts[2]))


def _data_files(paths: Sequence[str]) -> list[dict[str, Any]]:
    return [{"split": "train", "path": list(paths) if len(paths) > 1 else paths[0]}]


def feature_list(labels: Sequence[str], variable_types: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the features of a dataset, as datasets writes them into a header."""
    names = {str(label): name for label, name in enumerate(labels)}
    types = {
        IMAGE: "image",
        LABEL: {"class_label": {"names": names}},
        **value_types(variable_types),
    }
    return [{"name": name, "dtype": kind} for name, kind in types.items()]


def _dataset_info(manifest: Manifest) -> list[dict[str, Any]]:
    """Return the features of each config.

    Counts are in the card's text. `load_dataset` accepts them only together with the size in bytes
    of the prepared dataset, which is not known in advance.
    """
    columns = feature_list(manifest.labels, manifest.variables)
    return [
        {
            "config_name": name,
            "features": columns,
        }
        for name in manifest.in_order()
    ]
