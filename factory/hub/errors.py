"""What an error of the Hub's clients means: try again, or a line that says what to do.

The clients answer one trouble in many ways: their own `HfHubHTTPError` and its children, the HTTP
library's transport errors, builtin `ConnectionError` and `RuntimeError` from Xet and LFS,
`ValueError` and `KeyError` for an answer that was damaged on its way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

from factory.common.errors import FactoryError, Failure, UserError
from factory.hub.client import is_unresolved
from factory.hub.ids import HubTarget, how_to_get_token, token_source

_TRANSIENT = frozenset({408, 409, 412, 425, 429, 500, 502, 503, 504})


def client_errors() -> tuple[type[Exception], ...]:
    """Return the types that the clients raise for what a server or a line does."""
    from huggingface_hub.errors import HfHubHTTPError

    # The HTTP library's base: huggingface_hub changed libraries, its error's parents tell which.
    library = next(base for base in HfHubHTTPError.__mro__[1:] if base.__name__ == "HTTPError")
    return (library, OSError, RuntimeError, ValueError, KeyError)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status behind an error, or None."""
    for one in _chain(error):
        status = getattr(getattr(one, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def is_local(error: BaseException) -> bool:
    """Whether an error is about this machine's files and not about the Hub."""
    if not isinstance(error, OSError) or isinstance(error, ConnectionError | TimeoutError):
        return False
    return error.errno is not None


def is_transient(error: BaseException) -> bool:
    """Whether trying again can help."""
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    if any(isinstance(one, OfflineModeIsEnabled | HFValidationError) for one in _chain(error)):
        return False
    if isinstance(error, UnicodeEncodeError):
        # It never went out: a token with a character that no header takes.
        return False
    if isinstance(error, UnicodeDecodeError | json.JSONDecodeError):
        # The answer was damaged on its way, whatever its status said.
        return True
    status = status_of(error)
    return status is None or status in _TRANSIENT


def retry_after_s(error: BaseException) -> float | None:
    """Return how long the server asks to wait, or None."""
    for one in _chain(error):
        headers = getattr(getattr(one, "response", None), "headers", None)
        if headers is not None and str(headers.get("Retry-After", "")).isdigit():
            return float(headers["Retry-After"])
    return None


def explain(error: BaseException, target: HubTarget, *, doing: str, writes: bool) -> FactoryError:
    """Return an error of the clients as one line.

    Args:
        error: As raised.
        target: What was worked on.
        doing: What was being done, e.g. `uploading`.
        writes: Whether it takes a token that may write.
    """
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RevisionNotFoundError

    if is_unresolved(error):
        host = urlsplit(target.url).hostname
        return Failure(
            f"{target}: the host name {host} does not resolve (while {doing}); check the network, "
            "HF_ENDPOINT and the proxy settings"
        )
    chain = list(_chain(error))
    if any(isinstance(one, OfflineModeIsEnabled) for one in chain):
        return UserError(f"{target}: HF_HUB_OFFLINE is set and it is not in the cache; unset it")
    if any(isinstance(one, GatedRepoError) for one in chain):
        return UserError(
            f"{target}: access is restricted; ask for it at {target.url}, "
            f"then {how_to_get_token('read')}"
        )
    if any(isinstance(one, RevisionNotFoundError) for one in chain):
        return UserError(f"{target}: no such revision; see {target.url}/commits/main")
    if isinstance(error, UnicodeEncodeError):
        return UserError(
            f"{target}: the token from {token_source()} holds a character that no token has; "
            "copy it again"
        )
    status = status_of(error)
    if status in (401, 403):
        return UserError(f"{target}: {_refused(status, error, writes=writes)}")
    if status == 404:
        return UserError(f"{target}: {_missing(target, doing)}")
    if status is not None and status < 500 and status not in _TRANSIENT:
        return UserError(f"{target}: the Hub refused it while {doing} ({reason_of(error)})")
    return Failure(
        f"{target}: the Hub could not be reached or failed while {doing} ({reason_of(error)}); "
        "run the same command again: what was transferred is kept"
    )


def reason_of(error: BaseException) -> str:
    """Return what a server or library said, in one line."""
    status = status_of(error)
    for one in _chain(error):
        said = getattr(one, "server_message", None)
        if said:
            return _line(f"{status} {said}" if status else said)
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, KeyError):
        text = f"an answer without {text}"
    return _line(text or type(error).__name__)


def _refused(status: int, error: BaseException, *, writes: bool) -> str:
    permission = "write" if writes else "read"
    source = token_source()
    if source is None:
        needed = "pushing needs a token" if writes else "not there, or private and no token is set"
        return f"{needed}; {how_to_get_token(permission)}"
    if status == 401:
        return (
            f"the token from {source} is not accepted any more (401: revoked, expired or "
            f"mistyped); {how_to_get_token(permission)}"
        )
    return (
        f"the token from {source} has no {permission} permission here ({reason_of(error)}); "
        f"{how_to_get_token(permission)}, or ask the owner of the namespace"
    )


def _missing(target: HubTarget, doing: str) -> str:
    kind = target.repo_type
    return (
        f"no such {kind} (404 while {doing}): check the id, or was it deleted or renamed "
        "meanwhile? If it is private, the token may not see it"
    )


def _line(text: str) -> str:
    """Cut a text to one line without request ids and URLs of this moment."""
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= 200 else f"{line[:197]}..."


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from, each once."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
