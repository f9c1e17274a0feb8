"""Scores on a dataset's card: taken from scores files of `eval score`, stored in `scores.json`.

A score belongs to the rows that its model was trained on. It is stored with the fingerprint of
these shards, and shown only while the dataset still has them.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from factory.common.errors import UserError
from factory.common.frozen import Frozen
from factory.common.program import command
from factory.common.scores_for_cards import Count, Name, Share, TrainedOn, read_score_file
from factory.common.storage import AnyPath, write_text
from factory.common.untrusted_files import read_json
from factory.shards.manifest import Manifest
from factory.shards.parquet import fingerprint

FILE_NAME = "scores.json"


class Score(Frozen):
    """Score of one model, trained on one config, on real images; shares in [0, 1].

    Attributes:
        config: A config of this dataset.
        shards: Fingerprint of the shards that the model was trained on.
        architecture: timm's name of the model.
        seed: Seed of the training.
        weights_sha256: Hash of the model's weights.
        real: Name of the real dataset.
        num_images: Number of real images.
        top1: With `top1_low` and `top1_high`, its 95 % interval.
    """

    config: str
    shards: str
    architecture: Name
    seed: int
    weights_sha256: Name
    real: Name
    num_images: Count
    top1: Share
    top1_low: Share
    top1_high: Share


def kept_scores(out: AnyPath, manifest: Manifest) -> list[Score]:
    """Return the scores beside a dataset that belong to its rows, in card order.

    Raises:
        UserError: The file is damaged.
    """
    path = out / FILE_NAME
    if not path.is_file():
        return []
    try:
        kept = read_json(path)
        scores = [Score.model_validate(entry) for entry in kept["scores"]]
    except (UserError, ValueError, KeyError, TypeError, ValidationError):
        raise UserError(
            f"{path}: contains no scores in the format of this version; delete it and add the "
            f"scores again with `{command(f'card {out} --scores FILE')}`"
        ) from None
    return _current(scores, manifest)


def _current(scores: Sequence[Score], manifest: Manifest) -> list[Score]:
    names = manifest.in_order()
    right = [
        one
        for one in scores
        if one.config in names and one.shards == _shards_of(manifest, one.config)
    ]
    return sorted(
        right, key=lambda one: (one.real, one.architecture, names.index(one.config), one.seed)
    )


def _shards_of(manifest: Manifest, config: str) -> str:
    leaves = manifest.leaves(config)
    return fingerprint(shard.sha256 for leaf in leaves for shard in manifest.configs[leaf].shards)


def keep(out: AnyPath, manifest: Manifest, files: Sequence[Path]) -> list[Score]:
    """Add scores files to `OUT/scores.json`; older scores of the same model are replaced.

    Raises:
        UserError: A file is not a scores file, or its model was trained on something else.
    """
    merged = {_identity(one): one for one in kept_scores(out, manifest)}
    for path in files:
        score = _read(path, manifest)
        merged[_identity(score)] = score
    scores = _current(list(merged.values()), manifest)
    text = json.dumps({"scores": [one.model_dump() for one in scores]}, indent=2)
    write_text(out / FILE_NAME, text + "\n")
    return scores


def _identity(score: Score) -> tuple[str, str, str]:
    return (score.config, score.weights_sha256, score.real)


def _read(path: Path, manifest: Manifest) -> Score:
    data = read_score_file(path)
    run = data.trained(path)
    data.model.require_finished(path)
    config = _require_same_rows(path, run.data, manifest)
    return Score(
        config=config,
        shards=_shards_of(manifest, config),
        architecture=data.model.architecture,
        seed=run.seed,
        weights_sha256=data.model.weights_sha256,
        real=data.real.name,
        num_images=data.real.num_images,
        **data.metrics.model_dump(),
    )


def _require_same_rows(path: Path, rows: TrainedOn, manifest: Manifest) -> str:
    """Return the config that the scored model was trained on; refuse other training data."""
    config = rows.config_name
    if config not in manifest.in_order():
        raise UserError(
            f"{path}: the scored model was trained on config {config}, which this dataset does not "
            f"have (it has {', '.join(manifest.in_order())}); give scores of a model trained on "
            "one of these"
        )
    if rows.label_names != list(manifest.labels):
        raise UserError(
            f"{path}: the scored model was trained on other classes ({_few(rows.label_names)}) "
            f"than this dataset has ({_few(manifest.labels)}), or in another order; give scores of "
            "a model trained on this dataset"
        )
    found, trained = manifest.num_images(config), rows.num_images
    if rows.row_filter or trained != found:
        chosen = f" chosen by --filter {rows.row_filter}" if rows.row_filter else ""
        raise UserError(
            f"{path}: the scored model was trained on {trained} images{chosen}, but {config} has "
            f"{found}; a card shows only scores of models trained on a whole config: train again "
            f"on all images of {config}"
        )
    return config


def _few(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > 3 else ""
    return f"{len(names)}: {', '.join(names[:3])[:80]}{more}"
