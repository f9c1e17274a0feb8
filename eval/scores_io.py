"""Read and write `scores-*.json`; see `eval.scores_file` for its fields."""

import json
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from eval.scores_file import FORMAT, FORMAT_VERSION, Scores
from factory.common.errors import UserError
from factory.common.frozen import invalid_values
from factory.common.program import command
from factory.common.untrusted_files import read_json
from factory.common.whole_files import replace_text

# Matches a list without nested lists or objects. JSON strings have no raw line breaks, so a break
# after the bracket means that the bracket is not inside a string.
_LONG_LIST = re.compile(r"\[\n\s*([^\[\]{}]*?)\n\s*\]")


def free_place(scores: Scores, path: Path) -> tuple[Scores, Path]:
    """Return a path for scores that does not replace scores of other real images.

    Two real datasets may have the same name, such as two folders named `photos`. The second one
    gets a name with the start of its images' fingerprint, in the file's name and in tables.
    """
    try:
        there = read_scores(path).real if path.is_file() else None
    except UserError:
        there = None
    if there is None or there.fingerprint == scores.real.fingerprint:
        return scores, path
    mark = f"-{scores.real.fingerprint[:8]}"
    if there.name == scores.real.name:
        real = scores.real.model_copy(update={"name": scores.real.name + mark})
        scores = scores.model_copy(update={"real": real})
    return scores, path.with_name(f"{path.stem}{mark}{path.suffix}")


def write_scores(scores: Scores, path: Path) -> None:
    """Write `path` atomically; its bytes depend on the scores alone.

    Raises:
        UserError: Its folder does not exist.
    """
    if not path.parent.is_dir():
        raise UserError(f"{path}: folder {path.parent} does not exist; create it or choose another")
    text = json.dumps(scores.model_dump(mode="json"), indent=2, ensure_ascii=False)
    replace_text(path, _LONG_LIST.sub(_on_one_line, text) + "\n")


def as_plain(scores: Scores, path: Path) -> dict[str, Any]:
    """Return the content of a scores file as plain values, with its place as `file`."""
    return {"file": str(path), **scores.model_dump(mode="json")}


def _on_one_line(found: re.Match[str]) -> str:
    items = re.sub(r",\n *", ", ", found[1])
    return f"[{items}]"


def read_scores(path: Path) -> Scores:
    """Read one file.

    Raises:
        UserError: It is missing, not JSON, of another format or version, or damaged.
    """
    if not path.exists():
        raise UserError(
            f"{path}: file not found; create it with `{command('score RUN --real DATASET')}`"
        )
    data = read_json(path)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UserError(
            f"{path}: is not a scores file (it has no `format: {FORMAT}`); create one with "
            f"`{command('score')}`"
        )
    if data.get("format_version") != FORMAT_VERSION:
        found = str(data.get("format_version"))[:40]
        raise UserError(
            f"{path}: has format version {found}, but this version reads {FORMAT_VERSION}; "
            "score the run again"
        )
    try:
        return Scores.model_validate(data)
    except ValidationError as error:
        raise UserError(invalid_values(error, path)) from None


def find_scores(path: Path) -> list[Path]:
    """Return the scores files of `path`: itself, or all `scores-*.json` of a run folder.

    Raises:
        UserError: It does not exist, or the folder has none.
    """
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("scores-*.json"))
    if not found:
        raise UserError(
            f"{path}: contains no scores-*.json; run "
            f"`{command(f'score {path} --real DATASET')}` first"
        )
    return found
