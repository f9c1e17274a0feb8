"""Names and order of the table's rows."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from eval.scores_file import Scores
from eval.scoring_mode import STANDARD

RowKey = Literal["config", "run"]

OPEN = " ["
"""Text before the name of a way of scoring, in a row's name."""

_TABLE_1 = (
    "base-class",
    "anti-aliasing",
    "anti-aliased",
    "class-prompt",
    "multi-domain",
    "random-guidance",
)
_COMBINING = {"all", "best", "combined", "combination", "but", "union"}


def row_name(scores: Scores, row_key: RowKey = "config") -> str:
    """Return the row's name, with marks for non-standard scoring and unfinished training.

    The name is that of the training config, else the dataset's, else the run's.
    """
    name = _trick(scores, row_key)
    marks = [scores.model.unfinished] if scores.model.unfinished else []
    if scores.scoring != STANDARD:
        marks.insert(0, scores.scoring)
    return f"{name}{OPEN}{', '.join(marks)}]" if marks else name


def _trick(scores: Scores, row_key: RowKey) -> str:
    run = Path(scores.run).resolve().name if Path(scores.run).is_dir() else Path(scores.run).name
    if scores.zero_shot is not None:
        return f"{scores.model.architecture} ({scores.zero_shot.prompts} prompts)"
    data = (scores.training or {}).get("data") or {}
    if row_key == "run" or not data:
        return run
    sources = data.get("sources") or ()
    if sources:
        return _mixed(sources, (scores.training or {}).get("mix"))
    return _dataset_name(data) or run


def _mixed(sources: Sequence[dict[str, Any]], mix: Sequence[float] | None) -> str:
    """Return a row's name for a run on several datasets, with their shares or real images."""
    names = [
        f"{_dataset_name(one)} ({one.get('num_images')} real)"
        if one.get("real")
        else _dataset_name(one)
        for one in sources
    ]
    if mix is None:
        return " + ".join(names)
    shares = (f"{100 * share:.3g} %" for share in mix)
    return " + ".join(f"{share} {name}" for share, name in zip(shares, names, strict=False))


def _dataset_name(data: dict[str, Any]) -> str:
    config = data.get("config_name")
    if config not in (None, "default"):
        return str(config)
    reference = str(data.get("reference") or "").rstrip("/").rpartition("/")[2]
    return reference.partition("@")[0]


def order_rows(
    names: Sequence[str], *, base: str, order: Sequence[str] = (), last: Collection[str] = ()
) -> list[str]:
    """Sort row names: `order`, CLIP, base, Table 1's rows, others by name, combinations, `last`.

    Rows of one name with several ways of scoring are adjacent, the standard one first.
    """

    def place(name: str) -> tuple[int, int, str]:
        trick = name.partition(OPEN)[0]
        if name in order:
            return 0, list(order).index(name), name
        if trick in last:
            return 6, 0, name
        if trick.startswith("CLIP-"):
            return 1, 0, name
        if trick == base:
            return 2, 0, name
        if trick in _TABLE_1:
            return 3, _TABLE_1.index(trick), name
        combines = bool(_COMBINING & set(trick.replace("_", "-").split("-")))
        return (5 if combines else 4), 0, name

    return sorted(names, key=place)
