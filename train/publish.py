"""`train --push`: publish a finished run as a model repository that timm loads."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from factory.common.dataset_files import check_files
from factory.common.errors import UserError
from factory.hub.changes import local_file
from factory.hub.ids import parse_target
from factory.hub.publish import Publication, PublishReport, publish, writing_session
from train.model_card import SCORES, card_text
from train.run_folder import CONFIG, CONFIG_JSON, METRICS, WEIGHTS

CARD = "README.md"


def publish_run(
    out: Path,
    repo_id: str,
    *,
    revision: str | None = None,
    private: bool = False,
    tag: str | None = None,
    message: str | None = None,
    replace_card: bool = False,
) -> PublishReport:
    """Publish a run: weights and config in timm's form, card, settings, metrics, scores.

    It can be repeated: after `eval score` it adds the scores; without differences it makes no
    commit.

    Args:
        out: The run folder.
        repo_id: `ORG/NAME` of a model repository; created if missing.
        revision: Branch, created if missing; default: the default branch.
        private: Make the repository private.
        tag: Tag for the commit.
        message: Title of the commit.
        replace_card: Overwrite edits of the card on the Hub instead of stopping.

    Raises:
        UserError: The run is not finished, one of its files is a link out of the folder, or the Hub
            rejects it.
        Failure: All retries failed.
    """
    missing = [name for name in (WEIGHTS, CONFIG_JSON, CONFIG) if not (out / name).is_file()]
    if missing:
        raise UserError(f"{out}: contains no {missing[0]}; is the run finished?")
    target = parse_target(repo_id, "model")
    scores = sorted(path.name for path in out.glob(SCORES))
    names = [WEIGHTS, CONFIG_JSON, CONFIG, METRICS, *scores]
    # A link must not publish another file of this machine.
    check_files([out / name for name in names], out)
    files = {name: local_file(out / name) for name in names if (out / name).is_file()}
    files[CARD] = local_file(card_text(out, repo_id=target.repo_id).encode())
    publication = Publication(
        files=files,
        owned=lambda path: path in (*names, CARD) or fnmatchcase(path, SCORES),
        title=message
        or f"{target.repo_id.rpartition('/')[2]}: weights, card, {len(scores)} scores",
        private=private,
        tag=tag,
        replaces_card=replace_card,
    )
    session = writing_session(replace(target, revision=revision), tag=tag)
    return publish(session, publication)
