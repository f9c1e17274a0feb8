"""Classify errors of the Hub's clients: retry, or report what the user can do.

The clients raise many types for the same problem: `HfHubHTTPError` and its subclasses, the HTTP
library's transport errors, `ConnectionError` and `RuntimeError` from Xet and LFS, `ValueError` and
`KeyError` for a damaged response.
"""

import json
from urllib.parse import urlsplit

from factory.common.errors import FactoryError, Failure, UserError
from factory.common.text import cut
from factory.hub.client import chain, is_unresolved
from factory.hub.ids import HubTarget, how_to_get_token, token_source

_TRANSIENT = frozenset({408, 409, 412, 425, 429, 500, 502, 503, 504})


def client_errors() -> tuple[type[Exception], ...]:
    """Return the exception types that clients raise for server and network problems."""
    from huggingface_hub.errors import HfHubHTTPError

    # The HTTP library's base class, found as a parent of huggingface_hub's own error.
    library = next(base for base in HfHubHTTPError.__mro__[1:] if base.__name__ == "HTTPError")
    return (library, OSError, RuntimeError, ValueError, KeyError)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status behind an error, or None."""
    for one in chain(error):
        status = getattr(getattr(one, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def is_local(error: BaseException) -> bool:
    """Return whether an error concerns local files rather than the Hub."""
    if not isinstance(error, OSError) or isinstance(error, ConnectionError | TimeoutError):
        return False
    return error.errno is not None


def is_transient(error: BaseException) -> bool:
    """Return whether a retry can help."""
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    if any(isinstance(one, OfflineModeIsEnabled | HFValidationError) for one in chain(error)):
        return False
    if isinstance(error, UnicodeEncodeError):
        # The request was never sent: the token has a character that is invalid in a header.
        return False
    if isinstance(error, UnicodeDecodeError | json.JSONDecodeError):
        # The response was damaged in transit, whatever its status was.
        return True
    status = status_of(error)
    return status is None or status in _TRANSIENT


def retry_after_s(error: BaseException) -> float | None:
    """Return the wait in seconds that the server asks for, or None."""
    for one in chain(error):
        headers = getattr(getattr(one, "response", None), "headers", None)
        if headers is not None and str(headers.get("Retry-After", "")).isdigit():
            return float(headers["Retry-After"])
    return None


def explain(error: BaseException, target: HubTarget, *, doing: str, writes: bool) -> FactoryError:
    """Return a client error as a one-line error."""
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RevisionNotFoundError

    if is_unresolved(error):
        host = urlsplit(target.url).hostname
        return Failure(
            f"{target}: the host name {host} does not resolve (while {doing}); check the network, "
            "HF_ENDPOINT and the proxy settings"
        )
    causes = list(chain(error))
    if any(isinstance(one, OfflineModeIsEnabled) for one in causes):
        return UserError(f"{target}: HF_HUB_OFFLINE is set and this is not in the cache; unset it")
    if any(isinstance(one, GatedRepoError) for one in causes):
        return UserError(
            f"{target}: access is restricted; request access at {target.url}, "
            f"then {how_to_get_token('read')}"
        )
    if any(isinstance(one, RevisionNotFoundError) for one in causes):
        return UserError(f"{target}: revision not found; see {target.url}/commits/main")
    if isinstance(error, UnicodeEncodeError):
        return UserError(
            f"{target}: the token from {token_source()} contains an invalid character; "
            "copy it again"
        )
    status = status_of(error)
    if status in (401, 403):
        return UserError(f"{target}: {_refused(status, error, writes=writes)}")
    if status == 404:
        return UserError(f"{target}: {_missing(target, doing)}")
    if status is not None and status < 500 and status not in _TRANSIENT:
        return UserError(
            f"{target}: the Hub rejected the request while {doing} ({reason_of(error)})"
        )
    return Failure(
        f"{target}: the Hub could not be reached or failed while {doing} ({reason_of(error)}); "
        "run the same command again; transferred data is kept"
    )


def reason_of(error: BaseException) -> str:
    """Return the server's or library's reason in one line."""
    status = status_of(error)
    for one in chain(error):
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
        needed = "pushing needs a token" if writes else "not found, or private and no token is set"
        return f"{needed}; {how_to_get_token(permission)}"
    if status == 401:
        return (
            f"the token from {source} is not accepted (401: revoked, expired or "
            f"mistyped); {how_to_get_token(permission)}"
        )
    return (
        f"the token from {source} has no {permission} permission here ({reason_of(error)}); "
        f"{how_to_get_token(permission)}, or ask the owner of the namespace"
    )


def _missing(target: HubTarget, doing: str) -> str:
    kind = target.repo_type
    return (
        f"no such {kind} (404 while {doing}): check the id; it may have been deleted or renamed, "
        "or the token may have no access to a private one"
    )


def _line(text: str) -> str:
    """Return a text as one line, without request ids and temporary URLs."""
    return cut(" ".join(text.split()).rstrip("."), 200)
