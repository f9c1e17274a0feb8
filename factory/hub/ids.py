"""Parse Hub references (type, repository, revision) and report the source of the token.

The token itself never leaves huggingface_hub; this module only reports whether there is one and
where it comes from.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from factory.common.errors import UserError

DEFAULT_BRANCH = "main"
RepoType = Literal["dataset", "model"]
HUB: Final = "hf-hub"
LOCAL: Final = "local-dir"
_DATASETS = "hf://datasets/"
_SOURCE = re.compile(r"(hf[-_]hub|local-dir):(.*)", re.IGNORECASE | re.DOTALL)
_REFERENCE = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(@[^@\s]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubTarget:
    """A Hub repository at a revision.

    Attributes:
        repo_id: `ORG/NAME`.
        repo_type: A dataset or a model.
        revision: Branch, tag or commit; None is the default branch.
    """

    repo_id: str
    repo_type: RepoType
    revision: str | None = None

    def __str__(self) -> str:
        named = self.revision not in (None, DEFAULT_BRANCH)
        return f"{self.repo_id}@{self.revision}" if named else self.repo_id

    @property
    def url(self) -> str:
        """URL of the web page."""
        from huggingface_hub import constants

        folder = "datasets/" if self.repo_type == "dataset" else ""
        return f"{constants.ENDPOINT}/{folder}{self.repo_id}"

    def at(self, revision: str) -> HubTarget:
        """Return the same repository at another revision."""
        return replace(self, revision=revision)


def parse_target(reference: str, repo_type: RepoType) -> HubTarget:
    """Parse `ORG/NAME[@REVISION]`, with an optional prefix (`hf://datasets/`, `hf-hub:`).

    Raises:
        UserError: It is not a valid Hub name.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # re-exported

    source, plain = split_source(reference.removeprefix(_DATASETS))
    plain = reference if source == LOCAL else plain
    repo_id, _, revision = plain.strip("/").partition("@")
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{reference}: is not a valid Hub name ({reason})") from None
    return HubTarget(repo_id, repo_type, revision or None)


def split_source(name: str) -> tuple[Literal["hf-hub", "local-dir", ""], str]:
    """Split timm's prefix from a model's name, which timm accepts in upper case too.

    Returns:
        `HUB`, `LOCAL` or nothing, and the name without it.
    """
    match = _SOURCE.fullmatch(name)
    if match is None:
        return "", name
    return (LOCAL if match[1].lower() == LOCAL else HUB), match[2]


def looks_like_hub_id(text: str) -> bool:
    """Return whether a text has the form `ORG/NAME[@REVISION]`, or a prefix of Hub ids."""
    is_prefixed = text.startswith(_DATASETS) or split_source(text)[0] == HUB
    return is_prefixed or _REFERENCE.fullmatch(text) is not None


def is_model_id(text: str) -> bool:
    """Return whether a text names a model on the Hub rather than a folder or one of timm's."""
    if split_source(text)[0] == HUB:
        return True
    # `runs/base` beside a folder `runs` is a mistyped path; do not query the Hub.
    here = Path(text).exists() or Path(Path(text).parts[0] if text else ".").is_dir()
    return not here and looks_like_hub_id(text)


def is_commit(text: object) -> bool:
    """Return whether a text is a full commit id."""
    return isinstance(text, str) and _COMMIT.fullmatch(text) is not None


def token_source() -> str | None:
    """Return the source of the token, or None if there is none."""
    from huggingface_hub import get_token

    if get_token() is None:
        return None
    named = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    return "HF_TOKEN" if named else "hf auth login"


def how_to_get_token(permission: str) -> str:
    """Return a phrase that explains how to get a token with a permission (`read` or `write`)."""
    from huggingface_hub import constants

    return (
        f"create a token with {permission} permission at {constants.ENDPOINT}/settings/tokens, "
        "then `hf auth login`, or set HF_TOKEN"
    )
