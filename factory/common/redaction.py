"""Redact access tokens in everything that is shown or stored.

`redacted` is applied where errors and log lines become text; recipes with a token are rejected when
they are read, so that none can reach a row, a card or a manifest.
"""

import json
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from factory.common.text import cut

SHOWN = "***"

# Tokens with a recognisable form: Hugging Face Hub, Amazon keys, GitHub.
_TOKEN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{16,}|AKIA[A-Z0-9]{16}|gh[a-z]_[A-Za-z0-9]{20,}"
    r"|github_pat_\w{20,}|glpat-[\w-]{16,})"
)
_SECRET_WORD = r"(?:token(?!iz)|secret|passw|pwd|api[-_]?key|access[-_]?key|credential|signature)"
# Secrets recognisable by their position in an address, option or assignment; the group is kept.
_PLACES = (
    # `scheme://NAME:PASSWORD@host`, `scheme://PASSWORD@host`; pathlib leaves one slash of the two.
    # A password may contain `@` and `/`.
    re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]+:/{1,2})[^\s/@:]*:(?!\d+/)[^\s@]+(?:@[^\s/@]+)*(?=@)"),
    re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]+:/{1,2})[^\s/]+(?=@)"),
    # `?sig=SECRET&...`: stores and signed addresses put keys there under many names.
    re.compile(r"([?&][\w.%-]{1,80}=)[^\s&#'\"),;]*[^\s&#'\"),;:]"),
    # `NAME:PASSWORD@host` anywhere; model ids have a revision there.
    re.compile(r"((?<![\w.%+-])(?!hf[-_]hub:|local-dir:)[\w.%+-]+:)[^\s/@:'\"]+(?=@[\w\[])"),
    # `--token SECRET`, `password=SECRET`, `"token": "SECRET"`, `Bearer SECRET`
    re.compile(rf"(--?[\w-]*{_SECRET_WORD}[\w-]*[ =])[^\s'\"]+", re.IGNORECASE),
    re.compile(rf"(\b[\w.-]*{_SECRET_WORD}[\w.-]*=)[^\s&'\",;]+", re.IGNORECASE),
    re.compile(rf"(\b[\w.-]*{_SECRET_WORD}[\w.-]*['\"]\s*:\s*b?['\"])[^'\"]+", re.IGNORECASE),
    re.compile(
        r"(\bBearer\s+|\bAuthorization['\"]?\s*:\s*['\"]?(?:Basic\s+)?)[\w.~+/=-]{8,}",
        re.IGNORECASE,
    ),
)
_SECRET_NAME = re.compile(r"TOKEN(?!IZER)|SECRET|PASSWORD|API_?KEY|ACCESS_KEY", re.IGNORECASE)
_PLACE_NAME = re.compile(r"(?:PATH|FILE|DIR|HOME|URL|NAME|ID)$", re.IGNORECASE)
# Control characters, and those that change the writing direction.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_BREAKS = re.compile(r"[\t-\r\x1c-\x1e\x85\u2028\u2029]")
# A shorter value is a switch such as `1`, and would match everywhere.
_LEAST_LENGTH = 8


def redacted(text: str) -> str:
    """Return a text with every token and password replaced."""
    for secret in known_secrets():
        text = text.replace(secret, SHOWN)
    text = _TOKEN.sub(SHOWN, text)
    for place in _PLACES:
        text = place.sub(rf"\g<1>{SHOWN}", text)
    return text


def for_terminal(text: str) -> str:
    """Return a text without secrets and terminal control characters."""
    return _CONTROLS.sub(lambda found: _shown(ord(found[0])), redacted(text))


def for_json(document: Any, *, indent: int | None = None) -> str:
    """Return plain values as JSON text without secrets and terminal control characters."""
    text = _json(document, indent)
    if redacted(text) != text:
        # String by string, because a secret's pattern may reach over the end of a string.
        text = _json(_redacted(document), indent)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _json(document: Any, indent: int | None) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=indent)


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {redacted(str(key)): _redacted(one) for key, one in value.items()}
    return [_redacted(one) for one in value] if isinstance(value, list | tuple) else value


def one_line(text: str) -> str:
    """Return a text as one table line: line ends and tabs are escaped."""
    return _BREAKS.sub(lambda found: _shown(ord(found[0])), text)


def cut_line(text: str, most: int) -> str:
    """Return an untrusted text as one line of at most `most` characters."""
    return cut(one_line(text), most)


def _shown(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def holds_token(text: str) -> bool:
    """Return whether a text contains something in the form of a token."""
    return _TOKEN.search(text) is not None


def known_secrets() -> list[str]:
    """Return this environment's secrets, longest first: variables and the Hub's token files."""
    found = [
        value
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name) and not _PLACE_NAME.search(name)
    ]
    found += [line for path in _token_files() for line in _words(path, _changed(path))]
    kept = {value.strip() for value in found if len(value.strip()) >= _LEAST_LENGTH}
    return sorted(kept, key=len, reverse=True)


def _token_files() -> list[Path]:
    """Return the token files of `hf auth login`; the library itself is slow to import."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    files = [
        os.environ.get("HF_TOKEN_PATH") or f"{home}/token",
        os.environ.get("HF_STORED_TOKENS_PATH") or f"{home}/stored_tokens",
    ]
    # Unlike pathlib's, it never raises: without a home directory there are no files.
    return [Path(os.path.expanduser(file)) for file in files]  # noqa: PTH111


def _changed(path: Path) -> int:
    """Return when a file was changed, in nanoseconds; 0 without it."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=8)
def _words(path: Path, changed: int) -> list[str]:
    """Return possible tokens of a token file: `hf_token = ...` lines, or the token alone.

    Read again only when the file has changed: every log line is searched for them.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    values = [line.rpartition("=")[2] for line in text.splitlines()]
    return [value for value in values if not value.strip().startswith("[")]
